//! `/healthz`: whether the server can serve clients.

use serde::Serialize;

use super::format::json_compact;
use super::query::Query;
use super::{Answer, Kind, Source};

/// Answers the request.
pub(super) fn answer(source: &impl Source, query: &Query) -> Answer {
    for name in ["js-enabled", "js-enabled-only", "js-server-only", "js-meta-only"] {
        if let Err(text) = query.boolean(name) {
            return Answer::bad_request(text);
        }
    }
    let details = match query.boolean("details") {
        Ok(details) => details,
        Err(text) => return Answer::bad_request(text),
    };
    match problem(source.unready(), query) {
        None => health(200, &Health { status: "ok", error: None, errors: Vec::new() }),
        Some(problem) => problem.answer(details),
    }
}

/// What is wrong, if anything. Without a store, streams and consumers are not looked at, but the
/// question must make sense.
fn problem(unready: Option<String>, query: &Query) -> Option<Problem> {
    let missing = |name: &str, kind: &str| {
        let error = format!("\"{name}\" must not be empty when checking {kind} health");
        Some(Problem { status: 400, kind: "BAD_REQUEST", error })
    };
    if let Some(error) = unready {
        return Some(Problem { status: 500, kind: "CONNECTION", error });
    }
    if !query.text("stream").is_empty() && query.text("account").is_empty() {
        return missing("account", "stream");
    }
    if !query.text("consumer").is_empty() && query.text("stream").is_empty() {
        return missing("stream", "consumer");
    }
    None
}

struct Problem {
    status: u16,
    kind: &'static str,
    error: String,
}

impl Problem {
    fn answer(self, details: bool) -> Answer {
        let Self { status, kind, error } = self;
        let health_error = HealthError { r#type: kind, error: error.clone() };
        let body = if details {
            Health { status: "error", error: None, errors: vec![health_error] }
        } else {
            Health { status: "error", error: Some(error), errors: Vec::new() }
        };
        health(status, &body)
    }
}

fn health(status: u16, body: &Health) -> Answer {
    Answer { status, kind: Kind::Json, body: json_compact(body) }
}

/// The answer, in one line.
#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<HealthError>,
}

#[derive(Debug, Serialize)]
struct HealthError {
    r#type: &'static str,
    error: String,
}
