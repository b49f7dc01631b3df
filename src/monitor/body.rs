//! The bodies that are JSON, however they are asked for: by the parameters of an HTTP request, or by
//! options in JSON, as requests to the system account bring them.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::query::Query;
use super::{
    Answer, Monitor, Source, accountz, connz, format, healthz, latencyz, links, routez, subsz,
};

/// A body that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The server at a glance.
    Varz,
    /// Connections.
    Connz,
    /// Subscriptions.
    Subsz,
    /// Routes, and what the server sees of its cluster.
    Routez,
    /// The accounts.
    Accountz,
    /// What the clients of accounts do.
    Accstatz,
    /// Gateways: none.
    Gatewayz,
    /// Leaf nodes: none.
    Leafz,
    /// JetStream: off.
    Jsz,
    /// Whether clients can be served.
    Healthz,
    /// How long messages take inside the server.
    Latencyz,
}

impl Body {
    /// The path of the body below the base path.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Varz => "/varz",
            Self::Connz => "/connz",
            Self::Subsz => "/subsz",
            Self::Routez => "/routez",
            Self::Accountz => "/accountz",
            Self::Accstatz => "/accstatz",
            Self::Gatewayz => "/gatewayz",
            Self::Leafz => "/leafz",
            Self::Jsz => "/jsz",
            Self::Healthz => "/healthz",
            Self::Latencyz => "/latencyz",
        }
    }
}

/// A body with the options of its request, which are in order.
#[derive(Debug)]
pub(super) enum Asked {
    Varz,
    Connz(connz::Asked),
    Subsz(subsz::Asked),
    Routez(routez::Asked),
    Accountz(accountz::Asked),
    Accstatz(accountz::StatsAsked),
    Gatewayz,
    Leafz,
    Jsz,
    Healthz(healthz::Asked),
    Latencyz,
}

impl Asked {
    /// What an HTTP request asks for.
    ///
    /// # Errors
    /// What is wrong with a parameter.
    pub(super) fn from_query(
        body: Body,
        query: &Query,
        source: &impl Source,
    ) -> Result<Self, String> {
        Ok(match body {
            Body::Varz => Self::Varz,
            Body::Connz => Self::Connz(connz::Asked::from_query(query)?),
            Body::Subsz => Self::Subsz(subsz::Asked::from_query(query)?),
            Body::Routez => Self::Routez(routez::Asked::from_query(query)?),
            Body::Accountz => {
                let options = accountz::Options::from_query(query);
                Self::Accountz(accountz::Asked::new(&options, source)?)
            }
            Body::Accstatz => Self::Accstatz(accountz::StatsAsked::from_query(query)?),
            Body::Gatewayz => links::check_gatewayz(query).map(|()| Self::Gatewayz)?,
            Body::Leafz => links::check_leafz(query).map(|()| Self::Leafz)?,
            Body::Jsz => links::check_jsz(query).map(|()| Self::Jsz)?,
            Body::Healthz => Self::Healthz(healthz::Asked::from_query(query)?),
            Body::Latencyz => Self::Latencyz,
        })
    }

    /// What options in JSON ask for.
    ///
    /// # Errors
    /// The code and what is wrong: 400 where an option is of the wrong type, 500 where its value is
    /// not one of those there are.
    fn from_options(body: Body, options: &Value, source: &impl Source) -> Result<Self, Refused> {
        Ok(match body {
            Body::Varz => Self::Varz,
            Body::Connz => Self::Connz(connz::Asked::new(read(options)?).map_err(senseless)?),
            Body::Subsz => Self::Subsz(subsz::Asked::new(read(options)?).map_err(senseless)?),
            Body::Routez => Self::Routez(read(options)?),
            Body::Accountz => {
                let asked = accountz::Asked::new(&read(options)?, source);
                Self::Accountz(asked.map_err(senseless)?)
            }
            Body::Accstatz => Self::Accstatz(read(options)?),
            Body::Gatewayz => Self::Gatewayz,
            Body::Leafz => Self::Leafz,
            Body::Jsz => Self::Jsz,
            Body::Healthz => Self::Healthz(read(options)?),
            Body::Latencyz => Self::Latencyz,
        })
    }
}

/// Why a body is not given: a code and a text.
pub type Refused = (u16, String);

/// Options of the wrong type are refused; without any, the defaults hold.
fn read<T: DeserializeOwned + Default>(options: &Value) -> Result<T, Refused> {
    if options.is_null() {
        return Ok(T::default());
    }
    T::deserialize(options).map_err(|error| (400, error.to_string()))
}

const fn senseless(text: String) -> Refused {
    (500, text)
}

/// What a body is made into.
pub(super) trait Form {
    /// The result.
    type Made;

    /// Makes it.
    fn make(self, body: &impl Serialize) -> Self::Made;
}

/// The answer to an HTTP request.
pub(super) struct Page;

impl Form for Page {
    type Made = Answer;

    fn make(self, body: &impl Serialize) -> Answer {
        Answer::json(body)
    }
}

/// The bare value.
struct Bare;

impl Form for Bare {
    type Made = Value;

    fn make(self, body: &impl Serialize) -> Value {
        serde_json::to_value(body).expect(format::PLAIN)
    }
}

impl<S: Source> Monitor<S> {
    /// A body for whoever asks in JSON, such as a request to the system account: `options` are named
    /// as the peer's requests name them, null is none.
    ///
    /// # Errors
    /// A code and a text, in the peer's terms: 400 for options that cannot be read, 500 for those
    /// that make no sense, 503 when the shards do not answer in time.
    pub async fn body(&self, body: Body, options: &Value) -> Result<Value, Refused> {
        let asked = Asked::from_options(body, options, &self.source)?;
        timeout(self.limits.answer_timeout, self.tell(asked, Bare))
            .await
            .map_err(|_| (503, "the shards did not answer in time".into()))
    }

    /// Makes the body that is asked for.
    pub(super) async fn tell<F: Form>(&self, asked: Asked, form: F) -> F::Made {
        let source = &self.source;
        match asked {
            Asked::Varz => self.varz(form).await,
            Asked::Connz(asked) => {
                let _walk = self.walks.acquire().await;
                form.make(&connz::connz(source, asked).await)
            }
            Asked::Subsz(asked) => {
                let _walk = self.walks.acquire().await;
                form.make(&subsz::subsz(source, &asked).await)
            }
            Asked::Routez(asked) => {
                let _walk = if asked.walks() { Some(self.walks.acquire().await) } else { None };
                form.make(&routez::routez(source, &asked).await)
            }
            Asked::Accountz(asked) => {
                let _walk = self.walks.acquire().await;
                form.make(&accountz::accountz(source, &asked).await)
            }
            Asked::Accstatz(asked) => {
                let _walk = self.walks.acquire().await;
                form.make(&accountz::accstatz(source, &asked).await)
            }
            Asked::Gatewayz => form.make(&links::gatewayz(source)),
            Asked::Leafz => form.make(&links::leafz(source)),
            Asked::Jsz => form.make(&links::jsz(source)),
            Asked::Healthz(asked) => form.make(&healthz::health(source, &asked)),
            Asked::Latencyz => form.make(&latencyz::latencyz(source).await),
        }
    }
}
