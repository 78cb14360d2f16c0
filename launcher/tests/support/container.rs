//! Workers to launch: worker directories, requests, and what is left of them afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a scene that cannot be set is a failed test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::image::{Image, media_type, unique};
use super::{Host, Outcome, SUPERVISOR, TestAccount, USER, settle};

/// The cgroup parent of the harness's configuration: each process of tests has its own, because
/// runc fails when the parent goes between two of its steps.
pub(crate) fn cgroup_parent() -> String {
    format!("soci-test.{}", std::process::id())
}

/// The cgroup of a container, as requests and records name it.
pub(crate) fn cgroup_of(container: &str) -> String {
    format!("/{}/{container}", cgroup_parent())
}

/// What [`Worker::traces`] has for a container of which nothing is left.
pub(crate) const NOTHING: [PathBuf; 0] = [];

/// Where the hierarchies are mounted on every host we test on.
const CGROUP_MOUNTS: &str = "/sys/fs/cgroup";

/// How long anything that should happen soon may take, on an emulated processor too.
const SOON: Duration = Duration::from_secs(60);

/// Where runc keeps what it knows of containers.
pub(crate) const RUNC_STATE: &str = "/run/runc";

/// The containers of this program's workers. The last worker that goes takes the parent of their
/// cgroups with it.
static WORKERS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// While it is held no worker comes or goes.
pub(crate) fn workers() -> MutexGuard<'static, BTreeSet<String>> {
    WORKERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A worker with its directories and its request, and everything a launch leaves outside of the
/// test's mount namespace: removed when the test ends, however it ends.
pub(crate) struct Worker {
    pub(crate) id: String,
    pub(crate) container: String,
    pub(crate) directory: PathBuf,
    pub(crate) artifacts: PathBuf,
    pub(crate) request: Value,
}

impl Worker {
    /// Makes a worker's directories as Storm does, with a script, and a request that runs it.
    pub(crate) fn new(host: &Host, image: &Image, script: &str) -> Self {
        let id = format!(
            "00000000-0000-4000-8000-{:06x}{:06x}",
            std::process::id() & 0xff_ffff,
            unique()
        );
        let container = format!("6700-{id}");
        let directory = host.storm().join("workers").join(&id);
        let logs = host.storm().join(format!("logs-{id}"));
        let owner = Some(SUPERVISOR);
        host.directory(&directory, owner, 0o755);
        host.directory(directory.join("tmp"), owner, 0o755);
        host.directory(&logs, Some(TestAccount { gid: SUPERVISOR.gid, ..USER }), 0o2770);
        let artifacts = directory.join("artifacts");
        host.link(logs.to_str().unwrap(), &artifacts, owner);
        let script_path = directory.join("storm-worker-script.sh");
        host.file(&script_path, owner, 0o755, &format!("{script}\n"));
        let bind = |destination: &Path, source: &Path, access: &str| {
            json!({
                "destination": destination, "type": "bind", "source": source,
                "options": [access, "rbind", "rprivate"],
            })
        };
        let layers: Vec<Value> = image
            .layers()
            .iter()
            .map(|path| json!({"mediaType": media_type(path), "path": path}))
            .collect();
        let request = json!({
            "version": "0.1",
            "username": USER.name,
            "containerId": container,
            "pidFile": artifacts.join(format!("container-{id}.pid")),
            "containerScriptPath": script_path,
            "layers": layers,
            "reapLayerKeepCount": 100,
            "ociRuntimeConfig": {
                "mounts": [
                    bind(Path::new("/sys/fs/cgroup"), Path::new("/sys/fs/cgroup"), "ro"),
                    bind(&directory, &directory, "rw"),
                    bind(&logs, &logs, "rw"),
                    bind(Path::new("/tmp"), &directory.join("tmp"), "rw"),
                ],
                "process": {
                    "cwd": directory,
                    "env": ["PATH=/usr/bin:/bin", "NAME=a b'c"],
                    "args": ["sh", script_path],
                },
                "linux": { "cgroupsPath": cgroup_of(&container) },
            },
        });
        workers().insert(container.clone());
        let worker = Self { id, container, directory, artifacts, request };
        worker.write_request();
        worker
    }

    /// Where the request is.
    pub(crate) fn request_path(&self) -> PathBuf {
        self.directory.join("oci-config.json")
    }

    /// Writes the request as the supervisor does.
    pub(crate) fn write_request(&self) {
        let path = self.request_path();
        fs::write(&path, self.request.to_string()).unwrap();
        settle(&path, Some(SUPERVISOR), 0o644);
    }

    /// Changes the request and writes it.
    pub(crate) fn amend(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.request);
        self.write_request();
    }

    /// The arguments of a launch.
    pub(crate) fn launch_arguments(&self) -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        vec![
            USER.name.to_owned(),
            "run-oci-container".to_owned(),
            text(&self.directory),
            text(&self.request_path()),
            text(&self.artifacts),
        ]
    }

    /// Launches the container.
    #[track_caller]
    pub(crate) fn launch(&self, host: &Host) -> Outcome {
        host.call(&self.launch_arguments())
    }

    /// Reaps the container.
    #[track_caller]
    pub(crate) fn reap(&self, host: &Host, keep: u32) -> Outcome {
        host.call(&[USER.name, "reap-oci-container", &self.container, &keep.to_string()])
    }

    /// The launch record.
    pub(crate) fn record(&self, host: &Host) -> Value {
        let path = self.record_path(host, "json");
        serde_json::from_slice(&fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}")))
            .unwrap()
    }

    /// The exit record, once it is written.
    #[track_caller]
    pub(crate) fn exit_record(&self, host: &Host) -> Value {
        let path = self.record_path(host, "exit.json");
        let mut bytes = Vec::new();
        eventually("the exit record is written", || {
            bytes = fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            !bytes.is_empty()
        });
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Where a record is.
    pub(crate) fn record_path(&self, host: &Host, extension: &str) -> PathBuf {
        host.run_root().join("records").join(format!("{}.{extension}", self.container))
    }

    /// The container's first process.
    pub(crate) fn init(&self, host: &Host) -> u32 {
        u32::try_from(self.record(host)["init"]["pid"].as_u64().unwrap()).unwrap()
    }

    /// The container's monitor.
    pub(crate) fn monitor(&self, host: &Host) -> u32 {
        u32::try_from(self.record(host)["monitor"]["pid"].as_u64().unwrap()).unwrap()
    }

    /// What the container wrote to a file in its artifacts directory, once it has a line.
    #[track_caller]
    pub(crate) fn output(&self, name: &str) -> String {
        let path = self.artifacts.join(name);
        let mut text = String::new();
        eventually(&format!("{path:?} has a line"), || {
            text = fs::read_to_string(&path).unwrap_or_default();
            text.ends_with('\n')
        });
        text
    }

    /// The container's standard output, once its last line is a full stop.
    #[track_caller]
    pub(crate) fn stdout(&self) -> String {
        let mut text = String::new();
        eventually("the container's output is complete", || {
            text = self.output(&format!("runc-{}.out", self.container));
            text.ends_with(".\n")
        });
        text
    }

    /// Kills the container's first process.
    pub(crate) fn kill(&self, host: &Host) {
        signal(self.init(host), nix::sys::signal::Signal::SIGKILL);
    }

    /// The container's cgroup directories that exist.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        cgroups_of(&self.container)
    }

    /// Everything of the container that is left: directories, records, cgroups, runc's state.
    pub(crate) fn traces(&self, host: &Host) -> Vec<PathBuf> {
        let mut traces = self.cgroups();
        traces.extend(
            [
                host.run_root().join(&self.container),
                self.record_path(host, "json"),
                self.record_path(host, "json.new"),
                self.record_path(host, "exit.json"),
                Path::new(RUNC_STATE).join(&self.container),
            ]
            .into_iter()
            .filter(|path| path.exists()),
        );
        traces
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let start = Instant::now();
        while start.elapsed() < SOON && !self.cgroups().is_empty() {
            for cgroup in self.cgroups() {
                processes(&cgroup).into_iter().for_each(kill);
                // A killed process leaves its cgroups one by one: what is busy is tried again.
                let _busy = fs::remove_dir(cgroup);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // Monitors end with their containers, unless the test has stopped one.
        if std::thread::panicking() {
            named(&self.container).into_iter().for_each(kill);
        }
        let _gone = fs::remove_dir_all(Path::new(RUNC_STATE).join(&self.container));
        let mut workers = workers();
        workers.remove(&self.container);
        if workers.is_empty() {
            remove_parents();
        }
    }
}

/// Removes the parent of the containers' cgroups.
pub(crate) fn remove_parents() {
    for hierarchy in hierarchies() {
        let parent = hierarchy.join(cgroup_parent());
        let _busy = fs::remove_dir(parent.join("monitors"));
        let _busy = fs::remove_dir(parent);
    }
}

/// The cgroup directories of a container that exist.
pub(crate) fn cgroups_of(container: &str) -> Vec<PathBuf> {
    hierarchies()
        .into_iter()
        .map(|hierarchy| hierarchy.join(cgroup_parent()).join(container))
        .filter(|path| path.exists())
        .collect()
}

/// Launchers and monitors whose command line has a container's worker; zombies have none.
pub(crate) fn named(container: &str) -> Vec<i32> {
    let worker = container.split_once('-').map_or(container, |(_, worker)| worker);
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(worker)
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Kills a process that may be gone.
pub(crate) fn kill(pid: i32) {
    let pid = nix::unistd::Pid::from_raw(pid);
    let _gone = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

/// The processes in a cgroup.
pub(crate) fn processes(cgroup: &Path) -> Vec<i32> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The mount points of all hierarchies.
pub(crate) fn hierarchies() -> Vec<PathBuf> {
    let is_hierarchy = |path: &PathBuf| path.join("cgroup.procs").exists();
    let unified = PathBuf::from(CGROUP_MOUNTS);
    if is_hierarchy(&unified) {
        return vec![unified];
    }
    let entries = fs::read_dir(CGROUP_MOUNTS).unwrap();
    // Some are symbolic links to others.
    let entries = entries.map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_dir());
    entries.map(|entry| entry.path()).filter(is_hierarchy).collect()
}

/// Unmounts every layer that nobody uses: what a reap does, also of a container that never was.
pub(crate) fn give_back(host: &Host) {
    let nobody = "1-00000000-0000-4000-8000-000000000000";
    host.call(&[USER.name, "reap-oci-container", nobody, "0"]).expect_success();
}

/// Sends a signal to a process of the test's own.
pub(crate) fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, signal).expect("signal a process");
}

/// Whether a process runs and is no zombie.
pub(crate) fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
}

/// Waits until `condition` holds; fails the test when it takes long.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The mount table of the test's namespace: the process itself is in another one.
pub(crate) fn mount_table() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}

/// The mounts below the run root that this namespace sees.
pub(crate) fn mounts(host: &Host) -> Vec<String> {
    let root = host.run_root();
    fs::read_to_string("/proc/thread-self/mounts")
        .unwrap()
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| Path::new(point).starts_with(&root))
        .map(str::to_owned)
        .collect()
}

/// Loop devices whose backing file is one of these layers.
pub(crate) fn loops(layers: &[PathBuf]) -> usize {
    fs::read_dir("/sys/block")
        .unwrap()
        .filter_map(|entry| {
            fs::read_to_string(entry.unwrap().path().join("loop/backing_file")).ok()
        })
        .filter(|backing| {
            let name = Path::new(backing.trim()).file_name().map(ToOwned::to_owned);
            layers.iter().any(|layer| layer.file_name() == name.as_deref())
        })
        .count()
}

/// Gives a file to somebody.
pub(crate) fn give(path: &Path, owner: TestAccount) {
    chown(path, Some(owner.uid), Some(owner.gid)).unwrap();
}
