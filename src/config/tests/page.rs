//! The page that users come from: every flag, option and example on it, as written there.

use super::*;

fn runs(args: &[&str]) -> Options {
    match run(args) {
        Invocation::Run(loaded) => loaded.options,
        other => panic!("{args:?}: {other:?}"),
    }
}

fn cluster_of(text: &str) -> ClusterOptions {
    assert_eq!(complaints(text), "", "{text}");
    options(text).unwrap().cluster.unwrap_or_else(|| panic!("no cluster in {text}"))
}

fn route(text: &str) -> RouteUrl {
    RouteUrl::parse(text).unwrap()
}

#[test]
fn every_flag_of_the_page_works_as_written() {
    for flag in ["--cluster", "--cluster_listen"] {
        let cluster = runs(&[flag, "nats://0.0.0.0:6222"]).cluster.unwrap();
        assert_eq!((cluster.host.as_str(), cluster.port), ("0.0.0.0", Some(6222)));
    }
    let listen = "--cluster=nats://0.0.0.0:6222";
    let routes = ["--routes", "nats://server1:6222,nats://server2:6222"];
    let cluster = runs(&[&[listen], &routes[..]].concat()).cluster.unwrap();
    assert_eq!(cluster.routes, [route("nats://server1:6222"), route("nats://server2:6222")]);
    let cluster = runs(&["--cluster_name", "production-cluster"]).cluster.unwrap();
    assert_eq!((cluster.name.as_deref(), cluster.port), (Some("production-cluster"), None));
    let public = ["--cluster_advertise", "nats://public.example.com:6222"];
    let cluster = runs(&[&[listen], &public[..]].concat()).cluster.unwrap();
    let advertise = cluster.advertise.unwrap();
    assert_eq!((advertise.host.as_str(), advertise.port), ("public.example.com", Some(6222)));
    assert!(runs(&[listen, "--no_advertise"]).cluster.unwrap().no_advertise);
    assert_eq!(runs(&[listen, "--connect_retries", "5"]).cluster.unwrap().connect_retries, 5);
}

#[test]
fn every_option_of_the_page_works_as_written() {
    let c = cluster_of("cluster {\n  name: \"production-cluster\"\n}");
    assert_eq!(c.name.as_deref(), Some("production-cluster"));
    assert_eq!(cluster_of("cluster {\n  host: \"0.0.0.0\"\n}").port, Some(6222));
    assert_eq!(cluster_of("cluster {\n  port: 6222\n}").port, Some(6222));
    let c = cluster_of("cluster {\n  listen: \"0.0.0.0:6222\"\n}");
    assert_eq!((c.host.as_str(), c.port), ("0.0.0.0", Some(6222)));
    let c = cluster_of(
        "cluster {\n  routes: [\n    \"nats://server1.example.com:6222\",\n    \
         \"nats://server2.example.com:6222\",\n    \"nats://server3.example.com:6222\"\n  ]\n}",
    );
    assert_eq!((c.routes.len(), c.port), (3, Some(6222)));
    let with = |text: &str| cluster_of(&format!("cluster {{\n  port: 6222\n  {text}\n}}"));
    let c = with("advertise: \"nats://public.example.com:6222\"");
    assert_eq!(c.advertise.unwrap().host, "public.example.com");
    assert!(with("no_advertise: true").no_advertise);
    let c = with("username: \"route_user\"\n  password: \"route_password\"");
    let authorization =
        RouteAuthorization { user: "route_user".into(), password: "route_password".into() };
    assert_eq!(c.authorization, Some(authorization.clone()));
    let c = with(
        "authorization {\n    user: \"route_user\"\n    password: \"route_password\"\n    \
         timeout: 2\n  }",
    );
    assert_eq!((c.authorization, c.auth_timeout), (Some(authorization), Duration::from_secs(2)));
    assert_eq!(with("connect_retries: 10").connect_retries, 10);
    assert_eq!(with("pool_size: 5").pool_size, Some(5));
    for (mode, expected) in [
        ("s2_auto", Mode::Auto),
        ("s2_fast", Mode::Fast),
        ("s2_better", Mode::Better),
        ("s2_best", Mode::Best),
        ("disabled", Mode::Off),
    ] {
        let c = with(&format!("compression {{\n    mode: \"{mode}\"\n  }}"));
        assert_eq!(c.compression, expected);
    }
    assert_eq!(with("ping_interval: \"30s\"").ping_interval, Duration::from_secs(30));
    assert_eq!(with("write_deadline: \"5s\"").write_deadline, Duration::from_secs(5));
}

#[test]
fn the_three_nodes_of_the_page_are_read() {
    for (name, one, other) in [
        ("nats-1", "nats-2", "nats-3"),
        ("nats-2", "nats-1", "nats-3"),
        ("nats-3", "nats-1", "nats-2"),
    ] {
        let text = THREE_NODES.replace("NAME", name).replace("ONE", one).replace("OTHER", other);
        let c = cluster_of(&text);
        assert_eq!(c.name.as_deref(), Some("production-cluster"));
        let hosts: Vec<_> = c.routes.iter().map(|route| route.host.as_str()).collect();
        assert_eq!(hosts, [one, other]);
        assert_eq!(options(&text).unwrap().server_name.as_deref(), Some(name));
    }
}

const THREE_NODES: &str = r#"port: 4222
server_name: "NAME"

cluster {
  name: "production-cluster"
  listen: "0.0.0.0:6222"
  
  routes: [
    "nats://ONE:6222",
    "nats://OTHER:6222"
  ]
}
"#;

#[test]
fn the_cluster_with_authentication_of_the_page_is_read() {
    let c = cluster_of(AUTHENTICATION);
    let authorization = c.authorization.unwrap();
    assert_eq!(authorization.user, "cluster_route");
    assert!(authorization.password.starts_with("$2a$11$3kIDaCxw."));
    for route in &c.routes {
        assert_eq!(route.user.as_deref(), Some("cluster_route"));
        assert_eq!(route.password.as_deref(), Some("cluster_password"));
        assert!(!format!("{route} {route:?}").contains("cluster_password"), "{route}");
    }
}

const AUTHENTICATION: &str = r#"port: 4222
server_name: "nats-secure"

cluster {
  name: "secure-cluster"
  listen: "0.0.0.0:6222"
  
  authorization {
    user: "cluster_route"
    password: "$2a$11$3kIDaCxw.Glsl1.u5nKa6eUnNDLV5HV9tIuUp7EHhMt6Nm9myW1aS"
    timeout: 2
  }
  
  routes: [
    "nats://cluster_route:cluster_password@nats-2:6222",
    "nats://cluster_route:cluster_password@nats-3:6222"
  ]
}
"#;

#[test]
fn the_cluster_behind_nat_of_the_page_is_read() {
    let c = cluster_of(BEHIND_NAT);
    let advertise = Advertise {
        text: "nats://public-ip-1.example.com:6222".into(),
        host: "public-ip-1.example.com".into(),
        port: Some(6222),
    };
    assert_eq!(c.advertise, Some(advertise));
    assert_eq!(c.routes[1].address(), "public-ip-3.example.com:6222");
}

const BEHIND_NAT: &str = r#"port: 4222
server_name: "nats-aws-1"

cluster {
  name: "cloud-cluster"
  listen: "0.0.0.0:6222"
  advertise: "nats://public-ip-1.example.com:6222"
  
  routes: [
    "nats://public-ip-2.example.com:6222",
    "nats://public-ip-3.example.com:6222"
  ]
}
"#;

#[test]
fn the_cluster_with_compression_of_the_page_is_read() {
    let c = cluster_of(COMPRESSION);
    let thresholds = [10, 50, 100].map(Duration::from_millis);
    assert_eq!((c.compression, c.rtt_thresholds), (Mode::Auto, thresholds.to_vec()));
}

const COMPRESSION: &str = r#"port: 4222
server_name: "nats-compressed"

cluster {
  name: "compressed-cluster"
  listen: "0.0.0.0:6222"
  
  compression {
    mode: "s2_auto"
  }
  
  routes: [
    "nats://nats-2:6222",
    "nats://nats-3:6222"
  ]
}
"#;

#[test]
fn the_growing_cluster_of_the_page_is_read() {
    let c = cluster_of(
        "cluster {\n  name: \"production-cluster\"\n  listen: \"0.0.0.0:6222\"\n  \n  # Only need to \
         route to one existing member\n  routes: [\n    \"nats://nats-1:6222\"\n  ]\n}\n",
    );
    assert_eq!(c.routes, [route("nats://nats-1:6222")]);
}
