//! A cluster of processes, from its plan to its end.

use std::collections::BTreeMap;

use serde_json::Value;
use tempfile::TempDir;

use super::client::Client;
use super::layout::Layout;
use super::node::{Node, NodePlan, Ports};
use crate::support::{Kind, poll};

/// How often a cluster is started anew because somebody else has taken one of its ports.
const STARTS_MAX: usize = 5;

/// What the nodes of a cluster are to be.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) nodes: Vec<NodePlan>,
}

impl Plan {
    /// Nodes `a`, `b`, `c` … of a cluster `mesh`, of which all know the first one only.
    pub(crate) fn new(layout: &Layout) -> Self {
        let plan = |(index, kind): (usize, &Kind)| NodePlan {
            kind: *kind,
            name: char::from(b'a' + u8::try_from(index).unwrap()).to_string(),
            cluster_name: Some("mesh".to_owned()),
            routes: if index == 0 { Vec::new() } else { vec!["nats://{0}".to_owned()] },
            pool_size: None,
            accounts: Vec::new(),
            cluster: String::new(),
            top: String::new(),
            home: None,
        };
        Self { nodes: layout.0.iter().enumerate().map(plan).collect() }
    }

    /// Changes each node's plan.
    pub(crate) fn each(mut self, mut change: impl FnMut(usize, &mut NodePlan)) -> Self {
        self.nodes.iter_mut().enumerate().for_each(|(index, node)| change(index, node));
        self
    }

    /// Adds lines to every node's `cluster {}`.
    pub(crate) fn cluster(self, lines: &str) -> Self {
        self.each(|_, node| append(&mut node.cluster, lines))
    }

    /// Adds lines to the top level of every node.
    pub(crate) fn top(self, lines: &str) -> Self {
        self.each(|_, node| append(&mut node.top, lines))
    }

    /// Starts the nodes and waits until each has all its connections to each other.
    #[track_caller]
    pub(crate) fn start(self) -> Cluster {
        let cluster = self.launch();
        cluster.await_whole();
        cluster
    }

    /// Starts the nodes, the first one first, and waits until they serve; they need not have met.
    ///
    /// # Panics
    /// With the log of a node that does not start.
    #[track_caller]
    pub(crate) fn launch(self) -> Cluster {
        for _ in 1..STARTS_MAX {
            match self.try_launch() {
                Ok(cluster) => return cluster,
                Err(log) if log.contains("address already in use") => {}
                Err(log) => panic!("a node does not start:\n{log}"),
            }
        }
        self.try_launch().unwrap_or_else(|log| panic!("a node finds no port:\n{log}"))
    }

    fn try_launch(&self) -> Result<Cluster, String> {
        let dir = tempfile::tempdir().unwrap();
        let ports: Vec<_> = self.nodes.iter().map(|_| Ports::reserve()).collect();
        let address = |(plan, ports): (&NodePlan, &Ports)| {
            format!("{}:{}", plan.host(), ports.cluster.number)
        };
        let addresses: Vec<_> = self.nodes.iter().zip(&ports).map(address).collect();
        let plans = self.nodes.iter().zip(ports);
        let nodes = plans
            .map(|(plan, ports)| Node::new(plan.clone(), ports, &addresses, dir.path()))
            .collect();
        let mut cluster = Cluster { nodes, addresses, dir };
        let (first, others) = cluster.nodes.split_at_mut(1);
        for batch in [first, others] {
            batch.iter_mut().for_each(Node::spawn);
            batch.iter().try_for_each(Node::await_ready)?;
        }
        Ok(cluster)
    }
}

fn append(text: &mut String, lines: &str) {
    text.push_str(lines);
    text.push('\n');
}

/// Running nodes; they end with it, and when a test fails their logs are shown.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    addresses: Vec<String>,
    dir: TempDir,
}

impl Cluster {
    /// A client of a node, logged in.
    #[track_caller]
    pub(crate) fn client(&self, node: usize) -> Client {
        self.client_with(node, "")
    }

    /// A client whose CONNECT has more fields, as `"user":"a","pass":"b"`.
    #[track_caller]
    pub(crate) fn client_with(&self, node: usize, fields: &str) -> Client {
        let node = &self.nodes[node];
        let stream = node.connect(node.ports.client.number).expect("a node takes clients");
        Client::login(stream, fields)
    }

    /// A client of each node.
    #[track_caller]
    pub(crate) fn clients(&self) -> Vec<Client> {
        (0..self.nodes.len()).map(|node| self.client(node)).collect()
    }

    /// Where clients of a node connect, as servers tell it: `host:port`.
    pub(crate) fn client_address(&self, node: usize) -> String {
        let node = &self.nodes[node];
        format!("{}:{}", node.plan.host(), node.ports.client.number)
    }

    /// A node's address for routes.
    pub(crate) fn route_address(&self, node: usize) -> &str {
        &self.addresses[node]
    }

    /// Ends a node as a crash would.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// Ends a node in order.
    #[track_caller]
    pub(crate) fn stop(&mut self, node: usize) {
        self.nodes[node].signal("TERM");
        self.nodes[node].wait_exit();
    }

    /// Starts a node again, on its own ports, and waits until it serves.
    #[track_caller]
    pub(crate) fn restart(&mut self, node: usize) {
        // A port may be refused for a moment while the old process's connections end.
        let served = poll(|| {
            self.nodes[node].spawn();
            match self.nodes[node].await_ready() {
                Ok(()) => Some(()),
                Err(log) if log.contains("address already in use") => None,
                Err(log) => panic!("a node does not start again:\n{log}"),
            }
        });
        assert!(served.is_some(), "a node's ports do not come back");
    }

    /// Adds one more node and waits until it serves; it may name the others in its routes.
    #[track_caller]
    pub(crate) fn join(&mut self, plan: NodePlan) -> usize {
        let ports = Ports::reserve();
        self.addresses.push(format!("{}:{}", plan.host(), ports.cluster.number));
        let mut node = Node::new(plan, ports, &self.addresses, self.dir.path());
        node.spawn();
        let ready = node.await_ready();
        self.nodes.push(node);
        ready.unwrap_or_else(|log| panic!("the new node does not start:\n{log}"));
        self.nodes.len() - 1
    }

    /// Changes a node's options and tells it to read them again.
    pub(crate) fn reload(&mut self, node: usize, change: impl FnOnce(&mut NodePlan)) {
        let mut plan = self.nodes[node].plan.clone();
        change(&mut plan);
        self.nodes[node].rewrite(plan, &self.addresses);
        self.nodes[node].signal("HUP");
    }

    /// What `/routez` of a node says.
    #[track_caller]
    pub(crate) fn routez(&self, node: usize) -> Value {
        self.nodes[node].monitor("/routez").expect("/routez answers")
    }

    /// What `/varz` of a node says.
    #[track_caller]
    pub(crate) fn varz(&self, node: usize) -> Value {
        self.nodes[node].monitor("/varz").expect("/varz answers")
    }

    /// The connections that a node has, by the name of who is at the other end.
    pub(crate) fn links(&self, node: usize) -> BTreeMap<String, usize> {
        let mut links = BTreeMap::new();
        let routez = self.nodes[node].monitor("/routez").unwrap_or_default();
        for route in routez["routes"].as_array().into_iter().flatten() {
            *links.entry(route["remote_name"].as_str().unwrap_or("?").to_owned()).or_default() += 1;
        }
        links
    }

    /// Waits until each running node has all connections to each other, and none besides.
    #[track_caller]
    pub(crate) fn await_whole(&self) {
        let running: Vec<_> =
            (0..self.nodes.len()).filter(|node| self.nodes[*node].is_running()).collect();
        let expected = |one: usize| -> BTreeMap<String, usize> {
            let others = running.iter().filter(|other| **other != one);
            let links = |other: &usize| {
                (self.nodes[*other].plan.name.clone(), self.expected_links(one, *other))
            };
            others.map(links).collect()
        };
        self.await_links(&running.iter().map(|one| (*one, expected(*one))).collect::<Vec<_>>());
    }

    /// Waits until these nodes have exactly these connections.
    #[track_caller]
    pub(crate) fn await_links(&self, wanted: &[(usize, BTreeMap<String, usize>)]) {
        let settled = poll(|| {
            let fits = |(node, links): &(usize, _)| self.links(*node) == *links;
            wanted.iter().all(fits).then_some(())
        });
        if settled.is_none() {
            let found: Vec<_> = wanted.iter().map(|(node, _)| (node, self.links(*node))).collect();
            panic!("the mesh is not whole: wanted {wanted:?}, found {found:?}");
        }
    }

    /// Two nodes that agree on pools keep the larger one, and a connection for each account that
    /// both want to have one; the system account always has.
    pub(crate) fn expected_links(&self, one: usize, other: usize) -> usize {
        let (one, other) = (&self.nodes[one].plan, &self.nodes[other].plan);
        let (Some(pool), Some(other_pool)) = (one.pool(), other.pool()) else { return 1 };
        let shared = one.accounts.iter().filter(|account| other.accounts.contains(account));
        pool.max(other_pool) + 1 + shared.count()
    }
}

impl Drop for Cluster {
    #[expect(clippy::print_stderr, reason = "a failed test shows the logs")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                let Node { plan, .. } = node;
                eprintln!("--- the log of {} ({}) ---\n{}", plan.name, plan.kind, node.log());
            }
        }
    }
}
