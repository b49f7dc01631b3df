//! Bodies that are asked for in JSON.

use serde_json::{Value, json};

use super::{StillServer, two_shards};
use crate::monitor::{Body, Monitor, MonitorLimits, Refused};

fn ask(server: StillServer, body: Body, options: &Value) -> Result<Value, Refused> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Monitor::new(server, MonitorLimits::default()).body(body, options))
}

#[test]
fn connections_are_chosen_as_by_parameters() {
    let check = |options: Value, cids: &[u64]| {
        let connz = ask(two_shards(), Body::Connz, &options).unwrap();
        let listed = connz["connections"].as_array().unwrap();
        let found: Vec<u64> = listed.iter().map(|c| c["cid"].as_u64().unwrap()).collect();
        assert_eq!(found, cids, "{options}");
    };
    check(Value::Null, &[5, 6, 7, 8]);
    check(json!({"sort": "msgs_to", "limit": 2}), &[7, 5]);
    check(json!({"state": 1, "sort": "stop"}), &[10, 9]);
    check(json!({"state": 2, "acc": "A"}), &[9]);
    check(json!({"user": "bo", "offset": 1, "server_name": "x"}), &[8]);
    check(json!({"acc": "$G", "filter_subject": "foo.bar"}), &[6, 7]);
    check(json!({"acc": "$G", "filter_subject": "bar"}), &[]);
    let detail = json!({"cid": 8, "subscriptions_detail": true, "auth": true});
    let connz = ask(two_shards(), Body::Connz, &detail).unwrap();
    assert_eq!(connz["connections"][0]["subscriptions_list_detail"][0]["subject"], "a.>");
    assert_eq!(connz["connections"][0]["authorized_user"], "bo");
}

#[test]
fn every_body_can_be_had() {
    let bodies = [
        (Body::Varz, "server_id"),
        (Body::Subsz, "num_subscriptions"),
        (Body::Routez, "num_routes"),
        (Body::Accountz, "accounts"),
        (Body::Accstatz, "account_statz"),
        (Body::Gatewayz, "outbound_gateways"),
        (Body::Leafz, "leafs"),
        (Body::Jsz, "disabled"),
        (Body::Latencyz, "stages"),
    ];
    for (body, key) in bodies {
        let made = ask(two_shards(), body, &json!({"cluster": "x"})).unwrap();
        assert!(!made[key].is_null(), "{body:?}");
    }
    let health = ask(two_shards(), Body::Healthz, &Value::Null).unwrap();
    assert_eq!(health, json!({"status": "ok", "status_code": 200}));
}

#[test]
fn options_that_cannot_be_read_and_those_without_sense_are_told_apart() {
    let check = |body, options: Value, code: u16, text: &str| {
        let refused = ask(two_shards(), body, &options);
        let (found, why) = refused.unwrap_err();
        assert!(found == code && why.contains(text), "{options}: {found} {why}");
    };
    check(Body::Connz, json!({"limit": "x"}), 400, "invalid type");
    check(Body::Routez, json!({"subscriptions": 1}), 400, "invalid type");
    check(Body::Connz, json!({"sort": "stop"}), 500, "only valid on closed connections");
    let text = "filter by subject only valid with account filtering";
    check(Body::Connz, json!({"filter_subject": "a"}), 500, text);
    check(Body::Subsz, json!({"test": "a..b"}), 500, "invalid test subject");
    check(Body::Accountz, json!({"account": "nope"}), 500, "Account nope does not exist");
}
