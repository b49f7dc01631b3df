//! `/healthz`: whether the server can serve clients.

use serde::{Deserialize, Serialize};

use super::format::json_compact;
use super::query::Query;
use super::{Answer, Kind, Source};

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    account: String,
    stream: String,
    consumer: String,
    details: bool,
}

impl Asked {
    /// Reads the parameters of a request.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn from_query(query: &Query) -> Result<Self, String> {
        for name in ["js-enabled", "js-enabled-only", "js-server-only", "js-meta-only"] {
            query.boolean(name)?;
        }
        Ok(Self {
            details: query.boolean("details")?,
            account: query.text("account").into(),
            stream: query.text("stream").into(),
            consumer: query.text("consumer").into(),
        })
    }
}

/// Answers a request.
pub(super) fn answer(source: &impl Source, asked: &Asked) -> Answer {
    let health = health(source, asked);
    let status = health.status_code.unwrap_or(200);
    // Over HTTP the code is not told twice.
    let body = json_compact(&Health { status_code: None, ..health });
    Answer { status, kind: Kind::Json, body }
}

/// The body.
pub(super) fn health(source: &impl Source, asked: &Asked) -> Health {
    match problem(source.unready(), asked) {
        None => Health { status: "ok", status_code: Some(200), error: None, errors: Vec::new() },
        Some(Problem { status, error, .. }) if !asked.details => Health {
            status: "error",
            status_code: Some(status),
            error: Some(error),
            errors: Vec::new(),
        },
        Some(Problem { status, kind, error }) => {
            let errors = vec![HealthError { r#type: kind, error }];
            Health { status: "error", status_code: Some(status), error: None, errors }
        }
    }
}

/// What is wrong, if anything. Without a store, streams and consumers are not looked at, but the
/// question must make sense.
fn problem(unready: Option<String>, asked: &Asked) -> Option<Problem> {
    let missing = |name: &str, kind: &str| {
        let error = format!("\"{name}\" must not be empty when checking {kind} health");
        Some(Problem { status: 400, kind: "BAD_REQUEST", error })
    };
    if let Some(error) = unready {
        return Some(Problem { status: 500, kind: "CONNECTION", error });
    }
    if !asked.stream.is_empty() && asked.account.is_empty() {
        return missing("account", "stream");
    }
    if !asked.consumer.is_empty() && asked.stream.is_empty() {
        return missing("stream", "consumer");
    }
    None
}

struct Problem {
    status: u16,
    kind: &'static str,
    error: String,
}

/// The answer, in one line.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<HealthError>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
struct HealthError {
    r#type: &'static str,
    error: String,
}
