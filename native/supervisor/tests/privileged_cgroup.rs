//! Containers as the kernel shows them: real cgroups and pid namespaces. Needs root, and fails
//! without.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod node;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use node::{CONTAINER, Node, WORKER};
use serde_json::{Value, json};

/// Long enough for a busy host; a test that waits for it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process in a pid namespace and in cgroups of its own, as a container's are.
struct Container {
    parent: String,
    directories: Vec<PathBuf>,
    unshare: Child,
    init: u32,
}

impl Container {
    fn start(name: &str) -> Self {
        let parent = format!("/soci-{name}-{}", std::process::id());
        let directories: Vec<PathBuf> = hierarchies()
            .iter()
            .map(|hierarchy| hierarchy.join(&parent[1..]).join(CONTAINER))
            .collect();
        let mut join = String::new();
        for directory in &directories {
            fs::create_dir_all(directory).unwrap();
            // On version 2 each level hands the controller on.
            let handing_on = directory.parent().unwrap().join("cgroup.subtree_control");
            if handing_on.exists() {
                fs::write(handing_on, "+memory").unwrap();
            }
            join.push_str(&format!("echo $$ > {}/cgroup.procs && ", directory.display()));
        }
        let unshare = Command::new("sh")
            .arg("-c")
            .arg(format!("{join}exec unshare --pid --fork --kill-child sleep 60"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let procs = directories.first().unwrap().join("cgroup.procs");
        let init = wait_for(|| {
            let pids = fs::read_to_string(&procs).unwrap();
            pids.lines()
                .find(|pid| {
                    let status = fs::read_to_string(format!("/proc/{pid}/status"));
                    status.is_ok_and(|status| status.starts_with("Name:\tsleep"))
                })
                .map(|pid| pid.parse().unwrap())
        });
        Self { parent, directories, unshare, init }
    }

    fn prepare_document(&self, node: &Node) -> Value {
        let run_root = node.text("run");
        let parent = &self.parent;
        let config = format!(
            "worker.launcher.oci.run-root={run_root}\nworker.launcher.oci.cgroup-parent={parent}\n"
        );
        node.answer("--print-config", "out", &config);
        let mut document = node.prepare_document();
        document["conf"]["storm.oci.cgroup.parent"] = json!(parent);
        document
    }

    fn write_record(&self, node: &Node, cgroup: &str) {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.init)).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let start_time = fields.split(' ').nth(19).unwrap().parse().unwrap();
        let mut record = node.launch_record(WORKER, (self.init, start_time));
        record["cgroup"] = json!(cgroup);
        let path = node.path(&format!("run/records/{CONTAINER}.json"));
        fs::write(path, record.to_string()).unwrap();
    }

    fn end(&mut self) {
        let status = Command::new("kill").args(["-9", &self.init.to_string()]).status();
        assert!(status.unwrap().success());
        self.unshare.wait().unwrap();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.unshare.kill().unwrap();
        self.unshare.wait().unwrap();
        for directory in &self.directories {
            wait_for(|| fs::remove_dir(directory).ok());
            fs::remove_dir(directory.parent().unwrap()).unwrap();
        }
    }
}

fn wait_for<T>(mut what: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The mounted hierarchies that a container's cgroup would be in and that this test needs.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        // Pure v2: the memory files are there only where the parent hands the controller on.
        fs::write(root.join("cgroup.subtree_control"), "+memory").unwrap();
        return vec![root.to_owned()];
    }
    vec![root.join("memory"), root.join("pids")]
}

#[test]
fn privileged_a_container_without_record_is_found_by_its_cgroup() {
    let node = Node::new();
    let mut container = Container::start("norecord");
    let document = container.prepare_document(&node);
    let supervisor = node::Supervisor::start(&document).unwrap();
    let containers = &supervisor.containers;
    assert!(!containers.all_processes_dead("stormtest", WORKER).unwrap());
    containers.kill("stormtest", WORKER, false).unwrap();
    let init = container.init.to_string();
    let signals = node.calls("signal");
    assert_eq!(signals.len(), 1);
    assert_eq!(signals.first().unwrap().arguments, ["stormtest", "signal", &init, "15"]);
    container.end();
    wait_for(|| containers.all_processes_dead("stormtest", WORKER).unwrap().then_some(()));
    containers.cleanup("stormtest", WORKER, -1).unwrap();
    let reaps = node.calls("reap-oci-container");
    assert_eq!(reaps.len(), 1);
    assert_eq!(reaps.first().unwrap().arguments.get(2).unwrap(), CONTAINER);
}

#[test]
fn privileged_an_adopted_container_is_watched_until_it_ends() {
    let node = Node::new();
    let mut container = Container::start("adopted");
    container.write_record(&node, &format!("{}/{CONTAINER}", container.parent));
    let document = container.prepare_document(&node);
    let supervisor = node::Supervisor::start(&document).unwrap();
    assert!(supervisor.is_quiet());
    assert!(!supervisor.containers.all_processes_dead("stormtest", WORKER).unwrap());
    assert_eq!(supervisor.number("containers"), 1.0);
    container.end();
    let event = supervisor.event();
    assert_eq!(event["workerId"], WORKER);
    assert_eq!(event["shellCode"], -1, "there was no monitor: {event}");
    assert_eq!((supervisor.number("containers"), supervisor.number("exits.unknown")), (0.0, 1.0));
    assert!(supervisor.containers.all_processes_dead("stormtest", WORKER).unwrap());
}

#[test]
fn privileged_a_process_in_another_cgroup_is_not_the_recorded_one() {
    let node = Node::new();
    let container = Container::start("elsewhere");
    container.write_record(&node, "/soci-no-such/cgroup");
    let document = container.prepare_document(&node);
    let supervisor = node::Supervisor::start(&document).unwrap();
    assert_eq!(supervisor.event()["workerId"], WORKER);
}

#[test]
fn privileged_memory_is_read_from_the_containers_cgroup() {
    let node = Node::new();
    let container = Container::start("memory");
    let document = container.prepare_document(&node);
    let supervisor = node::Supervisor::start(&document).unwrap();
    let usage = || supervisor.containers.memory_usage("stormtest", WORKER).unwrap();
    let used = usage();
    assert!((1..1 << 30).contains(&used), "{used}");
    assert_eq!(usage() / (1 << 20), used / (1 << 20));
    let free = || supervisor.containers.system_free_memory_mb().unwrap();
    assert!(free() > 64);
    let parent = container.directories.first().unwrap().parent().unwrap();
    let limit = ["memory.limit_in_bytes", "memory.max"]
        .map(|name| parent.join(name))
        .into_iter()
        .find(|path| path.exists())
        .unwrap();
    fs::write(limit, (64 << 20).to_string()).unwrap();
    assert!((1..=64).contains(&free()), "{}", free());
}
