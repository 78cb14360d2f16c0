//! The compliance suite: what Storm's own launcher does, scenario by scenario, and what ours does.
//!
//! The scenarios and the original's results are `tests/compliance/scenarios/*.json`. Where ours
//! differs, `tests/compliance/differences.json` has an entry with the reason, and
//! `docs/deviations.md` a row. A difference without an entry fails, and so does an entry that no
//! longer differs. `LAUNCHER_UNDER_TEST` may name another launcher: when it is the original, its
//! results must be the recorded ones. `tests/compliance/README.md` tells how.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes by path, in their own mount namespace"
)]

mod compliance;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use compliance::{Difference, Fields, Scenario, flatten, is_seen_here};
use serde::de::DeserializeOwned;
use serde_json::Value;
use support::Host;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/compliance")
}

fn read<T: DeserializeOwned>(path: &Path) -> T {
    let text = fs::read(path).unwrap_or_else(|error| panic!("read {path:?}: {error}"));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn scenarios() -> Vec<Scenario> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory().join("scenarios"))
        .expect("list the scenarios")
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let scenarios = files.iter().flat_map(|file| read::<Vec<Scenario>>(file));
    scenarios.flat_map(Scenario::variants).collect()
}

fn differences() -> Vec<Difference> {
    read(&directory().join("differences.json"))
}

/// Runs every scenario on a host of its own, two at a time.
fn run(scenarios: &[Scenario]) -> BTreeMap<&str, Result<Fields, String>> {
    let next = Mutex::new(scenarios.iter());
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(scenario) = next.lock().unwrap().next() else { break };
                    // A mount namespace belongs to a thread, so each scenario gets one.
                    let observed = std::thread::scope(|inner| {
                        inner.spawn(|| scenario.observe(&Host::new())).join()
                    });
                    let observed = observed.map_err(|panic| {
                        let text = panic.downcast_ref::<String>().cloned();
                        text.unwrap_or_else(|| "it panicked".to_owned())
                    });
                    results.lock().unwrap().insert(scenario.name.as_str(), observed);
                }
            });
        }
    });
    results.into_inner().unwrap()
}

/// Ours answers `--version`; to the original that is a wrong count of arguments.
fn is_ours() -> bool {
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| Host::new().call(&["--version"]).code);
        asked.join().unwrap() == Some(0)
    })
}

#[test]
fn each_scenario_ends_as_the_original_does_but_for_the_listed_differences() {
    let (scenarios, differences) = (scenarios(), differences());
    let ours = is_ours();
    let entries = if ours { differences.as_slice() } else { &[] };
    let (mut problems, mut used) = (Vec::new(), BTreeSet::new());
    let mut results = run(&scenarios);
    for scenario in &scenarios {
        let name = scenario.name.as_str();
        let observed = match results.remove(name).unwrap() {
            Ok(observed) => observed,
            Err(problem) => {
                problems.push(format!("{name}: {problem}"));
                continue;
            }
        };
        let expected = flatten(&scenario.expected());
        let fields: BTreeSet<&String> = expected.keys().chain(observed.keys()).collect();
        for field in fields {
            let found = [&expected, &observed]
                .map(|fields| fields.get(field).cloned().unwrap_or(Value::Null));
            let [original, ours] = &found;
            let mut explains = entries.iter().filter_map(|entry| {
                let concerns = entry.scenarios.iter().any(|one| one == name);
                concerns.then(|| entry.fields.get(field)).flatten()
            });
            match (explains.next(), explains.next()) {
                (None, _) if original == ours => {}
                (Some(entry), None) if original != ours && *entry == found => {
                    used.insert((name.to_owned(), field.clone()));
                }
                (entry, second) => problems.push(format!(
                    "{name}: {field}\n  recorded {original}\n  found    {ours}\n  {}",
                    match (entry, second) {
                        (None, _) => "no entry".to_owned(),
                        (Some(entry), None) => format!("the entry says {entry:?}"),
                        (Some(_), Some(_)) => "two entries".to_owned(),
                    }
                )),
            }
        }
    }
    for entry in entries {
        for pair in entry
            .scenarios
            .iter()
            .flat_map(|name| entry.fields.keys().map(move |field| (name.clone(), field.clone())))
        {
            if !used.contains(&pair) && is_seen_here(&pair.1) {
                problems.push(format!("{}: {}: the entry does not apply any more", pair.0, pair.1));
            }
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    // Past the test runner, which keeps what a passing test prints.
    let told = format!(
        "\ncompliance: {} scenarios, {} calls, {} listed differences, {} launcher\n",
        scenarios.len(),
        scenarios.iter().map(Scenario::calls).sum::<usize>(),
        used.len(),
        if ours { "our" } else { "the original" },
    );
    std::io::stderr().write_all(told.as_bytes()).unwrap();
}

#[test]
fn every_scenario_says_where_its_results_are_from() {
    let mut names = BTreeSet::new();
    for scenario in scenarios() {
        let Scenario { name, source, .. } = &scenario;
        let known = ["stock run: ", "source: "]
            .iter()
            .any(|kind| source.strip_prefix(kind).is_some_and(|place| place.len() > 3));
        assert!(known, "{name} has the source {source:?}");
        assert!(names.insert(name.clone()), "{name} is there twice");
    }
    assert!(names.len() > 60, "{} scenarios", names.len());
}

/// A deviation's row has the id, as `` compliance `id` `` or in a column of its own.
#[test]
fn every_difference_is_a_row_of_the_deviations() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/deviations.md");
    let text = fs::read_to_string(path).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    let differences = differences();
    for entry in &differences {
        let Difference { scenarios, fields, reason, deviation } = entry;
        let marks = [format!("compliance `{deviation}`"), format!("| `{deviation}` |")];
        let told = rows.iter().filter(|row| marks.iter().any(|mark| row.contains(mark))).count();
        assert_eq!(told, 1, "rows of {deviation}");
        assert!(reason.len() > 20, "{scenarios:?} have no reason");
        assert!(fields.values().all(|[original, ours]| original != ours), "{fields:?}");
    }
    for id in text.split("compliance `").skip(1).map(|rest| rest.split('`').next().unwrap()) {
        assert!(differences.iter().any(|entry| entry.deviation == id), "nothing has {id}");
    }
}
