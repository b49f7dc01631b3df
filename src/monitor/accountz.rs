//! `/accountz` and `/accstatz`: the accounts, and what their clients do.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Source;
use super::account_stats::AccountStats;
use super::format::{is_false, time};
use super::query::Query;
use super::subsz::{Stats, of_account};
use crate::ids::AccountId;
use crate::report::{AccountReport, ReportRequest, ServerFacts, ShardReport};

/// The options of a request for `/accountz`, by the peer's names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Options {
    account: String,
}

impl Options {
    /// Reads the parameters of a request.
    pub(super) fn from_query(query: &Query) -> Self {
        Self { account: query.text("acc").into() }
    }
}

/// The account that is asked for, or a list of all.
#[derive(Debug)]
pub(super) struct Asked(Option<AccountId>);

impl Asked {
    /// Checks options.
    ///
    /// # Errors
    /// When there is no such account.
    pub(super) fn new(options: &Options, source: &impl Source) -> Result<Self, String> {
        let name = &options.account;
        if name.is_empty() {
            return Ok(Self(None));
        }
        // An account that a reload has dropped keeps its number.
        let listed = source.facts().accounts.contains(name);
        let found = source.accounts().find(name.as_bytes());
        found
            .filter(|_| listed)
            .map(|account| Self(Some(account)))
            .ok_or_else(|| format!("Account {name} does not exist"))
    }
}

/// The body of `/accountz`.
pub(super) async fn accountz(source: &impl Source, asked: &Asked) -> Accountz {
    let (facts, accounts) = (source.facts(), source.accounts());
    let account_detail = match asked.0 {
        Some(account) => {
            let reports = ask(source).await;
            let report = AccountReport::find(&AccountReport::joined(&reports), account);
            Some(AccountDetail {
                account_name: accounts.name(account).to_owned(),
                update_time: time(facts.config_load_time),
                is_system: *accounts.name(account) == facts.system_account,
                expired: false,
                complete: true,
                jetstream_enabled: false,
                leafnode_connections: 0,
                client_connections: report.clients,
                subscriptions: report.subscriptions,
                name_tag: accounts.name(account).to_owned(),
                sublist_stats: Stats::new(&of_account(&reports, account)),
            })
        }
        None => None,
    };
    let listed: BTreeSet<_> = match asked.0 {
        Some(_) => BTreeSet::new(),
        None => facts.accounts.iter().cloned().collect(),
    };
    Accountz {
        server_id: facts.server_id.clone(),
        now: time(source.now()),
        system_account: facts.system_account.clone(),
        accounts: listed,
        account_detail,
    }
}

/// The options of a request for `/accstatz`, by the peer's names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StatsAsked {
    /// These; all, if none is named.
    accounts: Vec<String>,
    /// Those without clients, too.
    include_unused: bool,
}

impl StatsAsked {
    /// Reads the parameters of a request.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn from_query(query: &Query) -> Result<Self, String> {
        Ok(Self { accounts: Vec::new(), include_unused: query.boolean("unused")? })
    }

    /// All accounts, used or not, as the exporter asks for them; of very many only those with clients.
    pub(super) fn of_exporter(facts: &ServerFacts) -> Self {
        let include_unused = facts.accounts.len() <= UNUSED_TOLD_MAX;
        Self { accounts: Vec::new(), include_unused }
    }

    /// What the shards, which were asked for accounts, report of those that are asked for here.
    pub(super) fn stats(&self, source: &impl Source, reports: &[ShardReport]) -> Vec<AccountStats> {
        let (facts, accounts) = (source.facts(), source.accounts());
        let reports = AccountReport::joined(reports);
        let names: BTreeSet<&String> = if self.accounts.is_empty() {
            facts.accounts.iter().collect()
        } else {
            self.accounts.iter().collect()
        };
        let known = names.into_iter().filter_map(|name| accounts.find(name.as_bytes()));
        known
            .map(|account| AccountReport::find(&reports, account))
            .filter(|report| self.include_unused || report.clients > 0)
            .map(|report| AccountStats::new(accounts.name(report.account), &report))
            .collect()
    }
}

/// With more accounts than that `/metrics` leaves those without clients out: each takes 1.5 KB there.
const UNUSED_TOLD_MAX: usize = 1000;

/// The body of `/accstatz`.
pub(super) async fn accstatz(source: &impl Source, asked: &StatsAsked) -> Accstatz {
    let facts = source.facts();
    let account_statz = asked.stats(source, &ask(source).await);
    Accstatz { server_id: facts.server_id.clone(), now: time(source.now()), account_statz }
}

async fn ask(source: &impl Source) -> Vec<ShardReport> {
    source.reports(ReportRequest { accounts: true, ..ReportRequest::default() }).await
}

/// The answer, in the peer's order.
#[derive(Debug, Serialize)]
pub(super) struct Accountz {
    server_id: String,
    now: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    system_account: String,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    accounts: BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_detail: Option<AccountDetail>,
}

/// One account, in the peer's order, without what only operators have.
#[derive(Debug, Serialize)]
struct AccountDetail {
    account_name: String,
    update_time: String,
    #[serde(skip_serializing_if = "is_false")]
    is_system: bool,
    expired: bool,
    complete: bool,
    jetstream_enabled: bool,
    leafnode_connections: u64,
    client_connections: u64,
    subscriptions: u64,
    name_tag: String,
    sublist_stats: Stats,
}

/// The answer, in the peer's order.
#[derive(Debug, Serialize)]
pub(super) struct Accstatz {
    server_id: String,
    now: String,
    account_statz: Vec<AccountStats>,
}
