//! What this server sees of the cluster: who is there, and which connections are missing.

use std::time::Duration;

use crate::ids::ConnId;
use crate::proto::route_info::SubjectRules;
use crate::transport::Mode;

use super::event::Lane;
use super::mesh::Mesh;

/// A server of the cluster, connected or expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its id; empty when it has never answered.
    pub id: String,
    /// Its name; empty when it has never been connected.
    pub name: String,
    /// Whether it is a Ringmesh.
    pub ringmesh: bool,
    /// Where it is dialled.
    pub url: String,
    /// Whether this server dials it.
    pub solicited: bool,
    /// Whether it is a configured route.
    pub configured: bool,
    /// Whether it said that it is about to stop.
    pub lame_duck: bool,
    /// How many pooled connections there should be.
    pub pool_expected: u16,
    /// Which accounts should have a connection of their own.
    pub accounts_expected: Vec<String>,
    /// What there is.
    pub conns: Vec<LinkConn>,
    /// The shortest round trip of its connections.
    pub rtt: Option<Duration>,
}

/// A registered connection to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConn {
    /// The connection.
    pub conn: ConnId,
    /// Its number in logs.
    pub rid: u64,
    /// What it carries.
    pub lane: Lane,
    /// Whether this server dialled it.
    pub dialed: bool,
    /// Its round trip.
    pub rtt: Option<Duration>,
    /// Its compression.
    pub compression: Mode,
    /// What the other server announces, if it has told rules.
    pub import: Option<SubjectRules>,
    /// What it takes announcements of.
    pub export: Option<SubjectRules>,
}

impl Link {
    /// How many connections there should be.
    #[must_use]
    pub fn expected(&self) -> usize {
        usize::from(self.pool_expected) + self.accounts_expected.len()
    }

    /// How many connections are missing.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.expected().saturating_sub(self.conns.len())
    }
}

impl Mesh {
    /// Every server that is connected, or should be.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        let mut links: Vec<_> = self.remotes.keys().map(|id| self.link(id)).collect();
        let pool_expected = self.options.pool_size.unwrap_or(1);
        let accounts_expected: Vec<_> = match self.options.pool_size {
            Some(_) => self.options.accounts.iter().cloned().collect(),
            None => Vec::new(),
        };
        let mut absent: Vec<&str> = Vec::new();
        for (endpoint, target) in &self.targets {
            let remote = target.remote.as_deref();
            let is_counted = target.is_self
                || (target.has_ended && !target.is_configured())
                || remote.is_some_and(|id| self.remotes.contains_key(id) || absent.contains(&id))
                || self.has_connected_sibling(endpoint);
            if is_counted {
                continue;
            }
            absent.extend(remote);
            links.push(Link {
                id: remote.unwrap_or_default().to_owned(),
                name: target.name.clone(),
                ringmesh: target.is_ringmesh,
                url: endpoint.url(),
                solicited: true,
                configured: target.is_configured(),
                lame_duck: false,
                pool_expected,
                accounts_expected: accounts_expected.clone(),
                conns: Vec::new(),
                rtt: None,
            });
        }
        links
    }

    /// How many connections are missing between this server and all others.
    #[must_use]
    pub fn missing_links(&self) -> usize {
        self.links().iter().map(Link::missing).sum()
    }

    fn link(&self, id: &str) -> Link {
        let remote = &self.remotes[id];
        let conns: Vec<_> = remote
            .conns()
            .filter_map(|id| {
                let conn = self.conns.get(&id)?;
                Some(LinkConn {
                    conn: id,
                    rid: conn.rid,
                    lane: conn.lane.clone()?,
                    dialed: !conn.is_acceptor(),
                    rtt: conn.rtt,
                    compression: conn.compression.unwrap_or(Mode::Off),
                    import: conn.import.clone(),
                    export: conn.export.clone(),
                })
            })
            .collect();
        let any = |pick: fn(&super::conn::Conn) -> bool| {
            remote.conns().filter_map(|id| self.conns.get(&id)).any(pick)
        };
        Link {
            id: id.to_owned(),
            name: remote.name.clone(),
            ringmesh: remote.is_ringmesh,
            url: remote.endpoint.url(),
            solicited: any(super::conn::Conn::is_solicited),
            configured: any(super::conn::Conn::is_configured),
            lame_duck: remote.is_lame,
            pool_expected: remote.pool_size.unwrap_or(1),
            accounts_expected: self.accounts_with(remote).into_iter().collect(),
            rtt: conns.iter().filter_map(|conn| conn.rtt).min(),
            conns,
        }
    }
}
