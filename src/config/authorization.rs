//! The authorization block of clients, and that of a cluster's routes.

use super::duration;
use super::keys::{Reading, decode, misused};
use super::not_yet;
use super::options::User;
use super::permissions::{RoutePermissions, route_permissions};
use super::tree::{ConfigError, Node, Value};

/// What such a block says.
#[derive(Default)]
pub(super) struct Block {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) token: Option<String>,
    pub(super) users: Option<Vec<User>>,
    pub(super) timeout_seconds: Option<f64>,
    /// Only in the block of a cluster.
    pub(super) permissions: Option<RoutePermissions>,
    /// Another service was to decide.
    pub(super) has_callout: bool,
}

/// Whose block it is.
#[derive(Clone, Copy)]
pub(super) enum Of<'a> {
    Clients,
    /// The routes of the cluster whose block this is.
    Routes(&'a Node),
}

impl Reading {
    /// The authorization of clients.
    pub(super) fn authorization(&mut self, node: &Node) {
        let errors_before = self.errors.len();
        let Some(block) = self.authorization_block(node, Of::Clients) else { return };
        self.settings.has_authorization = true;
        if self.errors.len() == errors_before
            && let Err(error) = self.check_beside_accounts(&block, node)
        {
            self.errors.push(error);
        }
        let s = &mut self.settings;
        (s.user, s.password, s.token, s.users) =
            (block.user, block.password, block.token, block.users);
        s.auth_timeout_seconds = block.timeout_seconds.or(s.auth_timeout_seconds);
    }

    pub(super) fn authorization_block(&mut self, node: &Node, of: Of<'_>) -> Option<Block> {
        if !matches!(node.value, Value::Map(_)) {
            self.errors.push(node.not_a("map[string]interface {}"));
            return None;
        }
        let mut block = Block::default();
        for (key, value) in node.entries() {
            self.authorization_key(&mut block, of, key, value);
        }
        Some(block)
    }

    fn authorization_key(&mut self, block: &mut Block, of: Of<'_>, key: &str, node: &Node) {
        let name = key.to_lowercase();
        match (name.as_str(), of) {
            ("user" | "username", _) => block.user = self.take(decode(node)),
            ("pass" | "password", _) => block.password = self.take(decode(node)),
            ("token", _) => block.token = self.take(decode(node)),
            ("timeout", _) => block.timeout_seconds = self.auth_timeout(key, node),
            ("users", _) => block.users = Some(self.users(node, |text| node.error(text))),
            ("default_permission" | "default_permissions" | "permissions", Of::Routes(cluster)) => {
                block.permissions = route_permissions(self, node, cluster);
            }
            ("auth_callout" | "auth_hook", Of::Routes(_)) => block.has_callout = true,
            (name, Of::Clients) => self.unknown(key, name, node, not_yet::AUTHORIZATION),
            (name, Of::Routes(_)) => self.unknown(key, name, node, not_yet::ROUTE_AUTHORIZATION),
        }
    }

    fn auth_timeout(&mut self, key: &str, node: &Node) -> Option<f64> {
        let context = "error parsing authorization config, 'timeout'";
        let seconds = self.take(timeout_seconds(node, context))?;
        if seconds > AUTH_TIMEOUT_SECONDS_HIGH {
            let reason = format!(
                "timeout of {} ({seconds:.6} seconds) is high, consider keeping it under 60 \
                 seconds. possibly caused by unquoted duration; use '1m' instead of 1m, for example",
                node.value
            );
            self.warnings.push(misused(node, key, &reason));
        }
        Some(seconds)
    }

    /// A list of users; `wrong` makes the error of a value that is no list.
    pub(super) fn users(
        &mut self,
        node: &Node,
        wrong: impl Fn(String) -> ConfigError,
    ) -> Vec<User> {
        let Value::Array(entries) = &node.value else {
            let text = format!("Expected users field to be an array, got {}", node.value);
            self.errors.push(wrong(text));
            return Vec::new();
        };
        let mut users = Vec::with_capacity(entries.len());
        for entry in entries {
            users.extend(self.user(entry));
        }
        users
    }

    fn user(&mut self, node: &Node) -> Option<User> {
        if !matches!(node.value, Value::Map(_)) {
            let text = format!("Expected user entry to be a map/struct, got {}", node.value);
            self.errors.push(node.error(text));
            return None;
        }
        let errors_before = self.errors.len();
        let mut user = User { user: String::new(), password: String::new() };
        let mut last = node;
        for (key, value) in node.entries() {
            last = value;
            let name = key.to_lowercase();
            match name.as_str() {
                "user" | "username" => user.user = self.take(decode(value)).unwrap_or_default(),
                "pass" | "password" => user.password = self.take(decode(value)).unwrap_or_default(),
                _ => self.unknown(key, &name, value, not_yet::USER),
            }
        }
        if user.user.is_empty() {
            if self.errors.len() == errors_before {
                self.errors.push(last.error("User entry requires a user"));
            }
            return None;
        }
        Some(user)
    }
}

/// Above this an authentication timeout is probably a mistake.
const AUTH_TIMEOUT_SECONDS_HIGH: f64 = 60.0;

/// A timeout in seconds: a number of them, or a duration.
pub(super) fn timeout_seconds(node: &Node, context: &str) -> Result<f64, ConfigError> {
    #[expect(clippy::cast_precision_loss, reason = "a timeout needs no 53 bits")]
    match &node.value {
        Value::Integer(seconds) => Ok(*seconds as f64),
        Value::Float(seconds) => Ok(*seconds),
        Value::Text(text) => {
            let nanos = duration::parse(text).map_err(|e| node.error(format!("{context} {e}")))?;
            Ok(nanos as f64 / 1e9)
        }
        Value::Bool(_) | Value::Date(_) | Value::Array(_) | Value::Map(_) => {
            Err(node.error(format!("{context} wrong type")))
        }
    }
}
