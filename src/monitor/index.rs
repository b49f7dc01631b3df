//! `/`: a page with links to the endpoints.

use super::{Answer, Kind};
use crate::report::ServerFacts;

/// The page.
pub(super) fn answer(facts: &ServerFacts) -> Answer {
    let base = facts.http_base_path.trim_start_matches('/');
    let slash = if base.is_empty() { "" } else { "/" };
    let links: String = LINKS
        .iter()
        .map(|(path, name)| {
            format!("<li><a href=\"./{base}{slash}{path}\">{name}</a> /{path}</li>\n")
        })
        .collect();
    let body = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>Ringmesh</title></head>\n<body>\n\
         <h1>Ringmesh {}</h1>\n<ul>\n{links}</ul>\n</body>\n</html>\n",
        facts.ringmesh
    );
    Answer { status: 200, kind: Kind::Html, body }
}

const LINKS: &[(&str, &str)] = &[
    ("varz", "General"),
    ("jsz", "JetStream"),
    ("connz", "Connections"),
    ("accountz", "Accounts"),
    ("accstatz", "Account Stats"),
    ("subsz", "Subscriptions"),
    ("routez", "Routes"),
    ("leafz", "LeafNodes"),
    ("gatewayz", "Gateways"),
    ("healthz", "Health Probe"),
    ("latencyz", "Latencies"),
    ("metrics", "Metrics"),
];
