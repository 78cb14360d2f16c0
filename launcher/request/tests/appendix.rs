//! The appendix of Storm's OCI documentation: its request leads to its `config.json`, except for
//! the deviations listed beside it, each with its reason.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test reads its own fixtures by path and may panic"
)]

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use storm_oci_request::{HostPath, LaunchRequest, SpecInputs, runtime_spec};

/// An entry of `deviations.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deviation {
    /// Its row in `docs/deviations.md`.
    id: String,
    /// A JSON pointer; `*` stands for one array index.
    path: String,
    /// The appendix's value; absent when it has none there.
    original: Option<Value>,
    /// Ours. `*` in a string stands for the index counted from the first of the request's mounts.
    ours: Value,
    /// Why.
    reason: String,
}

/// One place where the documents differ.
#[derive(Debug)]
struct Difference {
    path: Vec<String>,
    original: Option<Value>,
    ours: Option<Value>,
}

/// Mounts that come before the request's own.
const FIXED_MOUNTS: usize = 7;

fn document(name: &str) -> Vec<u8> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/appendix");
    fs::read(directory.join(name)).unwrap()
}

fn documentation() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/deviations.md");
    fs::read_to_string(path).unwrap()
}

fn parse<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> T {
    serde_json::from_slice(bytes).unwrap()
}

fn composed() -> Value {
    let request = LaunchRequest::parse(&document("oci-config.json")).unwrap();
    let directory = format!("/run/worker-launcher/{}", request.container_id);
    let inputs = SpecInputs {
        uid: 31315,
        gid: 100,
        additional_gids: &[5548],
        hostname: "hostname1",
        rootfs: &HostPath::parse(&format!("{directory}/rootfs")).unwrap(),
        binds: &HostPath::parse("/binds").unwrap(),
        rlimits: &[],
        recursive_options: true,
    };
    runtime_spec(&request, &inputs)
}

/// Collects where the values differ. Arrays of texts and of unlike length are compared whole.
fn differences(
    original: Option<&Value>,
    ours: Option<&Value>,
    path: &[String],
    found: &mut Vec<Difference>,
) {
    let below = |step: &str| [path, &[step.to_owned()]].concat();
    match (original, ours) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let added = right.keys().filter(|key| !left.contains_key(*key));
            for key in left.keys().chain(added) {
                differences(left.get(key), right.get(key), &below(key), found);
            }
        }
        (Some(Value::Array(left)), Some(Value::Array(right)))
            if left.len() == right.len() && left.iter().all(Value::is_object) =>
        {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                differences(Some(left), Some(right), &below(&index.to_string()), found);
            }
        }
        (left, right) if left == right => {}
        (left, right) => found.push(Difference {
            path: path.to_vec(),
            original: left.cloned(),
            ours: right.cloned(),
        }),
    }
}

/// The array index that `*` stands for when the pattern matches; 0 when there is none.
fn match_path(pattern: &str, path: &[String]) -> Option<usize> {
    let steps: Vec<&str> = pattern.split('/').skip(1).collect();
    if steps.len() != path.len() {
        return None;
    }
    let mut index = 0;
    for (step, actual) in steps.iter().zip(path) {
        match *step {
            "*" => index = actual.parse().unwrap(),
            step if step == actual => {}
            _ => return None,
        }
    }
    Some(index)
}

fn explains(deviation: &Deviation, difference: &Difference) -> bool {
    let Some(index) = match_path(&deviation.path, &difference.path) else {
        return false;
    };
    let ours = match &deviation.ours {
        Value::String(text) => {
            Value::String(text.replace('*', &index.saturating_sub(FIXED_MOUNTS).to_string()))
        }
        other => other.clone(),
    };
    // A pattern stands for many values of the appendix; only ours are one.
    let same_original = deviation.path.contains("/*/source")
        || difference.original.as_ref() == deviation.original.as_ref();
    same_original && difference.ours.as_ref() == Some(&ours)
}

#[test]
fn config_json_is_the_appendixs_but_for_the_listed_deviations() {
    let deviations: Vec<Deviation> = parse(&document("deviations.json"));
    let original: Value = parse(&document("config.json"));
    let mut found = Vec::new();
    differences(Some(&original), Some(&composed()), &[], &mut found);

    for difference in &found {
        let entries = deviations.iter().filter(|entry| explains(entry, difference));
        assert_eq!(entries.count(), 1, "not listed: {difference:?}");
    }
    for entry in &deviations {
        assert!(
            found.iter().any(|difference| explains(entry, difference)),
            "{}: {} no longer deviates",
            entry.id,
            entry.path
        );
        assert!(entry.reason.len() > 20, "{} has no reason", entry.id);
        let row = format!("| `{}` |", entry.id);
        assert!(documentation().contains(&row), "{} is not told", entry.id);
    }
}

#[test]
fn the_comparison_sees_every_kind_of_difference() {
    let original = serde_json::json!({"a": 1, "b": [{"c": 1}], "d": ["x"], "gone": 1});
    let ours = serde_json::json!({"a": 2, "b": [{"c": 2}], "d": ["x", "y"], "new": 1});
    let mut found = Vec::new();
    differences(Some(&original), Some(&ours), &[], &mut found);
    let mut paths: Vec<String> = found.iter().map(|one| one.path.join("/")).collect();
    paths.sort();
    assert_eq!(paths, ["a", "b/0/c", "d", "gone", "new"]);
}
