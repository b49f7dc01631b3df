//! Rules that no compiler holds: which module may know which, what the data plane may not touch,
//! and what every file must or must not contain.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layers, low to high. A module imports its own layer or a lower one.
const LAYERS: &[&[&str]] = &[
    &["close", "hist", "ids", "limits", "report", "stats", "subject"],
    &["proto", "transport"],
    &["outbound", "sublist", "timer"],
    &["account", "auth"],
    &["session"],
    &["router"],
    &["engine", "mailbox"],
    &["shard"],
    &["cluster", "config", "events", "files", "logging", "monitor", "signals"],
    &["server"],
    &["main"],
];

/// From this layer up a module belongs to the control plane.
const CONTROL_PLANE: &str = "config";

#[test]
fn a_module_imports_its_own_layer_or_a_lower_one() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let module = top_module(&path);
        let own = layer(&module).unwrap_or_else(|| panic!("{module} stands in no layer"));
        for (number, used) in crate_paths(&text) {
            // A path that names no module is an item of lib.rs, which has none but modules.
            match layer(&used) {
                Some(theirs) if theirs <= own => {}
                Some(_) => {
                    broken.push(format!("{}:{number}: {module} uses {used}", path.display()))
                }
                None => {
                    broken.push(format!("{}:{number}: {used} stands in no layer", path.display()))
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_layer_rule_reads_paths_in_every_form() {
    let check = |code: &str, expected: &[&str]| {
        let found: Vec<_> = crate_paths(code).into_iter().map(|(_, name)| name).collect();
        assert_eq!(found, expected, "{code}");
    };
    check("use crate::ids::Sid;", &["ids"]);
    check("use crate::{ids::{Sid, Cid}, limits};", &["ids", "limits"]);
    check("use crate::{\n    ids::Sid,\n    proto,\n};", &["ids", "proto"]);
    check("fn f(a: crate::ids::Sid) -> crate::stats::S {}", &["ids", "stats"]);
    check("// crate::server is not known here", &[]);
}

#[test]
fn only_the_ring_crate_may_be_unsafe() {
    for root in ["src/lib.rs", "src/main.rs"] {
        let text = std::fs::read_to_string(repository().join(root)).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{root} does not forbid unsafe code");
    }
}

#[test]
fn the_data_plane_reads_no_clock_and_hashes_with_a_seed() {
    // Simulations replay only when time and the order of maps come from the ring's seed.
    let banned = ["Instant::now", "SystemTime::now", "RandomState::new", "thread_local!"];
    for (path, text) in sources().into_iter().filter(|(path, _)| in_data_plane(path)) {
        for (number, line) in code_lines(&text) {
            for word in banned {
                assert!(!line.contains(word), "{}:{number}: {word}", path.display());
            }
            let std_map = line.contains("std::collections") && line.contains("Hash");
            assert!(!std_map, "{}:{number}: a std hash map has no seed", path.display());
        }
    }
}

#[test]
fn nothing_is_left_to_do_and_no_test_is_switched_off() {
    let marks = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X:"],
        ["todo", "!("],
        ["unimpl", "emented!("],
        ["#[ign", "ore"],
    ];
    for (path, text) in tracked_text_files() {
        for mark in marks.map(|halves| halves.concat()) {
            assert!(!text.contains(&mark), "{}: {mark}", path.display());
        }
    }
}

#[test]
fn every_markdown_file_has_one_title() {
    for (path, text) in tracked_text_files() {
        if path.extension().is_some_and(|extension| extension == "md") {
            let titles = outside_code(&text).filter(|line| line.starts_with("# ")).count();
            assert_eq!(titles, 1, "titles in {}", path.display());
            assert!(text.starts_with("# "), "{} does not begin with its title", path.display());
        }
    }
}

#[test]
fn every_direct_dependency_has_its_reason_in_contributing() {
    let text = std::fs::read_to_string(repository().join("CONTRIBUTING.md")).unwrap();
    let (_, section) = text.split_once("## Dependencies").expect("a section on dependencies");
    let section = section.split("\n## ").next().unwrap();
    let reasons: BTreeSet<_> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .inspect(|(name, reason)| assert!(reason.len() > 20, "no reason for {name}"))
        .map(|(name, _)| name.to_owned())
        .collect();
    let mut used = BTreeSet::new();
    for manifest in ["Cargo.toml", "ring/Cargo.toml", "benches/load/Cargo.toml", "fuzz/Cargo.toml"]
    {
        used.extend(dependencies(&std::fs::read_to_string(repository().join(manifest)).unwrap()));
    }
    assert_eq!(used.difference(&reasons).collect::<Vec<_>>(), [""; 0], "without a reason");
    assert_eq!(reasons.difference(&used).collect::<Vec<_>>(), [""; 0], "not used");
}

#[test]
fn no_file_names_a_machine_or_a_registry() {
    let hosts = ["crates", "pypi", "npmjs", "pythonhosted", "proxy.golang", "deb.debian"];
    let hosts = hosts.map(|host| ["io", "org", "com"].map(|end| format!("{host}.{end}"))).concat();
    let homes = [["/ro", "ot/"], ["/ho", "me/"], ["/wo", "rk/"]].map(|halves| halves.concat());
    for (path, text) in tracked_text_files() {
        for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
            // Cargo's lock file names Cargo's own index, which is what it means to be public.
            let line = line.replace(&format!("github.com/rust-lang/{}-index", hosts[0]), "");
            for named in hosts.iter().chain(&homes) {
                assert!(!line.contains(named.as_str()), "{}:{number}: {named}", path.display());
            }
        }
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files of `src`, by path below the repository.
fn sources() -> Vec<(PathBuf, String)> {
    tracked_text_files()
        .into_iter()
        .filter(|(path, _)| path.starts_with("src") && path.extension().is_some_and(|e| e == "rs"))
        .filter(|(path, _)| path != Path::new("src/lib.rs"))
        .collect()
}

/// What git tracks or would track, as far as it is text.
fn tracked_text_files() -> Vec<(PathBuf, String)> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(list).current_dir(repository()).output().unwrap();
    assert!(output.status.success(), "git cannot list the files");
    let names = String::from_utf8(output.stdout).unwrap();
    let read = |name: &str| {
        let text = std::fs::read_to_string(repository().join(name)).ok()?;
        Some((PathBuf::from(name), text))
    };
    names.lines().filter_map(read).collect()
}

/// `src/proto/lex.rs` belongs to `proto`.
fn top_module(path: &Path) -> String {
    let first = path.strip_prefix("src").unwrap().components().next().unwrap();
    Path::new(&first).file_stem().unwrap().to_string_lossy().into_owned()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

fn in_data_plane(path: &Path) -> bool {
    layer(&top_module(path)) < layer(CONTROL_PLANE)
}

/// Lines that are code, numbered from 1; a test module at a file's end is not data plane.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The modules that a file reaches through `crate::` (`ringmesh::` in `main`), with their lines.
fn crate_paths(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let code: Vec<_> = code_lines(text).collect();
    for (index, (number, line)) in code.iter().enumerate() {
        for root in ["crate::", "ringmesh::"] {
            for (at, _) in line.match_indices(root) {
                // A list in braces may go on for several lines.
                let mut after = line[at + root.len()..].to_owned();
                after.extend(code[index + 1..].iter().take(40).flat_map(|(_, more)| ["\n", more]));
                found.extend(first_names(&after).into_iter().map(|name| (*number, name)));
            }
        }
    }
    found
}

/// `ids::Sid` gives `ids`; `{ids::Sid, limits}` gives both.
fn first_names(after: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(list) = after.strip_prefix('{') else { return vec![name(after)] };
    let mut depth = 0;
    let mut names = vec![String::new()];
    for character in list.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            other if depth == 0 => names.last_mut().unwrap().push(other),
            _ => {}
        }
    }
    names.iter().map(|text| name(text)).filter(|name| !name.is_empty()).collect()
}

/// The lines of a Markdown file that do not stand in a fenced block.
fn outside_code(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The crates that a manifest names, also for tests; our own members are no dependencies.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut in_section = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_section = line.ends_with("dependencies]");
        } else if let Some((name, value)) = line.split_once('=').filter(|_| in_section) {
            let name = name.trim().split('.').next().unwrap();
            if !name.starts_with('#') && !value.contains("path =") {
                names.push(name.to_owned());
            }
        }
    }
    names
}
