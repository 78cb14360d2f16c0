//! `reap-oci-container` and `sweep-oci-containers`: nothing is left, whatever was killed when.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes and read what they made by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use support::container::{Worker, eventually, is_running, loops, mounts, signal};
use support::image::Image;
use support::{Host, OTHER_SUPERVISOR, SUPERVISOR, USER, outcome};

const STAY: &str = "exec sleep 1000";

#[track_caller]
fn nothing_is_left(host: &Host, worker: &Worker) {
    assert_eq!(worker.traces(host), support::container::NOTHING);
}

fn sweep(host: &Host) -> support::Outcome {
    let root = host.storm().join("workers");
    host.call(&[SUPERVISOR.name, "sweep-oci-containers", root.to_str().unwrap()])
}

#[test]
fn a_reaped_container_leaves_nothing_and_may_be_reaped_again() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let worker = Worker::new(&host, &image, STAY);
    worker.launch(&host).expect_success();
    worker.kill(&host);
    let reaped = worker.reap(&host, 100).expect_success();
    assert_eq!((reaped.stdout.as_str(), reaped.stderr.as_str()), ("", ""));
    nothing_is_left(&host, &worker);
    assert_eq!(mounts(&host).len(), 1, "the layer stays");
    worker.reap(&host, 0).expect_success();
    assert!(mounts(&host).is_empty(), "{:?}", mounts(&host));
    eventually("the loop device is gone", || loops(image.layers()) == 0);
    worker.reap(&host, 0).expect_success();
}

#[test]
fn a_running_container_is_not_reaped() {
    let host = Host::new();
    let worker = Worker::new(&host, &Image::busybox(&host), STAY);
    worker.launch(&host).expect_success();
    worker.reap(&host, 0).expect_failure(45, "still running");
    // Nor is one that has lost its monitor.
    signal(worker.monitor(&host), Signal::SIGKILL);
    eventually("the monitor ends", || !is_running(worker.monitor(&host)));
    worker.reap(&host, 0).expect_failure(45, "still running");
    assert_eq!(sweep(&host).expect_success().stderr, "");
    assert!(is_running(worker.init(&host)));
    assert_eq!(mounts(&host).len(), 1, "a layer in use stays");
    worker.kill(&host);
    eventually("the container ends", || !is_running(worker.init(&host)));
    worker.reap(&host, 0).expect_success();
    nothing_is_left(&host, &worker);
}

#[test]
fn only_the_caller_who_launched_it_reaps_a_container() {
    let host = Host::new();
    let worker = Worker::new(&host, &Image::busybox(&host), "");
    worker.launch(&host).expect_success();
    worker.exit_record(&host);
    let arguments = [USER.name, "reap-oci-container", &worker.container, "0"];
    outcome::run(host.command_as(OTHER_SUPERVISOR, &arguments))
        .expect_failure(45, "it belongs to uid");
    let root = host.storm().join("workers");
    let arguments = [OTHER_SUPERVISOR.name, "sweep-oci-containers", root.to_str().unwrap()];
    let swept = outcome::run(host.command_as(OTHER_SUPERVISOR, &arguments)).expect_success();
    assert_eq!(swept.stderr, "");
    let elsewhere = host.storm().join("other-workers");
    host.call(&[SUPERVISOR.name, "sweep-oci-containers", elsewhere.to_str().unwrap()])
        .expect_success();
    assert!(worker.record_path(&host, "json").exists());
    let swept = sweep(&host).expect_success();
    assert_eq!(
        swept.stderr,
        format!("worker-launcher: removed what was left of {}\n", worker.container)
    );
    nothing_is_left(&host, &worker);
}

#[test]
fn the_longest_unused_layers_go_first() {
    let host = Host::new();
    let base = Image::busybox(&host);
    let with = |name: &str| {
        let mut image = Image::busybox(&host);
        image = image.with_layer(&host, name, |root| fs::write(root.join("x"), "").unwrap());
        image
    };
    let [first, second] = ["first", "second"].map(with);
    let workers = [&first, &second, &base].map(|image| Worker::new(&host, image, STAY));
    for worker in &workers {
        worker.launch(&host).expect_success();
    }
    assert_eq!(mounts(&host).len(), 5);
    let [one, two, three] = &workers;
    one.kill(&host);
    one.reap(&host, 4).expect_success();
    assert_eq!(mounts(&host).len(), 4);
    eventually("one of the first has gone", || loops(first.layers()) == 1);
    assert_eq!(loops(second.layers()), 2);
    two.kill(&host);
    two.reap(&host, 2).expect_success();
    assert_eq!(mounts(&host).len(), 2);
    eventually("all of the first have gone", || loops(first.layers()) == 0);
    assert_eq!(loops(second.layers()), 1);
    // What the third has is in use, however few may stay.
    two.reap(&host, 0).expect_success();
    assert_eq!(mounts(&host).len(), 1);
    assert!(is_running(three.init(&host)));
    three.kill(&host);
    three.reap(&host, 1).expect_success();
    assert_eq!(mounts(&host).len(), 1);
    three.reap(&host, 0).expect_success();
    assert_eq!(fs::read_dir(host.run_root().join("layers")).unwrap().count(), 1, "the lock");
}

#[test]
fn a_layer_unmounted_on_the_host_stays_in_the_container() {
    let host = Host::new();
    let worker = Worker::new(
        &host,
        &Image::busybox(&host),
        "while test ! -e /tmp/go; do sleep 0.01; done; cat /etc/os-release; echo .",
    );
    worker.launch(&host).expect_success();
    for point in mounts(&host) {
        nix::mount::umount(point.as_str()).unwrap();
    }
    fs::write(worker.directory.join("tmp/go"), "").unwrap();
    assert_eq!(worker.stdout(), "ID=soci\n.\n");
}

/// The supervisor's user may stop its monitor; that must not keep the container from being
/// removed for longer than the monitor may take.
#[test]
fn a_stopped_monitor_holds_nothing_up() {
    let host = Host::new();
    let worker = Worker::new(&host, &Image::busybox(&host), STAY);
    worker.launch(&host).expect_success();
    signal(worker.monitor(&host), Signal::SIGSTOP);
    worker.kill(&host);
    eventually("the container ends", || !is_running(worker.init(&host)));
    worker.reap(&host, 100).expect_success();
    nothing_is_left(&host, &worker);
}

#[test]
fn reaping_one_container_twice_at_once_is_fine() {
    let host = Host::new();
    let image = Image::busybox(&host);
    for _ in 0..5 {
        let worker = Worker::new(&host, &image, STAY);
        worker.launch(&host).expect_success();
        worker.kill(&host);
        let arguments = [USER.name, "reap-oci-container", &worker.container, "100"];
        let both: Vec<Child> = (0..2)
            .map(|_| host.command(&arguments).stdin(Stdio::null()).spawn().unwrap())
            .collect();
        for mut child in both {
            assert_eq!(child.wait().unwrap().code(), Some(0));
        }
        nothing_is_left(&host, &worker);
    }
}

/// The processes of a launch: the launcher and all below it, in the order they were found.
fn descendants(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let children = format!("/proc/{parent}/task/{parent}/children");
        let children = fs::read_to_string(children).unwrap_or_default();
        found.extend(children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
        next += 1;
    }
    found
}

/// Which processes of a launch are killed.
#[derive(Clone, Copy, Debug)]
enum Victims {
    /// The process the caller waits for.
    First,
    /// The monitor.
    Monitor,
    /// The process that runs runc, and all below it.
    Launching,
    /// All of them.
    All,
}

fn kill_some(root: u32, victims: Victims) {
    let all = descendants(root);
    let chosen: &[u32] = match victims {
        Victims::First => &all[..1],
        Victims::Monitor => all.get(1..2).unwrap_or_default(),
        Victims::Launching => all.get(2..).unwrap_or_default(),
        Victims::All => &all,
    };
    for pid in chosen.iter().rev() {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(*pid).unwrap());
        let _gone = nix::sys::signal::kill(pid, Signal::SIGKILL);
    }
}

#[test]
fn whatever_is_killed_when_the_sweep_removes_what_is_left() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let mut interrupted = 0;
    let mut workers = Vec::new();
    for step in 0..15 {
        for victims in [Victims::First, Victims::Monitor, Victims::Launching, Victims::All] {
            let worker = Worker::new(&host, &image, STAY);
            let mut child = host
                .command(&worker.launch_arguments())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(3 * step));
            kill_some(child.id(), victims);
            let success = child.wait().unwrap().success();
            // Whoever is left finishes or undoes: the record is complete or gone, or nobody holds
            // the lock any more.
            eventually("the launch has settled", || {
                worker.traces(&host).is_empty()
                    || is_started(&host, &worker)
                    || is_unlocked(&host, &worker)
            });
            if is_started(&host, &worker) {
                let init = worker.init(&host);
                if is_running(init) {
                    signal(init, Signal::SIGKILL);
                }
                eventually("the container ends", || !is_running(init));
                eventually("its monitor ends", || is_unlocked(&host, &worker));
            } else {
                assert!(!success, "{victims:?} after {step}: success without a container");
            }
            interrupted += u32::from(!success);
            sweep(&host).expect_success();
            nothing_is_left(&host, &worker);
            workers.push(worker);
        }
    }
    // Nor does anything appear later.
    std::thread::sleep(Duration::from_millis(100));
    for worker in &workers {
        nothing_is_left(&host, worker);
    }
    assert!(interrupted > 20, "only {interrupted} launches were interrupted");
    assert!(mounts(&host).len() <= 1);
}

/// Whether the record says that the launch is complete.
fn is_started(host: &Host, worker: &Worker) -> bool {
    fs::read(worker.record_path(host, "json"))
        .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(r#""state":"started""#))
}

fn is_unlocked(host: &Host, worker: &Worker) -> bool {
    let path = host.run_root().join(&worker.container).join("lock");
    let Ok(file) = fs::File::open(path) else {
        return true;
    };
    file.try_lock().is_ok()
}

#[test]
fn the_next_launch_removes_what_an_interrupted_one_left() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let mut repeated = 0;
    for delay in [2, 4, 6, 8, 12, 16, 20, 25, 30, 40] {
        let worker = Worker::new(&host, &image, STAY);
        let mut child = host.command(&worker.launch_arguments()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        kill_some(child.id(), Victims::All);
        let _ended = child.wait().unwrap();
        eventually("the launch has settled", || {
            is_started(&host, &worker) || is_unlocked(&host, &worker)
        });
        worker.write_request();
        let again = worker.launch(&host);
        if again.code == Some(0) {
            repeated += 1;
            worker.kill(&host);
            worker.exit_record(&host);
            worker.reap(&host, 100).expect_success();
        } else {
            // The first was complete, and its container outlived all that was killed.
            again.expect_failure(51, &worker.container);
            assert!(is_running(worker.init(&host)));
        }
    }
    assert!(repeated > 0, "no launch was repeated");
}

#[test]
fn many_containers_start_and_end_at_once() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let workers: Vec<Worker> = (0..8).map(|_| Worker::new(&host, &image, STAY)).collect();
    let start =
        |arguments: Vec<String>| host.command(&arguments).stdin(Stdio::null()).spawn().unwrap();
    let launches: Vec<Child> = workers.iter().map(|w| start(w.launch_arguments())).collect();
    for mut child in launches {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(mounts(&host).len(), 1);
    for worker in &workers {
        worker.kill(&host);
    }
    let reap = |worker: &Worker| {
        let arguments = [USER.name, "reap-oci-container", &worker.container, "0"];
        start(arguments.map(str::to_owned).to_vec())
    };
    let reaps: Vec<Child> = workers.iter().map(reap).collect();
    for mut child in reaps {
        assert!(child.wait().unwrap().success());
    }
    for worker in &workers {
        nothing_is_left(&host, worker);
    }
    assert!(mounts(&host).is_empty(), "{:?}", mounts(&host));
}
