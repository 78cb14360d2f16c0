//! The monitor: what it survives, who can touch it, what its end costs.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests set scenes and read what they made by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::container::{
    NOTHING, Worker, cgroup_parent, eventually, hierarchies, is_running, signal,
};
use support::image::Image;
use support::{Host, SUPERVISOR, USER, before_exec, outcome};

const STAY: &str = "exec sleep 1000";

/// What a monitor may cost a host: a supervisor has one a worker.
const LIMIT_KIB: u64 = 512;

/// How many processes of a node share the C library at least: service manager, name service, SSH,
/// cron, the supervisor's JVM, its workers' monitors. The machine of a test may have fewer, so the
/// kernel's own proportional figure would be that machine's.
const SHARERS: u64 = 8;

/// Waits until a monitor has given up everything but the caller's rights.
fn settled(worker: &Worker, host: &Host) -> u32 {
    let monitor = worker.monitor(host);
    let uids = format!("Uid:\t{0}\t{0}\t{0}\t{0}", SUPERVISOR.uid);
    eventually("the monitor is the caller", || {
        let status = fs::read_to_string(format!("/proc/{monitor}/status")).unwrap();
        status.contains(&uids) && status.contains("State:\tS (sleeping)")
    });
    monitor
}

#[ignore = "of the program as it is installed, which `make test-launcher` builds and names"]
#[test]
fn a_monitor_takes_less_than_half_a_mebibyte() {
    let host = Host::new();
    let worker = Worker::new(&host, &Image::busybox(&host), STAY);
    worker.launch(&host).expect_success();
    let monitor = settled(&worker, &host);
    let rollup = fs::read_to_string(format!("/proc/{monitor}/smaps_rollup")).unwrap();
    let kib = |field: &str| -> u64 {
        let line = rollup.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    };
    let own = kib("Private_Clean:") + kib("Private_Dirty:");
    let proportional = own + (kib("Rss:") - own) / SHARERS;
    println!("a monitor's proportional memory: {proportional} KiB");
    assert!(proportional <= LIMIT_KIB, "{rollup}");
}

/// A service manager that stops the supervisor's unit kills what is in the unit's cgroup.
#[test]
fn a_monitor_survives_the_end_of_the_callers_unit() {
    let host = Host::new();
    let worker = Worker::new(&host, &Image::busybox(&host), STAY);
    let unit = Unit::new();
    let mut command = host.command_of_root(&worker.launch_arguments());
    before_exec::in_cgroups(&mut command, SUPERVISOR, &unit.0);
    outcome::run(command).expect_success();
    let monitor = settled(&worker, &host);
    // The caller itself would be killed with it; it has ended already.
    let mut bystander = Command::new("/bin/busybox");
    bystander.args(["sleep", "1000"]);
    before_exec::in_cgroups(&mut bystander, SUPERVISOR, &unit.0);
    let mut bystander = bystander.spawn().unwrap();
    assert!(unit.kill() >= 1, "the unit's cgroup is empty");
    bystander.wait().unwrap();
    assert!(is_running(monitor));
    assert!(is_running(worker.init(&host)));
    worker.kill(&host);
    assert_eq!(worker.exit_record(&host)["signal"], 9);
    worker.reap(&host, 100).expect_success();
}

/// A cgroup of the test's own in the hierarchies that service managers use.
struct Unit(Vec<PathBuf>);

impl Unit {
    fn new() -> Self {
        let by_services =
            |path: &PathBuf| path.ends_with("systemd") || path.join("cgroup.controllers").exists();
        let name = format!("soci-unit-{}", std::process::id());
        let paths: Vec<PathBuf> =
            hierarchies().into_iter().filter(by_services).map(|path| path.join(&name)).collect();
        for path in &paths {
            fs::create_dir(path).unwrap();
        }
        assert!(!paths.is_empty());
        Self(paths)
    }

    /// Kills all that is in it, and says how many processes that were.
    fn kill(&self) -> usize {
        let mut killed = 0;
        for path in &self.0 {
            for pid in fs::read_to_string(path.join("cgroup.procs")).unwrap().lines() {
                signal(pid.parse().unwrap(), Signal::SIGKILL);
                killed += 1;
            }
        }
        killed
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        for path in &self.0 {
            eventually("the unit's cgroup is gone", || fs::remove_dir(path).is_ok());
        }
    }
}

#[test]
fn a_topologys_user_cannot_touch_the_monitor() {
    let host = Host::new();
    let worker = Worker::new(&host, &Image::busybox(&host), STAY);
    worker.launch(&host).expect_success();
    let monitor = settled(&worker, &host);
    let as_user = |arguments: &[&str]| {
        let mut command = Command::new("/bin/busybox");
        command.args(arguments).uid(USER.uid).gid(USER.gid);
        outcome::run(command)
    };
    for signal in ["-0", "-9", "-STOP"] {
        let outcome = as_user(&["kill", signal, &monitor.to_string()]);
        assert!(outcome.stderr.contains("not permitted"), "{outcome:?}");
    }
    for name in ["fd/", "cwd/", "root/", "ns/", "environ", "maps", "mem", "auxv", "syscall"] {
        let outcome = as_user(&["cat", &format!("/proc/{monitor}/{name}")]);
        assert!(outcome.stderr.contains("denied"), "{name}: {outcome:?}");
    }
    let refused = before_exec::can_trace(USER, monitor);
    assert_eq!(refused, Err(nix::errno::Errno::EPERM));
    // The same is possible with one's own process, so it was the monitor that refused.
    let mut own = Command::new("/bin/busybox");
    let mut own = own.args(["sleep", "1000"]).uid(USER.uid).gid(USER.gid).spawn().unwrap();
    eventually("it is busybox", || {
        fs::read_to_string(format!("/proc/{}/comm", own.id())).unwrap() == "busybox\n"
    });
    assert_eq!(before_exec::can_trace(USER, own.id()), Ok(()));
    own.kill().unwrap();
    own.wait().unwrap();
    assert!(is_running(monitor));
    worker.kill(&host);
    assert_eq!(worker.exit_record(&host)["signal"], 9);
}

#[test]
fn a_killed_monitor_costs_the_exit_code_and_nothing_else() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let workers = [(); 2].map(|()| Worker::new(&host, &image, STAY));
    for worker in &workers {
        worker.launch(&host).expect_success();
        let monitor = settled(worker, &host);
        signal(monitor, Signal::SIGKILL);
        eventually("the monitor ends", || !is_running(monitor));
    }
    let root = host.storm().join("workers");
    let sweep = || host.call(&[SUPERVISOR.name, "sweep-oci-containers", root.to_str().unwrap()]);
    assert_eq!(sweep().expect_success().stderr, "");
    let [first, second] = &workers;
    for worker in &workers {
        let init = worker.init(&host);
        assert!(is_running(init));
        worker.reap(&host, 100).expect_failure(45, "still running");
        host.call(&[USER.name, "signal", &init.to_string(), "9"]).expect_success();
        eventually("the container ends", || !is_running(init));
        let exit = fs::read(worker.record_path(&host, "exit.json")).unwrap();
        assert!(exit.is_empty(), "nobody was left to write it");
    }
    first.reap(&host, 100).expect_success();
    assert_eq!(first.traces(&host), NOTHING);
    let swept = sweep().expect_success();
    assert!(swept.stderr.contains(&second.container), "{swept:?}");
    assert_eq!(second.traces(&host), NOTHING);
}

/// All that is known of a container's end, for each way to end.
#[test]
fn the_exit_record_is_complete() {
    let host = Host::new();
    let image = Image::busybox(&host);
    // One of the container's processes runs out of memory; the first says so by its own code.
    let hungry = "sh -c 'a=0123456789; while true; do a=$a$a; done'; exit 5";
    let table = [
        ("exit 0", json!(0), Value::Null, 0),
        ("exit 250", json!(250), Value::Null, 0),
        ("kill -SEGV $$; trap - SEGV; exec sleep 1000", Value::Null, json!(9), 0),
        (hungry, json!(5), Value::Null, 1),
    ];
    for (script, code, signal, kills) in table {
        let mut worker = Worker::new(&host, &image, script);
        worker.amend(|request| {
            request["ociRuntimeConfig"]["linux"]["resources"] =
                json!({"memory": {"limit": 33_554_432, "swap": 33_554_432}});
        });
        worker.launch(&host).expect_success();
        if signal == json!(9) {
            worker.kill(&host);
        }
        let record = worker.exit_record(&host);
        assert_eq!((&record["exitCode"], &record["signal"]), (&code, &signal), "{script}");
        assert!(record["oomKills"].as_u64().unwrap() >= kills, "{script}: {record}");
        assert_eq!(record["oomKills"] == 0, kills == 0, "{script}: {record}");
        let peak = record["peakMemoryBytes"].as_u64().unwrap();
        assert!((1..=33_554_432).contains(&peak), "{record}");
        assert!(record["cpuMicros"].as_u64().unwrap() > 0);
        let [launched, ended] =
            ["launchedMillis", "endedMillis"].map(|name| record[name].as_u64().unwrap());
        assert!(launched > 0 && launched <= ended, "{record}");
        assert_eq!(record["launchedMillis"], worker.record(&host)["launchedMillis"]);
        assert_eq!(record["containerId"], worker.container);
        // It is there before the container's cgroup goes.
        assert_eq!(worker.cgroups().len(), hierarchies().len(), "{}", cgroup_parent());
        worker.reap(&host, 100).expect_success();
    }
}
