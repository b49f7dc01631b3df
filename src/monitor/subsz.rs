//! `/subsz`: the subscription table.

use ring::Time;
use serde::{Deserialize, Serialize};

use super::format::{Float, is_zero, ratio, time};
use super::query::Query;
use super::{LIST_DEFAULT, Source, gather, list_limit};
use crate::ids::AccountId;
use crate::report::{ReportRequest, ShardReport, SublistStats, SubscriptionReport};

/// The body.
pub(super) async fn subsz(source: &impl Source, asked: &Asked) -> Subsz {
    let of_one = !asked.account.is_empty();
    let reports = source.reports(ReportRequest { accounts: of_one, ..Default::default() }).await;
    let (total, list) = if asked.subs { asked.gather(source).await } else { (0, Vec::new()) };
    let stats = match source.accounts().find(asked.account.as_bytes()) {
        Some(account) => of_account(&reports, account),
        None if of_one => SublistStats::default(),
        None => merged(&reports),
    };
    Subsz {
        total,
        offset: asked.offset,
        limit: asked.limit,
        subscriptions_list: list,
        ..Subsz::new(source.facts().server_id.clone(), &stats, source.now())
    }
}

/// The options of a request as they are given, by the peer's names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Options {
    subscriptions: bool,
    offset: i64,
    limit: i64,
    test: String,
    account: String,
}

/// What is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    subs: bool,
    offset: usize,
    limit: usize,
    test: String,
    account: String,
}

impl Asked {
    /// Reads the parameters of a request, in the order in which the peer complains.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn from_query(query: &Query) -> Result<Self, String> {
        Self::new(Options {
            subscriptions: query.boolean("subs")?,
            offset: query.int("offset")?,
            limit: query.int("limit")?,
            test: query.text("test").into(),
            account: query.text("acc").into(),
        })
    }

    /// Checks options.
    ///
    /// # Errors
    /// What makes no sense.
    pub(super) fn new(options: Options) -> Result<Self, String> {
        let Options { subscriptions, offset, limit, test, account } = options;
        if !test.is_empty() && !is_literal(&test) {
            return Err(format!("invalid test subject, must be valid publish subject: {test}"));
        }
        let offset = usize::try_from(offset).unwrap_or(0);
        Ok(Self { subs: subscriptions, offset, limit: list_limit(limit), test, account })
    }

    /// How many subscriptions are meant, and those of the page that was asked for.
    async fn gather(&self, source: &impl Source) -> (usize, Vec<SubscriptionDetail>) {
        let (mut total, mut page) = (0, Vec::new());
        gather::subscriptions(source, |subscription| {
            if !self.means(&subscription) {
                return;
            }
            if total >= self.offset && page.len() < self.limit {
                page.push(SubscriptionDetail::new(subscription));
            }
            total += 1;
        })
        .await;
        (total, page)
    }

    fn means(&self, subscription: &SubscriptionReport) -> bool {
        (self.account.is_empty() || subscription.account == self.account)
            && (self.test.is_empty() || matches(&subscription.subject, &self.test))
    }
}

/// All shards' tables together.
pub(super) fn merged(reports: &[ShardReport]) -> SublistStats {
    let mut sum = SublistStats::default();
    reports.iter().for_each(|report| sum.merge(&report.sublist));
    sum
}

/// One account's tables together. The shards' own include what shards tell each other, so what its
/// clients have is counted instead.
pub(super) fn of_account(reports: &[ShardReport], account: AccountId) -> SublistStats {
    let mut sum = SublistStats::default();
    let tables = reports.iter().filter_map(|report| report.account_sublists.get(account.index()));
    tables.for_each(|stats| sum.merge(stats));
    let shares = reports.iter().flat_map(|report| &report.accounts);
    let of_account = shares.filter(|share| share.account == account);
    sum.subscriptions = of_account.map(|share| share.subscriptions).sum();
    sum
}

/// Whether messages can be published under the subject.
fn is_literal(subject: &str) -> bool {
    subject.split('.').all(|token| !matches!(token, "" | "*" | ">"))
}

/// Whether the filter of a subscription takes a literal subject.
pub(super) fn matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            (_, _) => return false,
        }
    }
    tokens.next().is_none()
}

/// The answer, in the peer's order.
#[derive(Debug, Serialize)]
pub(super) struct Subsz {
    server_id: String,
    now: String,
    #[serde(flatten)]
    stats: Stats,
    total: usize,
    offset: usize,
    limit: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<SubscriptionDetail>,
}

impl Subsz {
    /// The answer to a request without parameters.
    pub(super) fn new(server_id: String, stats: &SublistStats, now: Time) -> Self {
        Self {
            server_id,
            now: time(now),
            stats: Stats::new(stats),
            total: 0,
            offset: 0,
            limit: LIST_DEFAULT,
            subscriptions_list: Vec::new(),
        }
    }
}

/// Statistics of a subscription table, in the peer's order.
#[derive(Debug, Serialize)]
pub(super) struct Stats {
    num_subscriptions: u64,
    num_cache: u64,
    num_inserts: u64,
    num_removes: u64,
    num_matches: u64,
    cache_hit_rate: Float,
    max_fanout: u64,
    avg_fanout: Float,
}

impl Stats {
    pub(super) fn new(stats: &SublistStats) -> Self {
        Self {
            num_subscriptions: stats.subscriptions,
            num_cache: stats.cache_entries,
            num_inserts: stats.inserts,
            num_removes: stats.removes,
            num_matches: stats.matches,
            cache_hit_rate: ratio(stats.cache_hits, stats.matches),
            max_fanout: stats.fanout_max,
            avg_fanout: ratio(stats.fanout_total, stats.cache_entries),
        }
    }
}

/// One subscription, in the peer's order.
#[derive(Debug, Serialize)]
pub(super) struct SubscriptionDetail {
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    account_tag: String,
    subject: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    qgroup: String,
    sid: String,
    msgs: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    cid: u64,
}

impl SubscriptionDetail {
    /// With its account.
    pub(super) fn new(report: SubscriptionReport) -> Self {
        let account = report.account.clone();
        Self { account: account.clone(), account_tag: account, ..Self::without_account(report) }
    }

    /// Below a connection, whose account is known.
    pub(super) fn without_account(report: SubscriptionReport) -> Self {
        Self {
            account: String::new(),
            account_tag: String::new(),
            subject: report.subject,
            qgroup: report.queue,
            sid: report.sid,
            msgs: report.msgs,
            max: report.max,
            cid: report.cid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_subject_is_matched_token_by_token() {
        let check = |filter: &str, subject: &str, expected: bool| {
            assert_eq!(matches(filter, subject), expected, "{filter} on {subject}");
        };
        check("foo", "foo", true);
        check("foo.*", "foo.bar", true);
        check("foo.*", "foo", false);
        check("foo.>", "foo", false);
        check("foo.>", "foo.a.b", true);
        check("foo", "foo.bar", false);
        check("foo.bar", "foo", false);
        check(">", "a", true);
    }

    #[test]
    fn a_test_subject_is_literal() {
        let check = |subject: &str, expected: bool| assert_eq!(is_literal(subject), expected);
        check("a.b c", true);
        check("a..b", false);
        check("a.>", false);
        check("*", false);
        check("a*", true);
    }
}
