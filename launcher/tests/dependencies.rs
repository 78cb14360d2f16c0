//! Every crate in root's program is listed with its reason, and nothing else is.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test reads the project's own files and runs cargo"
)]

use std::collections::BTreeSet;
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What cargo resolves along these edges, for this package alone.
fn resolved(edges: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--package", "storm-oci-launcher"])
        .args(["--edges", edges, "--target", TARGET])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("run cargo tree");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("names are text");
    text.lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(|name| name.replace('_', "-"))
        .collect()
}

/// The names of a section; each has a reason beside it.
fn listed(section: &str) -> BTreeSet<String> {
    let text = include_str!("../dependencies.txt");
    let mut names = BTreeSet::new();
    let mut current = "";
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with('[') {
            current = line;
        } else if current == section && !line.is_empty() {
            let (name, reason) = line.split_once(' ').unwrap_or((line, ""));
            assert!(reason.trim().len() > 10, "`{name}` needs a reason");
            names.insert(name.replace('_', "-"));
        }
    }
    names
}

#[test]
fn linked_crates_are_the_listed_ones() {
    let mut linked = resolved("normal,no-proc-macro");
    linked.insert("storm-oci-launcher".to_owned());
    assert_eq!(linked, listed("[linked]"));
}

#[test]
fn crates_at_build_time_are_the_listed_ones() {
    let linked = listed("[linked]");
    let all = resolved("normal,build");
    let build_time: BTreeSet<String> = all.difference(&linked).cloned().collect();
    assert_eq!(build_time, listed("[build time only]"));
}
