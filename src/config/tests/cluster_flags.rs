//! The cluster's flags. The texts come from nats-server 2.15.1.

use super::*;

fn started(args: &[&str], text: Option<&str>) -> Result<Options, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    let mut args = args.to_vec();
    if let Some(text) = text {
        std::fs::write(&path, text).unwrap();
        args.extend(["-c", &path]);
    }
    match run(&args) {
        Invocation::Run(loaded) => Ok(loaded.options),
        Invocation::Exit { stderr, code: 1, .. } => {
            Err(stderr.trim_start_matches("nats-server: ").trim_end().to_owned())
        }
        other => panic!("{args:?}: {other:?}"),
    }
}

#[test]
fn every_flag_of_the_cluster_lands_where_it_belongs() {
    let line = "--cluster nats://u:p@h:5 --routes nats://a:1,nats://b:2 --cluster_name n \
                --cluster_advertise c:7 --no_advertise --connect_retries 9";
    let args: Vec<_> = line.split_whitespace().collect();
    let file = "cluster { listen: \"h:5\", authorization { user: u, password: p }, name: n, \
                routes: [\"nats://a:1\", \"nats://b:2\"], advertise: \"c:7\", no_advertise: true, \
                connect_retries: 9 }";
    assert_eq!(started(&args, None).unwrap().cluster, options(file).unwrap().cluster);
    let other = "cluster { listen: \"x:1\", routes: [\"nats://x:1\"], name: x, advertise: x, \
                 authorization { user: x, password: y } }";
    let both = started(&args, Some(other)).unwrap().cluster;
    assert_eq!(both, options(file).unwrap().cluster, "flags win over the file");
}

#[test]
fn the_cluster_flag_replaces_address_and_credentials_or_switches_the_cluster_off() {
    let file = "cluster { name: n, listen: \"x:1\", routes: [\"nats://a:1\"], \
                authorization { user: u, password: p } }";
    let cluster = |args: &[&str]| started(args, Some(file)).unwrap().cluster.unwrap();
    let c = cluster(&["--cluster", "nats://h:-1"]);
    assert_eq!((c.host.as_str(), c.port, c.authorization), ("h", Some(0), None));
    assert_eq!(c.routes.len(), 1, "routes stay");
    let c = cluster(&["--cluster_listen", ""]);
    assert_eq!((c.name.as_deref(), c.port, c.routes.len()), (Some("n"), None, 0));
    let c = cluster(&["--cluster", "nats://h:5", "-cluster_listen", ""]);
    assert_eq!(c.port, None, "the last one holds");
    let c = cluster(&["--routes", ""]);
    assert_eq!((c.port, c.routes.len()), (Some(1), 0));
    let c = started(&["--cluster", "nats://[::1]:-1"], None).unwrap().cluster.unwrap();
    assert_eq!((c.host.as_str(), c.port), ("::1", Some(0)));
    let c = started(&["--cluster", "nats://:5"], None).unwrap().cluster.unwrap();
    assert_eq!(c.host, "0.0.0.0");
    assert_eq!(started(&["--connect_retries", "5", "--routes", ""], None).unwrap().cluster, None);
}

#[test]
fn flags_of_the_cluster_fail_in_the_peer_s_words() {
    let listen = ["--cluster", "nats://127.0.0.1:-1"];
    let with = |more: &[&'static str]| [&listen[..], more].concat();
    for (args, error) in [
        (
            vec!["--routes", "nats://127.0.0.1:1"],
            "solicited routes require cluster capabilities, e.g. --cluster",
        ),
        (vec!["--cluster", "foo"], "missing port in address"),
        (vec!["--cluster", "localhost:6255"], "missing port in address"),
        (vec!["--cluster", "nats://127.0.0.1"], "address 127.0.0.1: missing port in address"),
        (
            vec!["--cluster", "nats://127.0.0.1:x"],
            "parse \"nats://127.0.0.1:x\": invalid port \":x\" after host",
        ),
        (
            vec!["--cluster", "nats://127.0.0.1:-5"],
            "parse \"nats://127.0.0.1:-5\": invalid port \":-5\" after host",
        ),
        (
            vec!["--cluster", "127.0.0.1:6255"],
            "parse \"127.0.0.1:6255\": first path segment in URL cannot contain colon",
        ),
        (vec!["--cluster", ":::"], "parse \":::\": missing protocol scheme"),
        (vec!["--cluster", "nats://[::1"], "parse \"nats://[::1\": missing ']' in host"),
        (
            vec!["--cluster", "nats://a b:1"],
            "parse \"nats://a b:1\": invalid character \" \" in host name",
        ),
        (
            vec!["--cluster", "nats://u^:p@h:1"],
            "parse \"nats://u^:p@h:1\": net/url: invalid userinfo",
        ),
        (
            vec!["--cluster", "nats://a:%zz@127.0.0.1:-1"],
            "parse \"nats://a:%zz@127.0.0.1:0\": invalid URL escape \"%zz\"",
        ),
        (vec!["--cluster", "nats://u@h:-1"], "expected cluster password to be set"),
        (with(&["--cluster_name", "a b"]), "cluster name cannot contain spaces"),
        (with(&["--cluster_name", "_"]), "cluster name is reserved"),
        (
            with(&["--cluster_advertise", "a:b:c"]),
            "invalid Cluster.Advertise value of a:b:c, err=address a:b:c: too many colons in \
             address",
        ),
        (
            with(&["--routes", "nats://a:1,b:1"]),
            "error parsing route url [\"b:1\"]: no host, write it as nats://host:6222",
        ),
    ] {
        assert_eq!(started(&args, None).map(|_| ()), Err(error.into()), "{args:?}");
    }
    assert_eq!(
        ended(&["--connect_retries", "x"]),
        ("invalid value \"x\" for flag -connect_retries: parse error|+ usage".into(), 0)
    );
    assert_eq!(
        ended(&["--no_advertise=x"]),
        ("invalid boolean value \"x\" for -no_advertise: parse error|+ usage".into(), 0)
    );
}
