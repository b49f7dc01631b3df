//! What the monitor is told of the cluster, as this server sees it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::proto::route_info::SubjectRules;

/// The cluster as one of its servers sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshView {
    /// All other servers that are known, connected or not.
    pub members: Vec<Member>,
    /// What may cross the routes by this server's own configuration.
    pub own_rules: RouteRules,
    /// What may cross by the other servers', by the routes' numbers.
    pub remote_rules: BTreeMap<u64, RouteRules>,
}

/// Another server of the cluster. The names are those of `/routez`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its id; empty while it has never answered.
    pub id: String,
    /// Its name; empty while it has never answered.
    pub name: String,
    /// Whether it is one of our kind.
    pub ringmesh: bool,
    /// How many connections there should be.
    pub expected: usize,
    /// How many there are.
    pub actual: usize,
    /// How many are missing.
    pub missing: usize,
    /// Whether it said that it is about to stop.
    pub lame_duck: bool,
    /// Where it is dialled.
    pub url: String,
}

/// What may cross a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouteRules {
    /// What is announced; without rules, everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import: Option<SubjectRules>,
    /// Of what announcements are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<SubjectRules>,
}

impl MeshView {
    /// How many servers are connected.
    #[must_use]
    pub fn remotes(&self) -> usize {
        self.members.iter().filter(|member| member.actual > 0).count()
    }

    /// How many connections are missing to all of them.
    #[must_use]
    pub fn missing_links(&self) -> usize {
        self.members.iter().map(|member| member.missing).sum()
    }
}
