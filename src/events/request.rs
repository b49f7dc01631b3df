//! What a request says, and the form of its answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::Facts;
use super::server_info::ServerInfo;
use crate::router::Delivered;

/// The longest options of a request, in bytes: no tool sends a hundredth.
const OPTIONS_BYTES_MAX: usize = 64 << 10;

/// Which servers are meant.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    server_name: String,
    cluster: String,
    host: String,
    /// Names are whole; otherwise a part is enough.
    exact_match: bool,
    tags: Vec<String>,
    domain: String,
}

impl Filter {
    /// Whether a server is meant.
    pub(super) fn means(&self, facts: &Facts) -> bool {
        let fits = |wanted: &str, own: &str| {
            wanted.is_empty() || if self.exact_match { own == wanted } else { own.contains(wanted) }
        };
        let is_tagged = |tag: &String| {
            let tag = tag.trim().to_lowercase();
            facts.tags.contains(&tag)
        };
        fits(&self.server_name, &facts.name)
            && fits(&self.cluster, &facts.cluster)
            && fits(&self.host, &facts.host)
            && self.tags.iter().all(is_tagged)
            && self.domain.is_empty()
    }
}

/// Options of a request; null without any.
///
/// # Errors
/// What is wrong with them.
pub(super) fn options(request: &Delivered) -> Result<Value, String> {
    let body = request.body.get(request.header_len as usize..).unwrap_or_default();
    if body.is_empty() {
        return Ok(Value::Null);
    }
    if body.len() > OPTIONS_BYTES_MAX {
        return Err("the options are too long".into());
    }
    let mut options: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    match &mut options {
        // Go reads null as nothing, wherever it stands.
        Value::Object(map) => map.retain(|_, value| !value.is_null()),
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err("the options are no object".into());
        }
    }
    Ok(options)
}

/// Reads options; without any, the defaults hold.
///
/// # Errors
/// What is wrong with them.
pub(super) fn read<T: for<'a> Deserialize<'a> + Default>(options: &Value) -> Result<T, String> {
    if options.is_null() {
        return Ok(T::default());
    }
    T::deserialize(options).map_err(|error| error.to_string())
}

/// Sets one option, which the request may have set otherwise.
pub(super) fn set(options: &mut Value, name: &str, value: impl Into<Value>) {
    if !options.is_object() {
        *options = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(map) = options {
        map.insert(name.to_owned(), value.into());
    }
}

/// Which client is meant.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OneClient {
    pub(super) cid: u64,
}

/// Which subscriptions are to be counted.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Counted {
    pub(super) acc: String,
    pub(super) subject: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) queue: String,
}

/// An answer with the server's name on it.
#[derive(Debug, Serialize)]
pub(super) struct Envelope<'a, T> {
    pub(super) server: ServerInfo<'a>,
    #[serde(flatten)]
    pub(super) content: Content<T>,
}

/// What is in the envelope.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase", untagged)]
pub(super) enum Content<T> {
    /// How the server is.
    Statistics { statsz: T },
    /// What was asked for.
    Data { data: T },
    /// The request cannot be read.
    Unreadable { error: Problem },
    /// The request makes no sense here.
    Refused { data: (), error: Problem },
    /// What was to be done has been done.
    Done {},
}

/// Why there is no other answer.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    pub(super) code: u16,
    pub(super) description: String,
}

/// Who a client is.
#[derive(Debug, Serialize)]
pub(super) struct UserInfo<'a> {
    pub(super) user: &'a str,
    pub(super) account: &'a str,
    pub(super) account_name: &'a str,
}

/// Who the server is.
#[derive(Debug, Serialize)]
pub(super) struct Identity<'a> {
    pub(super) name: &'a str,
    pub(super) host: &'a str,
    pub(super) id: &'a str,
}

/// JSON in bytes.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("a plain struct with string keys always has a JSON form")
}
