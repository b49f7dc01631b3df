//! Accounts keep apart in the whole cluster, whatever connections they travel on.

use std::fmt;

use crate::mesh::client::introduce_all;
use crate::mesh::layout::{layouts, on_each};
use crate::mesh::{Client, Cluster, Layout, Plan, introduce, on_each_layout};
use crate::support::{Kind, poll};

/// These accounts fall on different connections of pools of three and of five.
const ACCOUNTS: [&str; 4] = ["A", "C", "ACC1", "D"];

/// Each has a user of its own name, in lower case.
fn accounts() -> String {
    let account = |name: &&str| {
        let user = name.to_lowercase();
        format!("{name}: {{ users: [{{ user: {user}, password: {user} }}] }}")
    };
    format!("accounts {{ {} }}", ACCOUNTS.iter().map(account).collect::<Vec<_>>().join("\n"))
}

fn login(cluster: &Cluster, node: usize, account: &str) -> Client {
    let user = account.to_lowercase();
    cluster.client_with(node, &format!("\"user\":\"{user}\",\"pass\":\"{user}\""))
}

/// The same subject in every account and on every node; everybody hears its own account only.
#[track_caller]
fn accounts_keep_apart(cluster: &Cluster) {
    let nodes = cluster.nodes.len();
    let mut clients: Vec<Vec<Client>> = ACCOUNTS
        .iter()
        .map(|account| (0..nodes).map(|node| login(cluster, node, account)).collect())
        .collect();
    for (clients, account) in clients.iter_mut().zip(ACCOUNTS) {
        for client in clients.iter_mut() {
            client.subscribe("same.*");
            client.subscribe_in("same.subject", "group");
        }
        introduce_all(clients);
        for (node, client) in clients.iter_mut().enumerate() {
            client.publish("same.subject", format!("{account} from {node}"));
        }
    }
    for (clients, account) in clients.iter_mut().zip(ACCOUNTS) {
        introduce_all(clients);
        let mut queued = 0;
        for client in clients {
            let (plain, group): (Vec<_>, Vec<_>) =
                client.take_all().into_iter().partition(|message| message.sid == 1);
            let mut plain: Vec<_> = plain.iter().map(|message| message.text()).collect();
            plain.sort();
            let wanted: Vec<_> = (0..nodes).map(|node| format!("{account} from {node}")).collect();
            assert_eq!(plain, wanted);
            queued += group.len();
        }
        assert_eq!(queued, nodes, "{account}: for the queue group");
    }
}

/// A layout with a pool size for each node.
struct Pools(Layout, [i32; 3]);

impl fmt::Display for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with pools {:?}", self.0, self.1)
    }
}

#[test]
fn pools_of_every_size_carry_every_account() {
    let sizes = [[3, 3, 3], [1, 1, 1], [1, 3, 5], [5, 3, 1], [-1, -1, -1], [3, -1, 5], [-1, 1, 3]];
    let cases: Vec<_> = layouts(3)
        .iter()
        .flat_map(|layout| sizes.map(|sizes| Pools(layout.clone(), sizes)))
        .collect();
    on_each(&cases, |Pools(layout, sizes)| {
        let plan = Plan::new(layout).top(&accounts());
        let plan = plan.each(|index, node| node.pool_size = Some(sizes[index]));
        accounts_keep_apart(&plan.start());
    });
}

#[test]
fn an_account_may_have_a_connection_of_its_own() {
    on_each_layout(3, |layout| {
        let plan = Plan::new(layout).top(&accounts());
        let plan = plan.each(|_, node| node.accounts = vec!["A".to_owned(), "D".to_owned()]);
        let cluster = plan.start();
        accounts_keep_apart(&cluster);
        for node in 0..3 {
            let routez = cluster.routez(node);
            let routes = routez["routes"].as_array().unwrap();
            let mut own: Vec<_> =
                routes.iter().filter_map(|route| route["account"].as_str()).collect();
            own.sort_unstable();
            assert_eq!(own, ["$SYS", "$SYS", "A", "A", "D", "D"], "{routez}");
        }
    });
}

#[test]
fn routes_carry_only_what_their_permissions_let_through() {
    on_each_layout(2, |layout| {
        let plan = Plan::new(layout).each(|index, node| {
            if index == 0 {
                // What the others say about `private.>` is not heard, and the own interest in
                // `silent.>` not told.
                node.cluster = "permissions {\n\
                    export: { deny: [\"private.>\"] }\n\
                    import: { deny: [\"silent.>\"] }\n}"
                    .to_owned();
            }
        });
        let cluster = plan.start();
        let mut clients = cluster.clients();
        for client in &mut clients {
            for subject in ["public.x", "private.x", "silent.x"] {
                client.subscribe(subject);
            }
        }
        introduce_all(&mut clients);
        for (index, client) in clients.iter_mut().enumerate() {
            for subject in ["public.x", "private.x", "silent.x"] {
                client.publish(subject, index.to_string());
            }
        }
        introduce_all(&mut clients);
        let heard = |client: &mut Client| {
            let messages = client.take_all();
            let mut heard: Vec<_> = messages
                .iter()
                .map(|message| format!("{} {}", message.subject, message.text()))
                .collect();
            heard.sort();
            heard
        };
        let [first, second] = &mut clients[..] else { unreachable!("two clients") };
        assert_eq!(
            heard(first),
            ["private.x 0", "private.x 1", "public.x 0", "public.x 1", "silent.x 0"]
        );
        assert_eq!(
            heard(second),
            ["private.x 1", "public.x 0", "public.x 1", "silent.x 0", "silent.x 1"]
        );
    });
}

/// What a wildcard asks for beside what it may have does not come: neither alone, nor among others
/// of its kind, nor to a queue group.
#[test]
fn what_may_not_leave_is_kept_from_wildcards_too() {
    on_each_layout(2, |layout| {
        let denying = |subject: &str| {
            format!(
                "permissions {{ export: {{ allow: [\"no.>\", \">\"], deny: [\"{subject}\"] }} }}"
            )
        };
        let plan = Plan::new(layout).each(|index, node| {
            if index == 0 {
                node.cluster = denying("no.1");
            }
        });
        let mut cluster = plan.start();
        let heard = |cluster: &Cluster, subjects: [&str; 2]| {
            let (mut here, mut there) = (cluster.client(0), cluster.client(1));
            for subject in [">", "no.*"] {
                there.subscribe(subject);
            }
            there.subscribe_in("no.>", "group");
            introduce(&mut here, &mut there);
            there.take_all();
            for subject in [subjects[0], subjects[0], subjects[0], subjects[1]] {
                here.publish(subject, "x");
            }
            assert!(here.request_briefly(subjects[0]), "nobody gets what may not leave");
            introduce(&mut here, &mut there);
            let messages = there.take_all();
            let count = |subject: &str| messages.iter().filter(|it| it.subject == subject).count();
            subjects.map(count)
        };
        assert_eq!(heard(&cluster, ["no.1", "no.2"]), [0, 3]);
        cluster.reload(0, |node| node.cluster = denying("no.2"));
        cluster.nodes[0].await_log("Reloaded");
        assert_eq!(heard(&cluster, ["no.2", "no.1"]), [0, 3]);
    });
}

/// Waits until both nodes have so many connections to the other.
#[track_caller]
fn await_both(cluster: &Cluster, links: usize) {
    let name = |node: usize| cluster.nodes[node].plan.name.clone();
    cluster.await_links(&[(0, [(name(1), links)].into()), (1, [(name(0), links)].into())]);
}

/// With the pool of three and the system account, and so many others.
const USUAL: usize = 4;

#[test]
fn an_account_gets_its_own_route_while_one_node_after_the_other_is_reloaded() {
    on_each_layout(2, |layout| {
        for order in [[1, 0], [0, 1]] {
            if order[0] == 0 && layout.0 == [Kind::Real; 2] {
                // The second node knows the first, and not the other way round: so nats-server dials
                // nobody, and loses the account until both are reloaded.
                continue;
            }
            let mut cluster = Plan::new(layout).top(&accounts()).start();
            for node in order {
                cluster.reload(node, |node| node.accounts = vec!["A".to_owned()]);
                await_both(&cluster, USUAL + 1);
                accounts_keep_apart(&cluster);
            }
        }
    });
}

#[test]
fn a_route_that_one_node_alone_wants_is_tried_quietly_until_the_other_wants_it_too() {
    on_each_layout(2, |layout| {
        let plan = Plan::new(layout).top(&accounts()).each(|index, node| {
            let accounts = &["A", "D"][..=index];
            node.accounts = accounts.iter().map(ToString::to_string).collect();
        });
        let mut cluster = plan.start();
        cluster.nodes[1].await_log("No route for account \"D\"");
        if layout.0[1] != Kind::Real {
            let missing = || cluster.routez(1)["missing_links"].as_u64();
            assert!(poll(|| (missing() == Some(1)).then_some(())).is_some(), "{:?}", missing());
            // The other one tells of each try.
            let is_error = |line: &&str| line.contains("[ERR]") && line.contains("No route for");
            let count = |node: usize| cluster.nodes[node].log().lines().filter(is_error).count();
            assert!(poll(|| (count(0) >= 3).then_some(())).is_some(), "tried {} times", count(0));
            assert_eq!(count(1), 1, "a line for what has changed");
        }
        cluster.reload(0, |node| node.accounts.push("D".to_owned()));
        cluster.await_whole();
        accounts_keep_apart(&cluster);
    });
}
