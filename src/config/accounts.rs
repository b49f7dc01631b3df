//! The accounts: who shares subjects with whom.
//!
//! Users of the `authorization` block belong to the global account, those of `accounts` to theirs;
//! a name stands only once in all of them.

use super::authorization::Block;
use super::duration::quote;
use super::keys::{Reading, decode};
use super::not_yet;
use super::options::User;
use super::settings::Settings;
use super::tree::{ConfigError, Node, Value};

/// An account of the file. The global account and the system account are there without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountOptions {
    /// The name; never that of the global account.
    pub name: String,
    /// `users`, each name once over all accounts.
    pub users: Vec<User>,
    /// `jetstream`: its clients may use the JetStream of other servers in the cluster.
    pub jetstream: bool,
}

/// The account of everybody who is in no other one.
pub const GLOBAL_ACCOUNT: &str = "$G";

/// The system account unless `system_account` names another one.
pub const SYSTEM_ACCOUNT_DEFAULT: &str = "$SYS";

impl Reading {
    pub(super) fn accounts(&mut self, node: &Node) {
        self.settings.accounts.clear();
        match &node.value {
            Value::Array(names) => {
                for name in names {
                    self.account_name(name);
                }
            }
            Value::Map(_) => {
                for (name, entry) in node.entries() {
                    // A key that only a variable is for is no account.
                    if !entry.used {
                        self.account(name, entry);
                    }
                }
            }
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Date(_) => self.errors.push(node.not_a("map[string]interface {}")),
        }
    }

    /// An account that has a name and nothing else.
    fn account_name(&mut self, node: &Node) {
        let Some(name) = self.take(decode::<String>(node)) else { return };
        let accounts = &mut self.settings.accounts;
        if name == GLOBAL_ACCOUNT {
            self.errors.push(reserved(&name, node));
        } else if accounts.iter().any(|account| account.name == name) {
            self.errors.push(node.error(format!("Duplicate Account Entry: {name}")));
        } else {
            accounts.push(AccountOptions { name, ..AccountOptions::default() });
        }
    }

    fn account(&mut self, name: &str, node: &Node) {
        if !matches!(node.value, Value::Map(_)) {
            self.errors.push(node.error("Expected map entries for accounts"));
            return;
        }
        if name == GLOBAL_ACCOUNT {
            self.errors.push(reserved(name, node));
            return;
        }
        let mut account = AccountOptions { name: name.to_owned(), ..AccountOptions::default() };
        let mut users_at = node;
        for (key, value) in node.entries() {
            match key.to_lowercase().as_str() {
                "users" => {
                    users_at = value;
                    account.users = self.users(value, ConfigError::without_place);
                }
                "jetstream" => account.jetstream = self.jetstream(value),
                name => self.unknown(key, name, value, not_yet::ACCOUNT),
            }
        }
        if let Err(error) = self.check_account(&account, users_at) {
            self.errors.push(error);
        }
        self.settings.accounts.push(account);
    }

    fn check_account(&self, account: &AccountOptions, users_at: &Node) -> Result<(), ConfigError> {
        if account.users.is_empty() {
            return Ok(());
        }
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        if given(&self.settings.user) {
            return Err(users_at.error("Can not have a single user/pass and accounts"));
        }
        if given(&self.settings.token) {
            return Err(users_at.error("Can not have a token and accounts"));
        }
        let before = self.settings.users.iter().flatten().chain(self.settings.account_users());
        match repeated(before.chain(&account.users)) {
            Some(name) => Err(users_at.error(format!("Duplicate user {} detected", quote(name)))),
            None => Ok(()),
        }
    }

    /// Whether an account may use JetStream. How much of it is the business of the servers that
    /// store, so the sizes are only checked.
    fn jetstream(&mut self, node: &Node) -> bool {
        match &node.value {
            Value::Bool(truth) => *truth,
            Value::Text(text) => match text.to_lowercase().as_str() {
                "enabled" | "enable" => true,
                "disabled" | "disable" => false,
                _ => {
                    self.errors.push(ConfigError::without_place(format!(
                        "Expected 'enabled' or 'disabled' for string value, got '{text}'"
                    )));
                    false
                }
            },
            Value::Map(_) => {
                // The peer tells the first one of these.
                let wrong = node.entries().into_iter().find_map(|(key, v)| jetstream_key(key, v));
                self.errors.extend(wrong);
                true
            }
            other @ (Value::Integer(_) | Value::Float(_) | Value::Date(_) | Value::Array(_)) => {
                self.errors.push(ConfigError::without_place(format!(
                    "Expected map, bool or string to define JetStream, got {}",
                    other.go_type()
                )));
                false
            }
        }
    }

    /// What an authorization block may not say beside the accounts' users.
    pub(super) fn check_beside_accounts(
        &self,
        block: &Block,
        node: &Node,
    ) -> Result<(), ConfigError> {
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        if (given(&block.user) || given(&block.password)) && given(&block.token) {
            return Err(node.error("Cannot have a user/pass and token"));
        }
        if block.users.is_none() && self.settings.account_users().next().is_none() {
            return Ok(());
        }
        if given(&block.user) {
            return Err(node.error("Can not have a single user/pass and a users array"));
        }
        if given(&block.token) {
            return Err(node.error("Can not have a token and a users array"));
        }
        let users = self.settings.account_users().chain(block.users.iter().flatten());
        match repeated(users) {
            Some(name) => Err(node.error(format!("Duplicate user {} detected", quote(name)))),
            None => Ok(()),
        }
    }
}

impl Settings {
    /// The users of all accounts but the global one.
    pub(super) fn account_users(&self) -> impl Iterator<Item = &User> {
        self.accounts.iter().flat_map(|account| &account.users)
    }
}

fn reserved(name: &str, node: &Node) -> ConfigError {
    node.error(format!("{} is a Reserved Account", quote(name)))
}

/// A name that stands more than once.
fn repeated<'a>(users: impl Iterator<Item = &'a User>) -> Option<&'a str> {
    let mut names: Vec<&str> = users.map(|user| user.user.as_str()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

fn jetstream_key(key: &str, node: &Node) -> Option<ConfigError> {
    let value = &node.value;
    let text = match key.to_lowercase().as_str() {
        "max_memory"
        | "max_mem"
        | "mem"
        | "memory"
        | "max_store"
        | "max_file"
        | "max_disk"
        | "store"
        | "disk"
        | "max_streams"
        | "streams"
        | "max_consumers"
        | "consumers"
        | "mem_max_stream_bytes"
        | "memory_max_stream_bytes"
        | "disk_max_stream_bytes"
        | "store_max_stream_bytes"
        | "max_ack_pending" => {
            let fine = matches!(value, Value::Integer(_));
            (!fine).then(|| format!("Expected a parseable size for {}, got {value}", quote(key)))
        }
        "max_bytes_required" | "max_stream_bytes" | "max_bytes" => {
            let fine = matches!(value, Value::Bool(_));
            (!fine).then(|| format!("Expected a parseable bool for {}, got {value}", quote(key)))
        }
        "cluster_traffic" => {
            let fine = matches!(value, Value::Text(text) if text == "system" || text == "owner");
            (!fine).then(|| {
                format!("Expected 'system' or 'owner' string value for {}, got {value}", quote(key))
            })
        }
        _ if node.used => None,
        _ => Some(format!("unknown field {}", quote(key))),
    };
    text.map(|text| node.error(text))
}
