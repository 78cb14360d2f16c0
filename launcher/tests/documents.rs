//! The security documents name tests; each of them must exist, and each regression test that is
//! named after an incident must be in the documents.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test reads the project's own files"
)]

use std::fs;
use std::path::Path;

/// Where a file that a document names may be.
const PLACES: [&str; 5] =
    ["tests", "src", "request/tests", "request/src", "../native/supervisor/src"];

fn document(name: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security");
    fs::read_to_string(directory.join(name)).expect("a security document")
}

/// What stands between backticks and has two colons.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    text.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::")).collect()
}

fn exists(file: &str, test: &str) -> bool {
    PLACES.iter().any(|place| {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
        fs::read_to_string(directory.join(file).with_extension("rs")).is_ok_and(|source| {
            source.contains(&format!("#[test]\nfn {test}()"))
                || source.contains(&format!("#[test]\n    fn {test}()"))
        })
    })
}

#[test]
fn every_named_test_exists() {
    for name in ["guarantees.md", "known-attacks.md"] {
        let text = document(name);
        let tests = named_tests(&text);
        assert!(tests.len() > 20, "{name} names {} tests", tests.len());
        for (file, test) in tests.into_iter().filter(|(file, _)| *file != "file") {
            assert!(exists(file, test), "{name} names `{file}::{test}`");
        }
    }
}

#[test]
fn every_test_of_an_incident_is_in_the_documents() {
    let known = document("known-attacks.md");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut found = 0;
    for entry in fs::read_dir(directory).expect("list the tests") {
        let path = entry.expect("an entry").path();
        let Ok(source) = fs::read_to_string(&path) else {
            continue;
        };
        for line in source.lines() {
            let name = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next());
            let Some(name) =
                name.filter(|name| name.starts_with("cve_") || name.starts_with("ghsa_"))
            else {
                continue;
            };
            found += 1;
            assert!(known.contains(&format!("::{name}`")), "{name} in {path:?}");
        }
    }
    assert!(found > 5, "{found} regression tests");
}
