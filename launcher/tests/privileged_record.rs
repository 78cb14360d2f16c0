//! What a launch leaves for the library, for people and for the end of the container: records,
//! files in the worker's directory, and the monitor.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes and read what they made by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::container::{Worker, cgroup_of, cgroup_parent, eventually, hierarchies, is_running};
use support::image::Image;
use support::{GROUP_ID, Host, SUPERVISOR, USER};

/// Stays until it is killed.
const STAY: &str = "echo up; exec sleep 1000";

#[test]
fn the_record_tells_whose_the_container_is_and_what_it_took() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let worker = Worker::new(&host, &image, STAY);
    worker.launch(&host).expect_success();
    let record = worker.record(&host);
    assert_eq!(record["state"], "started");
    assert_eq!(record["caller"], json!({"uid": SUPERVISOR.uid, "gid": GROUP_ID}));
    assert_eq!(record["workerRoot"], json!(host.storm().join("workers")));
    assert_eq!(record["user"], USER.name);
    assert_eq!(record["cgroup"], cgroup_of(&worker.container));
    assert_eq!(record["layers"][0]["path"], json!(image.layers()[0]));
    assert_eq!(record["layers"][0]["mounted"], true);
    for name in ["init", "monitor"] {
        let pid = record[name]["pid"].as_u64().unwrap();
        assert!(is_running(u32::try_from(pid).unwrap()), "{name}");
    }
    let phases: Vec<&str> = record["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|phase| phase["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        phases,
        [
            "request",
            "open",
            "claim",
            "layers",
            "worker directory",
            "root file system",
            "binds",
            "mount points",
            "bundle",
            "runc",
            "read back",
            "worker files"
        ]
    );
    for extension in ["json", "exit.json"] {
        let stat = fs::metadata(worker.record_path(&host, extension)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (0, GROUP_ID));
        assert_eq!(stat.permissions().mode() & 0o7777, 0o640);
    }
    let modes = [("", 0o711), ("layers", 0o700), ("records", 0o750), (&worker.container, 0o700)];
    for (name, mode) in modes {
        let stat = fs::metadata(host.run_root().join(name)).unwrap();
        assert_eq!(stat.permissions().mode() & 0o7777, mode, "{name}");
        assert_eq!(stat.uid(), 0);
    }
}

#[test]
fn a_run_root_that_others_can_write_is_refused() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let first = Worker::new(&host, &image, "");
    first.launch(&host).expect_success();
    first.exit_record(&host);
    first.reap(&host, 100).expect_success();
    let worker = Worker::new(&host, &image, STAY);
    for name in ["", "layers", "records"] {
        let path = host.run_root().join(name);
        let mode = fs::metadata(&path).unwrap().permissions();
        for (owner, bits) in [(SUPERVISOR.uid, 0o700), (0, 0o720), (0, 0o702)] {
            chown(&path, Some(owner), None).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
            worker.launch(&host).expect_failure(12, "must be root's and writable by root only");
            worker.reap(&host, 0).expect_failure(12, "must be root's and writable by root only");
            let stat = fs::metadata(&path).unwrap();
            assert_eq!((stat.uid(), stat.permissions().mode() & 0o7777), (owner, bits));
        }
        chown(&path, Some(0), None).unwrap();
        fs::set_permissions(&path, mode).unwrap();
    }
    assert!(!worker.record_path(&host, "json").exists());
}

/// Storm's own launcher, or an operator, may have made it otherwise.
#[test]
fn the_run_root_gets_its_modes_and_its_group() {
    let host = Host::new();
    let worker = Worker::new(&host, &Image::busybox(&host), STAY);
    let modes = [("", 0o711, 0), ("layers", 0o700, 0), ("records", 0o750, GROUP_ID)];
    for (name, _, _) in modes {
        let path = host.run_root().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        chown(&path, None, Some(USER.gid)).unwrap();
    }
    worker.launch(&host).expect_success();
    for (name, mode, group) in modes {
        let stat = fs::metadata(host.run_root().join(name)).unwrap();
        assert_eq!(stat.permissions().mode() & 0o7777, mode, "{name}");
        assert_eq!((stat.uid(), stat.gid()), (0, group), "{name}");
    }
}

#[test]
fn people_find_the_pid_and_a_copy_of_the_configuration() {
    let host = Host::new();
    let worker = Worker::new(&host, &Image::busybox(&host), STAY);
    worker.launch(&host).expect_success();
    let pid_file = worker.artifacts.join(format!("container-{}.pid", worker.id));
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), worker.init(&host).to_string());
    let stat = fs::metadata(&pid_file).unwrap();
    assert_eq!((stat.uid(), stat.permissions().mode() & 0o7777), (USER.uid, 0o644));
    let copy = worker.directory.join("config.json");
    let stat = fs::metadata(&copy).unwrap();
    assert_eq!((stat.uid(), stat.permissions().mode() & 0o7777), (SUPERVISOR.uid, 0o600));
    let bundle = host.run_root().join(&worker.container).join("config.json");
    assert_eq!(fs::read(copy).unwrap(), fs::read(bundle).unwrap());
    let output = worker.artifacts.join(format!("runc-{}.out", worker.container));
    let stat = fs::metadata(output).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (USER.uid, GROUP_ID));
    assert_eq!(stat.permissions().mode() & 0o7777, 0o640);
}

#[test]
fn the_exit_record_tells_code_and_signal() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let exits = Worker::new(&host, &image, "exit 7");
    exits.launch(&host).expect_success();
    let record = exits.exit_record(&host);
    assert_eq!((&record["exitCode"], &record["signal"]), (&json!(7), &Value::Null));
    assert_eq!(record["oomKills"], 0);
    assert!(record["peakMemoryBytes"].as_u64().unwrap() > 0);
    assert!(record["cpuMicros"].as_u64().unwrap() > 0);
    let killed = Worker::new(&host, &image, STAY);
    killed.launch(&host).expect_success();
    killed.kill(&host);
    let record = killed.exit_record(&host);
    assert_eq!((&record["exitCode"], &record["signal"]), (&Value::Null, &json!(9)));
    eventually("the monitor ends", || !is_running(killed.monitor(&host)));
}

#[test]
fn the_exit_record_tells_that_memory_ran_out() {
    let host = Host::new();
    // A string that doubles until the kernel objects.
    let script = "a=0123456789; while true; do a=$a$a; done";
    let mut worker = Worker::new(&host, &Image::busybox(&host), script);
    worker.amend(|request| {
        request["ociRuntimeConfig"]["linux"]["resources"] =
            json!({"memory": {"limit": 33_554_432, "swap": 33_554_432}});
    });
    worker.launch(&host).expect_success();
    let record = worker.exit_record(&host);
    assert_eq!(record["signal"], 9, "{record}");
    assert!(record["oomKills"].as_u64().unwrap() >= 1, "{record}");
}

#[test]
fn the_monitor_has_only_the_callers_rights() {
    let host = Host::new();
    let worker = Worker::new(&host, &Image::busybox(&host), STAY);
    worker.launch(&host).expect_success();
    let monitor = worker.monitor(&host);
    // It drops its rights beside the launch, not before its end.
    let status = || fs::read_to_string(format!("/proc/{monitor}/status")).unwrap();
    let uids = format!("Uid:\t{0}\t{0}\t{0}\t{0}", SUPERVISOR.uid);
    eventually("the monitor is the caller", || status().contains(&uids));
    for line in [
        format!("Gid:\t{0}\t{0}\t{0}\t{0}", SUPERVISOR.gid),
        "Groups:\t ".to_owned(),
        "CapPrm:\t0000000000000000".to_owned(),
        "CapBnd:\t0000000000000000".to_owned(),
        "NoNewPrivs:\t1".to_owned(),
    ] {
        assert!(status().lines().any(|found| found == line), "{line:?}: {}", status());
    }
    let directory = format!("/proc/{monitor}/fd");
    let mut kinds: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| fs::read_link(entry.unwrap().path()).unwrap().display().to_string())
        .map(|target| {
            let name = target.rsplit('/').next().unwrap().to_owned();
            name.split(':').next().unwrap().to_owned()
        })
        .collect();
    kinds.sort();
    let exit = format!("{}.exit.json", worker.container);
    let counters = ["cpuacct.usage", "memory.max_usage_in_bytes", "memory.oom_control"];
    let unified = ["cpu.stat", "memory.events", "memory.peak"];
    kinds.retain(|kind| !counters.contains(&kind.as_str()) && !unified.contains(&kind.as_str()));
    assert_eq!(kinds, [exit.as_str(), "lock", "null", "null", "null"]);
    let cgroup = fs::read_to_string(format!("/proc/{monitor}/cgroup")).unwrap();
    for line in
        cgroup.lines().filter(|line| line.contains("name=systemd") || line.starts_with("0:"))
    {
        assert!(line.ends_with(&format!("/{}/monitors", cgroup_parent())), "{cgroup}");
    }
    // The supervisor's library reads the figures of the containers that are below, too.
    for directory in hierarchies().iter().map(|each| each.join(cgroup_parent())) {
        if directory.join("monitors").exists() {
            let mode = fs::metadata(&directory).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o755, "{directory:?}");
        }
    }
    support::container::signal(monitor, Signal::SIGKILL);
    eventually("the monitor ends", || !is_running(monitor));
    assert!(is_running(worker.init(&host)), "a container survives its monitor");
}
