//! What a node counts, as the JVM gets it and as a file for Prometheus.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod node;

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use node::{Node, Supervisor, WORKER};
use serde_json::{Value, json};

const KEY: &str = "storm.oci.metrics.prometheus.file";

/// Waits for a file that has a line.
fn wait_for(path: &Path, line: &str) -> String {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text.lines().any(|found| found == line) {
            return text;
        }
        assert!(Instant::now() < end, "no `{line}` in `{text}`");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn launches_layers_and_ends_are_counted() {
    let node = Node::new();
    node.let_launch_succeed(WORKER);
    let supervisor = node.prepare();
    let names =
        |numbers: &Value| -> Vec<String> { numbers.as_object().unwrap().keys().cloned().collect() };
    let before = supervisor.metrics();
    assert!(before.as_object().unwrap().values().all(|number| number == 0.0), "{before}");
    let mut document = node.launch_document(WORKER);
    for _ in 0..2 {
        assert_eq!(supervisor.launch(&document)["started"], true);
        assert_eq!(supervisor.event()["shellCode"], 7);
    }
    document["image"]["tag"] = json!("storm/none:9");
    supervisor.launch(&document);
    assert_eq!(supervisor.event()["launchFailed"], true);

    let after = supervisor.metrics();
    let bytes = "squashfs of base".len() + "squashfs of java".len();
    for (name, number) in [
        ("launches.ok", 2),
        ("launches.image", 1),
        ("layer-lookups.miss", 2),
        ("layer-lookups.hit", 2),
        ("layer-fetched-bytes", bytes),
        ("layer-mounts", 2),
        ("containers", 0),
        ("exits.failed", 2),
        ("exits.requested", 0),
        ("oom-kills.container", 0),
        ("dropped-log-lines", 0),
    ] {
        assert_eq!(supervisor.number(name), f64::from(u32::try_from(number).unwrap()), "{name}");
    }
    assert_eq!(names(&before), names(&after), "a reporter learns the names once");
}

#[test]
fn the_file_is_the_supervisors() {
    let node = Node::new();
    let path = node.path("storm.prom");
    let mut document = node.prepare_document();
    document["conf"][KEY] = json!(path);
    // As a command beside the supervisor prepares.
    let command = Supervisor::start(&document).unwrap();
    document["reportsMetrics"] = json!(true);
    let supervisor = Supervisor::start(&document).unwrap();
    let text = wait_for(&path, "storm_oci_launches_total{outcome=\"ok\"} 0");
    assert_eq!(node.mode("storm.prom"), 0o644);
    for line in [
        "# TYPE storm_oci_launches_total counter",
        "# TYPE storm_oci_launch_seconds histogram",
        "# TYPE storm_oci_containers gauge",
        "storm_oci_launch_seconds_bucket{le=\"+Inf\"} 0",
        "storm_oci_oom_kills_total{level=\"host\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in {text}");
    }
    drop(supervisor);
    fs::remove_file(&path).unwrap();
    // What was written and renamed is gone, and nobody writes another.
    drop(command);
    let left: Vec<_> = fs::read_dir(node.root.path()).unwrap().collect();
    let is_ours = |name: &str| name.starts_with("storm.prom");
    assert!(
        !left.iter().any(|entry| is_ours(entry.as_ref().unwrap().file_name().to_str().unwrap()))
    );
}

#[test]
fn a_file_that_cannot_be_written_harms_nothing() {
    let node = Node::new();
    node.let_launch_succeed(WORKER);
    let mut document = node.prepare_document();
    document["conf"][KEY] = json!(node.path("no/such/storm.prom"));
    document["reportsMetrics"] = json!(true);
    let supervisor = Supervisor::start(&document).unwrap();
    assert_eq!(supervisor.launch(&node.launch_document(WORKER))["started"], true);
    document["conf"][KEY] = json!("relative.prom");
    let error = Supervisor::start(&document).err().unwrap();
    assert!(error.report().contains(KEY), "{}", error.report());
}
