//! What `deny.toml` allows, held without `cargo deny`, which few have installed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;
use spdx::{Expression, ParseMode};

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let allowed = allowed("licenses", "allow");
    let refused = refused(|package| may_use(&allowed, package));
    assert_eq!(refused, [""; 0], "none of {allowed:?}");
}

#[test]
fn every_licence_that_is_allowed_is_needed() {
    let allowed = allowed("licenses", "allow");
    for licence in &allowed {
        let others: Vec<_> = allowed.iter().filter(|other| *other != licence).cloned().collect();
        let in_need = refused(|package| may_use(&others, package));
        assert!(!in_need.is_empty(), "no dependency needs {licence}");
    }
}

#[test]
fn every_dependency_comes_from_a_registry_that_is_allowed() {
    let allowed = allowed("sources", "allow-registry").into_iter();
    let allowed: Vec<_> = allowed.map(|registry| format!("registry+{registry}")).collect();
    let refused = refused(|package| match package["source"].as_str() {
        Some(source) => allowed.iter().any(|registry| registry == source),
        None => is_ours(package),
    });
    assert_eq!(refused, [""; 0], "not from {allowed:?}");
}

#[test]
fn no_package_of_ours_takes_whatever_version_there_is() {
    let refused = refused(|package| {
        let mut dependencies = package["dependencies"].as_array().unwrap().iter();
        let is_wild = |dependency: &Value| dependency["req"] == "*" && dependency["path"].is_null();
        !is_ours(package) || !dependencies.any(is_wild)
    });
    assert_eq!(refused, [""; 0], "with wildcards");
}

#[test]
fn a_licence_is_allowed_when_what_it_asks_for_is() {
    let check = |expression: &str, expected: bool| {
        let allowed = ["MIT".to_owned(), "ISC".to_owned()];
        assert_eq!(satisfy(&allowed, expression), expected, "{expression:?}");
    };
    check("MIT", true);
    check("GPL-3.0-only", false);
    check("GPL-3.0-only OR MIT", true);
    check("GPL-3.0-only/MIT", true);
    check("MIT AND ISC", true);
    check("MIT AND GPL-3.0-only", false);
    check("(MIT OR GPL-3.0-only) AND ISC", true);
    check("our own", false);
    check("", false);
}

/// A list of `deny.toml`.
fn allowed(section: &str, list: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml");
    let rules: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    rules[section][list].clone().try_into().unwrap()
}

static PACKAGES: LazyLock<Vec<Value>> = LazyLock::new(packages);

/// All packages that are used on this platform, as Cargo describes them.
fn packages() -> Vec<Value> {
    // Those for other platforms need not be here, and nothing is to be downloaded.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .args(["--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    serde_json::from_value(metadata["packages"].take()).unwrap()
}

/// The packages that do not fulfil a rule.
fn refused(rule: impl Fn(&Value) -> bool) -> Vec<String> {
    let name = |package: &Value| {
        let [name, version, licence] =
            ["name", "version", "license"].map(|key| package[key].as_str().unwrap_or("none"));
        format!("{name} {version}, {licence}")
    };
    PACKAGES.iter().filter(|package| !rule(package)).map(name).collect()
}

/// Whether these licences are enough for a package.
fn may_use(allowed: &[String], package: &Value) -> bool {
    package["license"].as_str().is_some_and(|expression| satisfy(allowed, expression))
}

/// Whether these licences are enough for an expression as manifests have it.
fn satisfy(allowed: &[String], expression: &str) -> bool {
    Expression::parse_mode(expression, ParseMode::LAX).is_ok_and(|expression| {
        expression.evaluate(|asked| allowed.iter().any(|licence| asked.to_string() == *licence))
    })
}

fn is_ours(package: &Value) -> bool {
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    package["manifest_path"].as_str().unwrap().starts_with(ours)
}
