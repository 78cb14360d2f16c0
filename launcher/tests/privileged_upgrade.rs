//! What was there before: containers of Storm's own launcher, and a run root from before the host
//! was started anew.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes and read what they made by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::container::{NOTHING, Worker, cgroup_of, eventually, is_running, loops, mounts};
use support::image::Image;
use support::{Host, OTHER_USER, SUPERVISOR, USER, outcome};

const STAY: &str = "exec sleep 1000";

fn runc(arguments: &[&str]) {
    let mut command = Command::new("/usr/sbin/runc");
    // What it starts keeps its streams: a pipe would not end before the container.
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success(), "runc {arguments:?}");
}

fn mount(arguments: &[&str]) {
    let mut command = Command::new("mount");
    command.args(arguments);
    outcome::run(command).expect_success();
}

/// A container as Storm's own launcher starts it: the layer mounted below a name made from its
/// path, the overlay in the host's table, no record and no lock of ours. Returns its first process.
fn start_as_storm_does(host: &Host, worker: &Worker, layer: &Path) -> u32 {
    let run_root = host.run_root();
    let lower = run_root.join("layers").join("5".repeat(64)).join("mnt");
    let directory = run_root.join(&worker.container);
    let [rootfs, upper, work] = ["rootfs", "upper", "work"].map(|name| directory.join(name));
    for path in [&lower, &rootfs, &upper, &work] {
        fs::create_dir_all(path).unwrap();
    }
    fs::set_permissions(&run_root, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&run_root, Some(0), Some(USER.gid)).unwrap();
    fs::write(run_root.join("layers/lock"), "").unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    mount(&["-t", "squashfs", "-o", "loop,ro,nosuid,nodev", &text(layer), &text(&lower)]);
    let options =
        format!("lowerdir={},upperdir={},workdir={}", text(&lower), text(&upper), text(&work));
    mount(&["-t", "overlay", "-o", &options, "overlay", &text(&rootfs)]);
    let bundle = worker.directory.join("config.json");
    let namespaces: Vec<Value> =
        ["pid", "ipc", "uts", "mount"].iter().map(|kind| json!({"type": kind})).collect();
    let config = json!({
        "ociVersion": "1.0.0",
        "process": {
            "user": {"uid": USER.uid, "gid": USER.gid},
            "args": ["/bin/sleep", "1000"],
            "cwd": "/",
        },
        "root": {"path": rootfs, "readonly": true},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "cgroupsPath": cgroup_of(&worker.container),
            "namespaces": namespaces,
        },
    });
    fs::write(bundle, config.to_string()).unwrap();
    let pid_file = worker.directory.join("pid");
    let arguments = ["run", "--detach", "--pid-file", &text(&pid_file), "--bundle"];
    runc(&[&arguments[..], &[&text(&worker.directory), &worker.container]].concat());
    fs::read_to_string(pid_file).unwrap().parse().unwrap()
}

fn sweep(host: &Host) -> support::Outcome {
    let root = host.storm().join("workers");
    host.call(&[SUPERVISOR.name, "sweep-oci-containers", root.to_str().unwrap()])
}

#[track_caller]
fn kill(host: &Host, init: u32) {
    host.call(&[USER.name, "signal", &init.to_string(), "9"]).expect_success();
    eventually("the container ends", || !is_running(init));
}

#[test]
fn a_container_of_storms_launcher_is_signalled_and_reaped() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let worker = Worker::new(&host, &image, STAY);
    let init = start_as_storm_does(&host, &worker, &image.layers()[0]);
    assert_eq!(mounts(&host).len(), 2);
    // As long as it runs, nobody takes it for a leftover.
    assert_eq!(sweep(&host).expect_success().stderr, "");
    worker.launch(&host).expect_failure(51, "no leftover");
    worker.reap(&host, 0).expect_failure(45, "still running");
    assert!(is_running(init));
    assert_eq!(mounts(&host).len(), 2);
    // Others' signals do not reach it.
    let signal = [OTHER_USER.name, "signal", &init.to_string(), "9"];
    assert_eq!(host.call(&signal).code, Some(255));
    assert!(is_running(init));
    kill(&host, init);
    worker.reap(&host, 0).expect_success();
    assert_eq!(worker.traces(&host), NOTHING);
    assert_eq!(mounts(&host), [""; 0]);
    eventually("the loop device is gone", || loops(image.layers()) == 0);
    worker.reap(&host, 0).expect_success();
    // The id is free again.
    fs::remove_file(worker.directory.join("config.json")).unwrap();
    worker.launch(&host).expect_success();
    worker.kill(&host);
    worker.reap(&host, 0).expect_success();
}

#[test]
fn what_storms_launcher_left_of_a_dead_container_is_swept_up() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let worker = Worker::new(&host, &image, STAY);
    let init = start_as_storm_does(&host, &worker, &image.layers()[0]);
    kill(&host, init);
    let swept = sweep(&host).expect_success();
    assert!(swept.stderr.contains(&worker.container), "{swept:?}");
    assert_eq!(worker.traces(&host), NOTHING);
    assert_eq!(mounts(&host).len(), 1, "the layer stays");
    worker.reap(&host, 0).expect_success();
    assert_eq!(mounts(&host), [""; 0]);
}

/// A process of the test's own, outside of any container.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        Self(Command::new("/bin/busybox").args(["sleep", "1000"]).spawn().unwrap())
    }

    /// As a record names it.
    fn record(&self) -> Value {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let start_time: u64 = fields.split(' ').nth(19).unwrap().parse().unwrap();
        json!({"pid": self.0.id(), "startTime": start_time})
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A run root on disk outlives the host's end; processes, mounts, cgroups, runc's state and locks
/// do not. Here all of these end, and the files are put back.
#[test]
fn a_run_root_from_before_the_host_was_started_anew_is_cleaned() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let workers: Vec<Worker> = (0..6).map(|_| Worker::new(&host, &image, STAY)).collect();
    let [started, reused, launching, unrecorded, emptied, bare] = workers.as_slice() else {
        panic!("six workers");
    };
    started.launch(&host).expect_success();
    let record = started.record(&host);
    started.kill(&host);
    let run_root = host.run_root();
    let kept = host.storm().join("kept");
    copy(&run_root, &kept);
    started.reap(&host, 0).expect_success();
    assert_eq!(started.traces(&host), NOTHING);
    copy(&kept, &run_root);

    let bystander = Bystander::new();
    let amended = |worker: &Worker, change: &dyn Fn(&mut Value)| {
        let mut record = record.clone();
        record["containerId"] = json!(worker.container);
        record["cgroup"] = json!(cgroup_of(&worker.container));
        change(&mut record);
        let directory = run_root.join(&worker.container);
        for name in ["upper", "work/work"] {
            fs::create_dir_all(directory.join(name)).unwrap();
        }
        fs::write(directory.join("lock"), "").unwrap();
        fs::write(worker.record_path(&host, "json"), record.to_string()).unwrap();
        fs::write(worker.record_path(&host, "exit.json"), "").unwrap();
    };
    // Its pid is another process's now, and even the start time is the same.
    amended(reused, &|record| {
        record["init"] = bystander.record();
        record["monitor"] = bystander.record();
    });
    amended(launching, &|record| record["state"] = json!("launching"));
    fs::create_dir(run_root.join(&unrecorded.container)).unwrap();
    amended(emptied, &|_| {});
    fs::write(emptied.record_path(&host, "json"), "").unwrap();
    amended(bare, &|_| {});
    fs::remove_dir_all(run_root.join(&bare.container)).unwrap();
    assert_eq!(fs::read_dir(run_root.join("layers")).unwrap().count(), 2, "a layer and the lock");

    let swept = sweep(&host).expect_success();
    for worker in &workers {
        assert!(swept.stderr.contains(&worker.container), "{swept:?}");
        assert_eq!(worker.traces(&host), NOTHING);
    }
    assert!(is_running(bystander.0.id()));
    assert_eq!(fs::read_dir(run_root.join("layers")).unwrap().count(), 1, "the lock");
    started.write_request();
    fs::remove_file(started.artifacts.join(format!("container-{}.pid", started.id))).unwrap();
    started.launch(&host).expect_success();
    started.kill(&host);
    started.reap(&host, 0).expect_success();
}

/// Copies a directory as it is; what is mounted in it is left out.
fn copy(from: &PathBuf, to: &PathBuf) {
    let mut command = Command::new("cp");
    command.args(["-a", "-x", "-T"]).args([from, to]);
    outcome::run(command).expect_success();
}
