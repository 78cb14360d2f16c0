//! A node of a cluster in a scratch directory: an image store, Storm's directories, and in the
//! place of the setuid launcher a program that writes down how it was called.

#![allow(dead_code, reason = "not every test uses every part")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use storm_oci_store::Digest;
use storm_oci_supervisor::{Containers, EventQueue, SupervisorError};

pub(crate) const WORKER: &str = "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb";
pub(crate) const CONTAINER: &str = "6700-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb";
pub(crate) const TAG: &str = "storm/test:1";

/// What the recorder does: notes arguments, environment and directory of each call; a launch
/// puts the prepared record in its place.
const RECORDER: &str = r#"#!/bin/sh
{ for argument in "$@"; do printf '%s\037' "$argument"; done
  printf '\036%s\036' "$(tr '\0' '\037' < /proc/$$/environ)"; pwd -P; } >> ROOT/calls
verb=${2:-$1}
[ -f "ROOT/answers/$verb.out" ] && cat "ROOT/answers/$verb.out"
[ -f "ROOT/answers/$verb.err" ] && cat "ROOT/answers/$verb.err" >&2
[ -f "ROOT/answers/$verb.code" ] && exit "$(cat "ROOT/answers/$verb.code")"
if [ "$verb" = run-oci-container ]; then
  worker=${3##*/}
  cp ROOT/records-to-be/*-"$worker".* ROOT/run/records/
fi
exit 0
"#;

pub(crate) struct Node {
    pub(crate) root: tempfile::TempDir,
}

/// One call of the launcher.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Call {
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: String,
    pub(crate) directory: String,
}

impl Node {
    pub(crate) fn new() -> Self {
        let node = Self { root: tempfile::tempdir().unwrap() };
        for directory in [
            "answers",
            "records-to-be",
            "run/records",
            "store/manifests",
            "store/config",
            "store/layers",
            "home",
            "local/supervisor/shared",
        ] {
            fs::create_dir_all(node.path(directory)).unwrap();
        }
        node.add_worker(WORKER);
        node.install_recorder();
        let run_root = node.text("run");
        node.answer(
            "--print-config",
            "out",
            &format!(
                "worker.launcher.oci.run-root={run_root}\nworker.launcher.oci.cgroup-parent=/storm\n"
            ),
        );
        node.publish_image(TAG, &["base", "java"]);
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn add_worker(&self, worker: &str) {
        for directory in ["tmp", "artifacts"] {
            fs::create_dir_all(self.path(&format!("local/workers/{worker}/{directory}"))).unwrap();
        }
        fs::write(self.path(&format!("local/user-of-{worker}")), "").unwrap();
    }

    /// Written by another process: a file that this one had open for writing could not be run
    /// while any of its threads is starting a program.
    fn install_recorder(&self) {
        let script = RECORDER.replace("ROOT", self.root.path().to_str().unwrap());
        let mut install = Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\"", &self.text("launcher")])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = install.stdin.take().unwrap();
        stdin.write_all(script.as_bytes()).unwrap();
        drop(stdin);
        assert!(install.wait().unwrap().success());
    }

    /// What the recorder answers to a verb: `out`, `err` or `code`.
    pub(crate) fn answer(&self, verb: &str, kind: &str, text: &str) {
        fs::write(self.path(&format!("answers/{verb}.{kind}")), text).unwrap();
    }

    pub(crate) fn stop_answering(&self, verb: &str, kind: &str) {
        fs::remove_file(self.path(&format!("answers/{verb}.{kind}"))).unwrap();
    }

    /// The calls of one verb.
    pub(crate) fn calls(&self, verb: &str) -> Vec<Call> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines()
            .map(|line| {
                let mut parts = line.split('\u{1e}');
                let arguments = parts.next().unwrap();
                let arguments = arguments.strip_suffix('\u{1f}').unwrap();
                Call {
                    arguments: arguments.split('\u{1f}').map(str::to_owned).collect(),
                    environment: parts.next().unwrap().to_owned(),
                    directory: parts.next().unwrap().to_owned(),
                }
            })
            .filter(|call| call.arguments.iter().take(2).any(|argument| argument == verb))
            .collect()
    }

    pub(crate) fn publish_image(&self, tag: &str, layers: &[&str]) {
        let config = json!({"config": {"Env": ["A=image"]}}).to_string();
        let descriptor = |kind: &str, bytes: &str| {
            json!({
                "mediaType": kind,
                "size": bytes.len(),
                "digest": Digest::of(bytes.as_bytes()).to_string(),
            })
        };
        let layer = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": descriptor("application/vnd.docker.container.image.v1+json", &config),
            "layers": layers.iter().map(|name| descriptor(layer, name)).collect::<Vec<_>>(),
        })
        .to_string();
        fs::write(self.path(&format!("store/config/{}", hex(&config))), &config).unwrap();
        fs::write(self.path(&format!("store/manifests/{}", hex(&manifest))), &manifest).unwrap();
        for name in layers {
            fs::write(self.layer(name), format!("squashfs of {name}")).unwrap();
        }
        fs::write(self.path("store/image-tag-to-hash"), format!("{tag}:{}\n", hex(&manifest)))
            .unwrap();
    }

    /// A layer in the store.
    pub(crate) fn layer(&self, name: &str) -> PathBuf {
        self.path(&format!("store/layers/{}.sqsh", hex(name)))
    }

    pub(crate) fn prepare_document(&self) -> Value {
        let store = self.text("store");
        json!({
            "conf": {
                "storm.oci.allowed.images": ["*"],
                "storm.oci.image": TAG,
                "storm.oci.image.hdfs.toplevel.dir": format!("file://{store}"),
                "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.hdfs.hash.file":
                    format!("file://{store}/image-tag-to-hash"),
                "storm.oci.layer.mounts.to.keep": 7,
                // Nothing is relaunched here: every end is told at once.
                "storm.oci.relaunch.backoff.max.secs": 0,
            },
            "paths": {
                "stormHome": self.text("home"),
                "supervisorLocalDir": self.text("local/supervisor"),
                "workersRoot": self.text("local/workers"),
                "launcher": self.text("launcher"),
            },
            "plugins": {
                "tagToManifest": "native",
                "manifestToResources": "native",
                "localizer": "native",
            },
        })
    }

    pub(crate) fn prepare(&self) -> Supervisor {
        Supervisor::start(&self.prepare_document()).unwrap()
    }

    pub(crate) fn launch_document(&self, worker: &str) -> Value {
        let directory = format!("local/workers/{worker}");
        json!({
            "user": "stormtest",
            "topologyId": "wc-1-2",
            "port": 6700,
            "workerId": worker,
            "workerDir": self.text(&directory),
            "artifactsDir": self.text(&format!("{directory}/artifacts")),
            "workerArtifactsRoot": self.text(&format!("{directory}/artifacts")),
            "workerTmp": self.text(&format!("{directory}/tmp")),
            "workerUserFile": self.text(&format!("local/user-of-{worker}")),
            "sharedByTopology": self.text("local/supervisor/shared"),
            "stormHome": self.text("home"),
            "script": self.text(&format!("{directory}/storm-worker-script.sh")),
            "environment": {"B": "topology"},
            "image": {"tag": null},
        })
    }

    /// The record that the launcher leaves of a container of ours whose pid 1 is `init`.
    pub(crate) fn launch_record(&self, worker: &str, init: (u32, u64)) -> Value {
        json!({
            "version": 1,
            "containerId": format!("6700-{worker}"),
            "state": "started",
            "caller": {"uid": rustix::process::getuid().as_raw(), "gid": 0},
            "workerRoot": self.text("local/workers"),
            "user": "stormtest",
            "uid": 1001,
            "gid": 1001,
            "cgroup": format!("/storm/6700-{worker}"),
            "layers": [{"key": "a".repeat(64), "path": "/layer", "mounted": true}],
            "monitor": null,
            "init": {"pid": init.0, "startTime": init.1},
            "launchedMillis": 1000,
            "phases": [{"name": "layers", "micros": 1234}],
        })
    }

    /// Has the next launches of `worker` succeed with a container that ended with code 7.
    pub(crate) fn let_launch_succeed(&self, worker: &str) {
        let exit = json!({
            "version": 1,
            "containerId": format!("6700-{worker}"),
            "exitCode": 7,
            "signal": null,
            "oomKills": 0,
            "peakMemoryBytes": null,
            "cpuMicros": null,
            "launchedMillis": 1000,
            "endedMillis": 3500,
        });
        let record = self.launch_record(worker, GONE);
        let place = |name: &str| self.path(&format!("records-to-be/6700-{worker}.{name}"));
        fs::write(place("json"), record.to_string()).unwrap();
        fs::write(place("exit.json"), exit.to_string()).unwrap();
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }
}

/// A process that is none: pid 1 did not start at that time.
pub(crate) const GONE: (u32, u64) = (1, u64::MAX);

pub(crate) fn hex(text: &str) -> String {
    Digest::of(text.as_bytes()).as_hex().to_owned()
}

/// Prepared containers and their events.
pub(crate) struct Supervisor {
    pub(crate) containers: Containers,
    events: Mutex<Receiver<Value>>,
}

impl Supervisor {
    pub(crate) fn start(document: &Value) -> Result<Self, SupervisorError> {
        let queue = EventQueue::new();
        let containers = Containers::prepare_with(&document.to_string(), queue.clone())?;
        let (sender, events) = channel();
        std::thread::spawn(move || {
            while let Some(event) = queue.next() {
                if sender.send(serde_json::from_str(&event).unwrap()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { containers, events: Mutex::new(events) })
    }

    pub(crate) fn launch(&self, document: &Value) -> Value {
        let outcome = self.containers.launch(&document.to_string()).unwrap();
        serde_json::from_str(&outcome).unwrap()
    }

    pub(crate) fn event(&self) -> Value {
        self.events.lock().unwrap().recv_timeout(Duration::from_secs(60)).unwrap()
    }

    /// All metrics that are one number.
    pub(crate) fn metrics(&self) -> Value {
        serde_json::from_str(&self.containers.metrics().unwrap()).unwrap()
    }

    pub(crate) fn number(&self, metric: &str) -> f64 {
        self.metrics().get(metric).unwrap().as_f64().unwrap()
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.events.lock().unwrap().recv_timeout(Duration::from_millis(50)).is_err()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.containers.close();
    }
}
