//! Which subjects may cross between servers: `permissions { import, export }`.

use super::duration::quote;
use super::keys::Reading;
use super::tree::{ConfigError, Node, Value};
use crate::subject::is_valid_filter;

/// What may cross the cluster's routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutePermissions {
    /// `import`: the interest that is announced to others, and the messages taken from them.
    /// `None` is everything.
    pub import: Option<SubjectRules>,
    /// `export`: the interest that is accepted from others. `None` is everything.
    pub export: Option<SubjectRules>,
}

/// Subjects that are allowed and subjects that are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectRules {
    /// Filters, one of which has to match; empty allows everything.
    pub allow: Vec<String>,
    /// Filters of which none may match.
    pub deny: Vec<String>,
}

/// What the subjects of one side are called in errors.
#[derive(Clone, Copy)]
enum Side {
    Import,
    Export,
}

/// Reads the block `permissions` of a cluster; `block` is where the peer places errors about its
/// subjects.
pub(super) fn route_permissions(
    reading: &mut Reading,
    node: &Node,
    block: &Node,
) -> Option<RoutePermissions> {
    if !matches!(node.value, Value::Map(_)) {
        let text = format!("Expected permissions to be a map/struct, got {}", node.value);
        reading.errors.push(ConfigError::without_place(text));
        return None;
    }
    let mut permissions = RoutePermissions::default();
    let mut responses = false;
    for (key, value) in node.entries() {
        match key.to_lowercase().as_str() {
            "pub" | "publish" | "import" => {
                permissions.import = rules(reading, value, Side::Import);
            }
            "sub" | "subscribe" | "export" => {
                permissions.export = rules(reading, value, Side::Export);
            }
            "publish_allow_responses" | "allow_responses" => {
                responses |= !matches!(value.value, Value::Bool(false));
            }
            _ if value.used => {}
            _ => {
                let text = format!("Unknown field {} parsing permissions", quote(key));
                reading.errors.push(value.error(text));
            }
        }
    }
    if responses {
        reading.errors.push(block.error("Cluster permissions do not support dynamic responses"));
        return None;
    }
    if let Err(text) = check_queues(permissions.export.as_ref()) {
        reading.errors.push(block.error(text));
        return None;
    }
    Some(permissions)
}

/// One subject, a list, or a map of both kinds of rules.
fn rules(reading: &mut Reading, node: &Node, side: Side) -> Option<SubjectRules> {
    if !matches!(node.value, Value::Map(_)) {
        // The peer has lost the place of a value here, but not that of a list's entries.
        let allow = reading.take(subjects(node, side, ConfigError::without_place))?;
        return Some(SubjectRules { allow, deny: Vec::new() });
    }
    let entries = node.entries();
    if entries.is_empty() {
        return None;
    }
    let mut rules = SubjectRules::default();
    for (key, value) in entries {
        match key.to_lowercase().as_str() {
            "allow" => {
                rules.allow =
                    reading.take(subjects(value, side, |e| value.error(e))).unwrap_or_default();
            }
            "deny" => {
                rules.deny =
                    reading.take(subjects(value, side, |e| value.error(e))).unwrap_or_default();
            }
            _ if value.used => {}
            _ => {
                let text = format!(
                    "Unknown field name {} parsing subject permissions, only 'allow' or 'deny' \
                     are permitted",
                    quote(key)
                );
                reading.errors.push(value.error(text));
            }
        }
    }
    Some(rules)
}

fn subjects(
    node: &Node,
    side: Side,
    error: impl Fn(String) -> ConfigError,
) -> Result<Vec<String>, ConfigError> {
    let subjects = match &node.value {
        Value::Text(text) => vec![text.clone()],
        Value::Array(items) => items
            .iter()
            .map(|item| match &item.value {
                Value::Text(text) => Ok(text.clone()),
                _ => Err(item.error("Subject in permissions array cannot be cast to string")),
            })
            .collect::<Result<_, _>>()?,
        other => {
            return Err(error(format!(
                "Expected subject permissions to be a subject, or array of subjects, got {}",
                other.go_type()
            )));
        }
    };
    for subject in &subjects {
        check(subject, side).map_err(&error)?;
    }
    Ok(subjects)
}

/// In the export the peer's reader still takes a queue behind the subject, and refuses it later.
fn check(subject: &str, side: Side) -> Result<(), String> {
    if is_valid_filter(subject.as_bytes()) {
        return Ok(());
    }
    let words: Vec<&str> = subject.split_whitespace().collect();
    match (side, words.as_slice()) {
        (Side::Export, [subject, queue]) => {
            if !is_valid_filter(subject.as_bytes()) {
                return Err(format!("subject {} is not a valid subject", quote(subject)));
            }
            if !is_valid_filter(queue.as_bytes()) {
                return Err(format!("queue {} is not a valid queue", quote(queue)));
            }
            Ok(())
        }
        (Side::Import | Side::Export, _) => {
            Err(format!("subject {} is not a valid subject", quote(subject)))
        }
    }
}

fn check_queues(export: Option<&SubjectRules>) -> Result<(), String> {
    let Some(rules) = export else { return Ok(()) };
    for (kind, subjects) in [("allow", &rules.allow), ("deny", &rules.deny)] {
        if let Some(subject) = subjects.iter().find(|s| !is_valid_filter(s.as_bytes())) {
            let subject = quote(subject);
            return Err(format!("cluster export {kind}: subject {subject} is not a valid subject"));
        }
    }
    Ok(())
}
