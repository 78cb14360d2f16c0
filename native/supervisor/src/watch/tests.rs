use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use storm_oci_request::HostPath;

use super::*;
use crate::end::tests::known;
use crate::events::EventQueue;
use crate::hierarchy::tests::{UUID, hierarchies};
use crate::metrics::Metrics;
use crate::process::tests::record_of;
use crate::records::tests::RunRoot;
use crate::requested::RequestedEnds;

/// Long enough for a busy host; a test that waits for it fails.
const PATIENCE: Duration = Duration::from_secs(60);

struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("/bin/sleep").arg("1000").spawn().unwrap())
    }

    /// Kills it; as nobody waits for it, it stays a zombie.
    fn kill(&mut self) {
        self.0.kill().unwrap();
    }

    fn fd(&self) -> Option<OwnedFd> {
        process::open(record_of(&self.0), None)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

struct Node {
    watch: Watch,
    run_root: RunRoot,
    events: mpsc::Receiver<Value>,
    requested: RequestedEnds,
    _workers: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        Self::with_grace(PATIENCE * 10)
    }

    fn with_grace(grace: Duration) -> Self {
        let queue = EventQueue::new();
        let workers = tempfile::tempdir().unwrap();
        let root = HostPath::parse(workers.path().to_str().unwrap()).unwrap();
        let hierarchies = Arc::new(hierarchies("", workers.path()));
        let requested = RequestedEnds::new(&root);
        let metrics = Arc::new(Metrics::new());
        let ends =
            Ends::new(queue.clone(), &root, requested.clone(), hierarchies, PATIENCE, metrics);
        let watch = Watch::start(Arc::new(ends), grace).unwrap();
        let (sender, events) = mpsc::channel();
        std::thread::spawn(move || {
            while let Some(event) = queue.next() {
                if sender.send(serde_json::from_str(&event).unwrap()).is_err() {
                    return;
                }
            }
        });
        let run_root = RunRoot::new();
        run_root.write(&exit_name(), "");
        Self { watch, run_root, events, requested, _workers: workers }
    }

    fn add(&self, init: Option<&Sleeper>, monitor: Option<&Sleeper>) {
        self.watch.add(Watched {
            container: container(),
            init: init.and_then(Sleeper::fd),
            monitor: monitor.and_then(Sleeper::fd),
            exit: self.run_root.records().exit(&container()).unwrap(),
            known: known(),
        });
    }

    fn write_exit(&self, code: i32) {
        let text = format!(
            r#"{{"version":1,"containerId":"6700-{UUID}","exitCode":{code},"signal":null,
                "oomKills":null,"peakMemoryBytes":null,"cpuMicros":null,"launchedMillis":1,
                "endedMillis":2}}"#
        );
        self.run_root.write(&exit_name(), &text);
    }

    fn exit_code(&self) -> Value {
        let event = self.events.recv_timeout(PATIENCE).unwrap();
        assert_eq!(event["type"], "exit");
        assert_eq!(event["workerId"], UUID);
        event["exitCode"].clone()
    }

    fn is_quiet(&self) -> bool {
        self.events.recv_timeout(Duration::from_millis(50)).is_err()
    }
}

fn container() -> ContainerId {
    ContainerId::parse(&format!("6700-{UUID}")).unwrap()
}

fn exit_name() -> String {
    format!("6700-{UUID}.exit.json")
}

#[test]
fn the_code_is_read_once_the_monitor_has_ended() {
    let node = Node::new();
    let (mut init, mut monitor) = (Sleeper::start(), Sleeper::start());
    node.add(Some(&init), Some(&monitor));
    assert!(node.is_quiet());
    init.kill();
    node.write_exit(7);
    assert!(node.is_quiet());
    monitor.kill();
    assert_eq!(node.exit_code(), 7);
    assert!(node.is_quiet());
}

#[test]
fn a_monitor_that_hangs_is_not_waited_for_for_ever() {
    let grace = Duration::from_millis(200);
    let node = Node::with_grace(grace);
    let (mut init, monitor) = (Sleeper::start(), Sleeper::start());
    node.add(Some(&init), Some(&monitor));
    let killed = Instant::now();
    init.kill();
    assert_eq!(node.exit_code(), Value::Null);
    assert!(killed.elapsed() >= grace);
}

#[test]
fn a_dead_monitor_is_not_waited_for() {
    let node = Node::new();
    let (mut init, mut monitor) = (Sleeper::start(), Sleeper::start());
    node.add(Some(&init), Some(&monitor));
    monitor.kill();
    node.write_exit(3);
    init.kill();
    assert_eq!(node.exit_code(), 3);
}

#[test]
fn a_container_that_ended_before_is_reported_at_once() {
    let node = Node::new();
    node.write_exit(5);
    node.add(None, None);
    assert_eq!(node.exit_code(), 5);
    let mut init = Sleeper::start();
    init.kill();
    node.add(Some(&init), None);
    assert_eq!(node.exit_code(), 5);
}

#[test]
fn a_container_is_watched_once() {
    let node = Node::new();
    let mut init = Sleeper::start();
    node.add(Some(&init), None);
    node.add(Some(&init), None);
    init.kill();
    assert_eq!(node.exit_code(), Value::Null);
    assert!(node.is_quiet());
}

#[test]
fn requested_ends_say_so() {
    let node = Node::new();
    let mut init = Sleeper::start();
    node.add(Some(&init), None);
    node.watch.request_end(&container().worker_id());
    init.kill();
    let event = node.events.recv_timeout(PATIENCE).unwrap();
    assert_eq!(event["requested"], true);
}

/// As `storm kill_workers` does beside a supervisor.
#[test]
fn ends_that_another_process_requests_say_so() {
    let node = Node::new();
    let mut init = Sleeper::start();
    node.add(Some(&init), None);
    node.requested.add(&container().worker_id()).unwrap();
    init.kill();
    let event = node.events.recv_timeout(PATIENCE).unwrap();
    assert_eq!(event["requested"], true);
}

#[test]
fn closing_ends_the_thread_and_leaves_containers_alone() {
    let node = Node::new();
    let mut init = Sleeper::start();
    node.add(Some(&init), None);
    node.watch.close();
    assert!(init.0.try_wait().unwrap().is_none());
    node.watch.close();
    node.add(None, None);
    init.kill();
    assert!(node.is_quiet());
}
