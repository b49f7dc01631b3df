//! Accounts and their users. The table's texts come from nats-server 2.15.1.

use super::*;

#[test]
fn a_wrong_account_is_told_in_the_peer_s_words_with_its_place() {
    let said = WRONG_VALUES.iter().map(|(text, _)| (*text, complaints(text)));
    let wrong: Vec<_> =
        said.zip(WRONG_VALUES).filter(|((_, said), (_, expected))| said != expected).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn user(name: &str, password: &str) -> User {
    User { user: name.into(), password: password.into() }
}

fn account(name: &str, users: &[User], jetstream: bool) -> AccountOptions {
    AccountOptions { name: name.into(), users: users.to_vec(), jetstream }
}

#[test]
fn accounts_have_users_and_may_use_jetstream() {
    let text = "accounts {\n  B { users: [{user: b, password: p}, {user: c}] }\n  \
                a { jetstream: enabled } \n}\n";
    let accounts =
        vec![account("B", &[user("b", "p"), user("c", "")], false), account("a", &[], true)];
    check(text, |o| o.accounts.clone(), accounts);
    let names = vec![account("A", &[], false), account("B", &[], false)];
    check("accounts: [A, B]", |o| o.accounts.clone(), names);
}

#[test]
fn users_of_the_authorization_block_belong_to_the_global_account() {
    let options = options(
        "authorization { users: [{user: g}] }\naccounts { A { users: [{user: a}] } }\n\
         no_auth_user: a",
    )
    .unwrap();
    let users: Vec<_> = options.users().map(|(account, user)| (account, &*user.user)).collect();
    assert_eq!(users, [("$G", "g"), ("A", "a")]);
    assert_eq!(options.no_auth_user.as_deref(), Some("a"));
}

#[test]
fn users_of_accounts_make_clients_give_credentials() {
    check("accounts { A { users: [{user: a}] } }", Options::auth_required, true);
    assert!(!options("accounts: [A]").unwrap().auth_required());
}

#[test]
fn jetstream_in_an_account_is_on_or_off_and_its_sizes_are_others_business() {
    for (value, on) in [
        ("true", true),
        ("off", false),
        ("enable", true),
        ("Disabled", false),
        ("{}", true),
        ("{ max_mem: 1G, max_streams: -1, max_bytes: true, cluster_traffic: owner }", true),
    ] {
        let options = options(&format!("accounts {{ A {{ jetstream: {value} \n}} }}")).unwrap();
        assert_eq!(options.accounts[0].jetstream, on, "{value}");
    }
}

#[test]
fn the_system_account_has_a_name_of_its_own_or_the_usual_one() {
    let system = |o: &Options| (o.system_account.clone(), o.no_system_account);
    assert_eq!(system(&Options::default()), ("$SYS".into(), false));
    check("system_account: X\naccounts: [X]", system, ("X".into(), false));
    check("system: X\naccounts: [X]", system, ("X".into(), false));
    for key in ["no_system_account", "no_system", "no_sys_acc"] {
        check(&format!("{key}: true"), system, ("$SYS".into(), true));
    }
    for (text, exists) in [
        ("max_payload: 5", true),
        ("no_system_account: true", false),
        ("no_system_account: true\naccounts: [A]", false),
        ("no_system_account: true\naccounts { \"$SYS\" { users: [{user: s}] } }", true),
    ] {
        assert_eq!(options(text).unwrap().has_system_account(), exists, "{text:?}");
    }
    let options = options("accounts { \"$SYS\" { users: [{user: s}] } }").unwrap();
    assert_eq!(options.accounts[0].name, options.system_account);
    assert!(options.lets_anonymous_in(), "all users are the system account's");
}

#[test]
fn clients_without_a_name_stay_out_once_anything_is_said_about_clients() {
    for (text, anonymous) in [
        ("accounts { \"$SYS\" { users: [{user: s}] } }", true),
        ("accounts { \"$SYS\" { users: [{user: s}] } }\nauthorization {}", false),
        ("accounts { \"$SYS\" { users: [{user: s}] } }\nno_auth_user: s", false),
        ("accounts { \"$SYS\" { users: [{user: s}] }, A {} \n}", false),
        ("accounts { A { users: [{user: s}] } }", false),
        ("accounts { A { users: [{user: s}] } }\nsystem_account: A", true),
    ] {
        assert_eq!(options(text).unwrap().lets_anonymous_in(), anonymous, "{text:?}");
    }
}

#[test]
fn a_password_that_is_not_hashed_is_plaintext() {
    let hash = "\"$2a$04$abcdefghijklmnopqrstuu369LYjJlegQeGD0CWsjs58fASePKjWq\"";
    for (text, plain) in [
        ("x: 1".to_owned(), false),
        ("authorization { token: t }".to_owned(), false),
        ("authorization { user: a, password: p }".to_owned(), true),
        ("authorization { user: a }".to_owned(), false),
        (format!("authorization {{ user: a, password: {hash} }}"), false),
        ("authorization { password: p }".to_owned(), true),
        ("authorization { user: \"\", password: p }".to_owned(), true),
        (format!("authorization {{ users: [{{user: a, password: {hash}}}] }}"), false),
        (format!("accounts {{ A {{ users: [{{user: a, password: {hash}}}] }} }}"), false),
        ("accounts { A { users: [{user: a, password: p}] } }".to_owned(), true),
        ("accounts { A { users: [{user: a}] } }".to_owned(), true),
    ] {
        let text = text.replace("x: 1", "max_payload: 5");
        assert_eq!(options(&text).unwrap().has_plaintext_password(), plain, "{text}");
    }
}

#[test]
fn accounts_that_contradict_the_rest_are_refused_at_start() {
    let missing = "error resolving system account: account missing";
    for (text, error) in [
        ("system_account: X", missing),
        ("system_account: \"$SYS\"", missing),
        ("no_system_account: true\nsystem_account: X", missing),
        (
            "no_auth_user: z\naccounts { X { users: [{user: a}] } }",
            "no_auth_user: \"z\" not present as user or nkey in authorization block or account \
             configuration",
        ),
        (
            "no_auth_user: z\naccounts { X {} \n}",
            "no_auth_user: \"z\" present, but users/nkeys are not defined",
        ),
    ] {
        assert_eq!(options(text).map(|_| ()), Err(error.into()), "{text:?}");
    }
}

#[test]
fn what_an_account_cannot_do_yet_is_refused_by_name() {
    for key in [
        "nkey: AX",
        "imports: [1 ]",
        "exports: [1 ]",
        "default_permissions { publish: a }",
        "mappings { a: b }",
        "limits { max_conn: 1 }",
        "msg_trace: a",
    ] {
        let name = key.split([':', ' ']).next().unwrap();
        let start = format!("x.conf:1:15: \"{name}\" is not supported yet: ");
        let said = complaints(&format!("accounts {{ A {{ {key} }} }}"));
        assert!(said.starts_with(&start), "{key}: {said}");
    }
    assert_eq!(complaints("accounts { A { imports: [], exports: [] } }"), "");
    let user = complaints("accounts { A { users: [{nkey: U}] } }");
    assert!(user.starts_with("x.conf:1:24: \"nkey\" is not supported yet: "), "{user}");
}

#[test]
fn a_name_stands_once_in_all_accounts_and_the_later_one_is_told() {
    assert_eq!(
        complaints("accounts { A { users: [{user: a}] }\n B { users: [{user: a}] } }"),
        "x.conf:2:6: Duplicate user \"a\" detected"
    );
    assert_eq!(
        complaints("accounts: 5"),
        "x.conf:1:0: interface conversion: interface {} is int64, not map[string]interface {}"
    );
}

#[test]
fn a_reload_takes_other_accounts_and_keeps_the_system_account() {
    let old = "accounts { A { users: [{user: a}] } }\n";
    assert_eq!(reloaded(&[], old, "accounts { B { users: [{user: b}] } }\n"), Ok(Vec::new()));
    for (old, new, change) in [
        ("x: 1", "system_account: A", "SystemAccount: old=, new=A"),
        ("system_account: A", "x: 1", "SystemAccount: old=A, new="),
        ("system_account: A", "system_account: B", "SystemAccount: old=A, new=B"),
        ("x: 1", "no_system_account: true", "NoSystemAccount: old=false, new=true"),
    ] {
        let file =
            |text: &str| format!("y: 1\nport: $y\n{text}\naccounts: [A, B]").replace("x: 1", "");
        let error = format!("config reload not supported for {change}");
        assert_eq!(reloaded(&[], &file(old), &file(new)), Err(error), "{old:?} to {new:?}");
    }
}

#[test]
fn the_user_of_nameless_clients_may_be_an_account_s() {
    let users = "accounts { A { users: [{user: a}] } }";
    let both = format!("no_auth_user: a\n{users}");
    assert_eq!(
        reloaded(&[], &both, users),
        Err("config reload not supported for NoAuthUser: old=a, new=".into())
    );
    assert_eq!(reloaded(&[], &both, "accounts: [A]"), Ok(Vec::new()));
}

/// A text, and what nats-server 2.15.1 says of it with `-t`; nothing where it is valid.
const WRONG_VALUES: &[(&str, &str)] = &[
    ("accounts: [A, A]", "x.conf:1:14: Duplicate Account Entry: A"),
    ("accounts: [\"$G\"]", "x.conf:1:12: \"$G\" is a Reserved Account"),
    ("accounts { \"$G\" {users: []} }", "x.conf:1:12: \"$G\" is a Reserved Account"),
    ("accounts { A: 5 }", "x.conf:1:11: Expected map entries for accounts"),
    ("accounts { A { nosuch: 1 } }", "x.conf:1:15: unknown field \"nosuch\""),
    ("accounts { A { users: 5 } }", "Expected users field to be an array, got 5"),
    (
        "accounts { A { users: [{user: a}, {user: a}] } }",
        "x.conf:1:15: Duplicate user \"a\" detected",
    ),
    (
        "accounts { A { users: [{user: a}] } }\nauthorization {user: x, password: y}",
        "x.conf:2:1: Can not have a single user/pass and a users array",
    ),
    (
        "accounts { A { users: [{user: a}] } }\nauthorization {users: [{user: a}]}",
        "x.conf:2:1: Duplicate user \"a\" detected",
    ),
    (
        "accounts { A { jetstream: 5 } }",
        "Expected map, bool or string to define JetStream, got int64",
    ),
    (
        "accounts { A { jetstream: foo } }",
        "Expected 'enabled' or 'disabled' for string value, got 'foo'",
    ),
    (
        "accounts { A { jetstream: {max_mem: 5, nosuch: 1} } }",
        "x.conf:1:39: unknown field \"nosuch\"",
    ),
    (
        "accounts { A { jetstream: {max_mem: x } } }",
        "x.conf:1:27: Expected a parseable size for \"max_mem\", got x",
    ),
    (
        "accounts { A { jetstream: {max_bytes: x } } }",
        "x.conf:1:27: Expected a parseable bool for \"max_bytes\", got x",
    ),
    (
        "accounts { A { jetstream: {cluster_traffic: x } } }",
        "x.conf:1:27: Expected 'system' or 'owner' string value for \"cluster_traffic\", got x",
    ),
    ("accounts { A { jetstream: {cluster_traffic: owner } } }", ""),
    (
        "accounts { A { jetstream: {max_ack_pending: x } } }",
        "x.conf:1:27: Expected a parseable size for \"max_ack_pending\", got x",
    ),
    ("accounts { A { jetstream: disabled } }", ""),
    (
        "accounts { A { jetstream: 1.5 } }",
        "Expected map, bool or string to define JetStream, got float64",
    ),
    ("accounts [5 ]", "x.conf:1:10: interface conversion: interface {} is int64, not string"),
    ("accounts { }", ""),
    ("accounts []", ""),
    (
        "x: 1\naccounts { A { users: [{user: $x }] } }",
        "x.conf:2:25: interface conversion: interface {} is int64, not string",
    ),
    ("accounts { A {users: [{password: b}]} }", "x.conf:1:23: User entry requires a user"),
    ("system_account: 5", "x.conf:1:0: system account name must be a string"),
    ("system: X", ""),
    ("no_system_account: x", "x.conf:1:0: interface conversion: interface {} is string, not bool"),
    (
        "accounts { A { users: [5 ] } }",
        "x.conf:1:23: Expected user entry to be a map/struct, got 5",
    ),
];
