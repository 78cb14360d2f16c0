//! Each guard is taken out once, and a test must miss it.
//!
//! `guards.txt` beside this file has a line for each name that the sources give to `without`: the
//! item of `docs/security/guarantees.md` and the test that fails when a build with the feature
//! `test-switches` goes without the guard. Lines with `kernel` for an item are no guards but
//! kernel features: their test must pass on the fallback.
//!
//! A launcher without a guard can give files of the host away. It only ever runs inside the
//! harness's own root directory, which is what the named tests do.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test reads the project's own files and what cargo prints"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Items of the guarantees whose guards must all be here.
const ITEMS: [&str; 14] =
    ["4", "5", "6", "7", "8", "10", "12", "13", "14", "15", "16", "17", "18", "19"];

/// Where names are given to `without`.
const SOURCES: [&str; 4] =
    ["launcher/src", "launcher/request/src", "native/store/src", "native/supervisor/src"];

/// Names what a test build goes without.
const SWITCHES: &str = "STORM_OCI_WITHOUT";

/// Tests at the same time: they wait for one another's cgroups and loop devices as well.
const AT_ONCE: usize = 3;

/// A line of `guards.txt`.
#[derive(Clone, Debug)]
struct Guard {
    switch: String,
    item: String,
    file: String,
    test: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn guards() -> Vec<Guard> {
    let text = fs::read_to_string(root().join("launcher/tests/guards.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let guards = lines.map(|line| {
        let parts: Vec<&str> = line.split(" | ").collect();
        let &[switch, item, name] = parts.as_slice() else { panic!("{line:?} has three fields") };
        let (file, test) = name.split_once("::").unwrap_or_else(|| panic!("no test in {line:?}"));
        let [switch, item, file, test] = [switch, item, file, test].map(str::to_owned);
        Guard { switch, item, file, test }
    });
    guards.collect()
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension() == Some(OsStr::new("rs")) {
            files.push(path);
        }
    }
}

/// The names that the sources give to `without`, or to a ladder that does.
fn names() -> BTreeSet<String> {
    let mut files = Vec::new();
    for directory in SOURCES {
        rust_files(&root().join(directory), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        // Two forms: a guard asks, a kernel feature has a ladder.
        for rest in text.split("without(").skip(1).chain(text.split("ladder(").skip(1)) {
            if let Some(name) = rest.trim_start().strip_prefix('"') {
                names.insert(name.split('"').next().unwrap().to_owned());
            }
        }
    }
    names
}

#[test]
fn every_guard_that_can_be_taken_out_has_its_line() {
    let guards = guards();
    let listed: BTreeSet<String> = guards.iter().map(|guard| guard.switch.clone()).collect();
    assert_eq!(names(), listed, "the sources' switches and those of guards.txt");
    for item in ITEMS {
        assert!(guards.iter().any(|guard| guard.item == item), "item {item} has no guard");
    }
    let mut lines: Vec<&String> = guards.iter().map(|guard| &guard.switch).collect();
    assert!(lines.is_sorted(), "guards.txt is sorted");
    lines.dedup();
    for guard in &guards {
        let known =
            guard.item == "kernel" || guard.item.parse().is_ok_and(|item| (1..=20).contains(&item));
        assert!(known, "{guard:?} names no item");
    }
}

/// What cargo built, by the names of the tests' files: `beneath` for a module with unit tests.
fn cargo(arguments: &[&str]) -> Vec<(String, PathBuf)> {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--message-format=json")
        .current_dir(root())
        .output()
        .expect("run cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let messages = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let programs = messages.filter_map(|message| {
        let program = message["executable"].as_str()?.into();
        Some((message["target"]["name"].as_str()?.to_owned(), program))
    });
    programs.collect()
}

/// A program with tests, and the name in it of a test that a line names.
struct Programs {
    integration: BTreeMap<String, PathBuf>,
    unit: BTreeMap<String, PathBuf>,
}

impl Programs {
    fn build() -> Self {
        let integration = cargo(&["test", "--no-run", "-p", "storm-oci-launcher"]);
        let workspace = ["test", "--no-run", "--workspace", "--exclude", "storm-oci-request"];
        let unit = cargo(&[&workspace[..], &["--lib", "--bins"]].concat());
        Self { integration: integration.into_iter().collect(), unit: unit.into_iter().collect() }
    }

    fn test(&self, guard: &Guard) -> (&Path, String) {
        let Guard { file, test, .. } = guard;
        if let Some(program) = self.integration.get(file) {
            return (program, test.clone());
        }
        let name = format!("{file}::tests::{test}");
        let library = root().join(format!("native/supervisor/src/{file}.rs")).exists();
        let program = if library { "storm_oci_supervisor" } else { "worker-launcher" };
        (self.unit.get(program).unwrap_or_else(|| panic!("{guard:?}: no program")), name)
    }
}

/// How a test ended, and in what time.
struct Ended {
    passed: bool,
    failed: bool,
    time: Duration,
    told: String,
}

fn run(programs: &Programs, launcher: &Path, guard: &Guard, without: &str) -> Ended {
    let (program, test) = programs.test(guard);
    let start = Instant::now();
    let output = Command::new(program)
        .args(["--exact", &test, "--include-ignored"])
        .env("LAUNCHER_UNDER_TEST", launcher)
        .env(SWITCHES, without)
        .current_dir(root().join("launcher"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    Ended {
        passed: output.status.success() && told.contains("1 passed"),
        failed: told.contains("1 failed"),
        time: start.elapsed(),
        told,
    }
}

/// Takes minutes, and needs root: `make test-guards` runs it.
#[test]
#[ignore = "make test-guards runs it"]
fn each_guard_is_missed_by_its_test() {
    let target = Path::new(env!("CARGO_BIN_EXE_worker-launcher")).ancestors().nth(2).unwrap();
    let directory = target.join("guards");
    let programs = Programs::build();
    let switches = ["build", "-p", "storm-oci-launcher", "--features", "test-switches"];
    let directory = ["--target-dir", directory.to_str().unwrap()];
    let built = cargo(&[&switches[..], &directory].concat());
    let launcher = &built.first().expect("cargo built the launcher").1;
    let guards = guards();
    let start = Instant::now();
    // Each test once with every guard in its place, then once for each line.
    let tests: BTreeMap<_, _> = guards
        .iter()
        .map(|guard| ((guard.file.clone(), guard.test.clone()), guard.clone()))
        .collect();
    let whole = tests.values().map(|guard| (guard, ""));
    let runs = whole.chain(guards.iter().map(|guard| (guard, guard.switch.as_str())));
    let (next, problems) = (Mutex::new(runs), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((guard, without)) = next.lock().unwrap().next() else { break };
                    let ended = run(&programs, launcher, guard, without);
                    let name = format!("{}::{}", guard.file, guard.test);
                    let must_pass = without.is_empty() || guard.item == "kernel";
                    let good = if must_pass { ended.passed } else { ended.failed };
                    let verdict = match (good, must_pass) {
                        (true, true) => "passes",
                        (true, false) => "fails, as it must",
                        (false, _) => "WRONG",
                    };
                    let with = if without.is_empty() { "nothing taken out" } else { without };
                    let seconds = ended.time.as_secs_f32();
                    let line = format!(
                        "{with:<28} {:<6} {seconds:6.1} s  {verdict:<18} {name}\n",
                        guard.item
                    );
                    std::io::stderr().write_all(line.as_bytes()).unwrap();
                    if !good {
                        problems.lock().unwrap().push(format!("{line}{}", ended.told));
                    }
                }
            });
        }
    });
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    let kernel = guards.iter().filter(|guard| guard.item == "kernel").count();
    let told = format!(
        "guards: {} taken out, each missed by its test; {kernel} kernel features gone without; {} tests, {:.0} s\n",
        guards.len() - kernel,
        tests.len(),
        start.elapsed().as_secs_f32(),
    );
    std::io::stderr().write_all(told.as_bytes()).unwrap();
}
