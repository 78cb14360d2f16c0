//! Sudden ends: the processes of a launch and of a removal are killed before each system call.
//!
//! Each test takes one command and, for each of its processes, kills it before its first system
//! call, before its second, and so on until it ends by itself. After each kill one sweep, and then
//! nothing may be left that was not there before: no file, mount, loop device, cgroup, state of
//! runc's or lock; and a container that runs beside it all the time is as it was.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests set scenes and read what they made by path, in their own mount namespace"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use support::container::{Worker, eventually, is_running, loops, mounts, signal};
use support::image::Image;
use support::kill_points::{self, Act, Descent, Shot, Traced};
use support::{Host, SUPERVISOR, USER};

const STAY: &str = "exec sleep 1000";

/// A host with one container that stays.
struct Scene {
    host: Host,
    bystander: Worker,
    /// The bystander's layer and one more.
    image: Image,
    /// All that is there while only the bystander runs.
    before: BTreeSet<String>,
}

impl Scene {
    fn new() -> Self {
        let host = Host::new();
        let base = Image::busybox(&host);
        let bystander = Worker::new(&host, &base, STAY);
        bystander.launch(&host).expect_success();
        let image =
            base.with_layer(&host, "top", |root| fs::write(root.join("top"), "top").unwrap());
        let mut scene = Self { host, bystander, image, before: BTreeSet::new() };
        scene.before = scene.present();
        scene
    }

    /// With the layers mounted by a launch before.
    fn with_all_layers() -> Self {
        let mut scene = Self::new();
        scene.ended_worker().reap(&scene.host, 100).expect_success();
        scene.before = scene.present();
        scene
    }

    /// Files of the run root, mounts and loop devices.
    fn present(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        list(&self.host.run_root(), &mut found);
        found.extend(mounts(&self.host).into_iter().map(|point| format!("mount {point}")));
        found.insert(format!("{} loop devices", loops(self.image.layers())));
        found
    }

    fn worker(&self) -> Worker {
        Worker::new(&self.host, &self.image, STAY)
    }

    /// A worker whose container has ended.
    fn ended_worker(&self) -> Worker {
        let worker = self.worker();
        worker.launch(&self.host).expect_success();
        worker.kill(&self.host);
        let monitor = worker.monitor(&self.host);
        eventually("the monitor ends", || !is_running(monitor));
        worker
    }

    fn sweep(&self) {
        let root = self.host.storm().join("workers");
        self.host
            .call(&[SUPERVISOR.name, "sweep-oci-containers", root.to_str().unwrap()])
            .expect_success();
    }

    /// Unmounts all layers but the bystander's.
    fn unmount_layers(&self) {
        let nobody = "6700-00000000-0000-4000-8000-000000000000";
        self.host.call(&[USER.name, "reap-oci-container", nobody, "0"]).expect_success();
    }

    /// Runs the launcher to the end of all its processes, and of the container's.
    fn trace(&self, arguments: &[String], shot: Option<&Shot<'_>>, worker: &Worker) -> Traced {
        let command = self.host.command_of_root(arguments);
        let traced = kill_points::run(command, SUPERVISOR, shot, || self.end(worker));
        self.end(worker);
        // runc's children have the lock for a moment longer than a runc that was killed.
        eventually("the lock is free", || is_unlocked(&self.host, worker));
        traced
    }

    /// Ends a container whose launch is complete, after a sweep that leaves it alone.
    fn end(&self, worker: &Worker) -> bool {
        let started = is_started(&self.host, worker);
        if started && is_running(worker.init(&self.host)) {
            let init = worker.init(&self.host);
            self.sweep();
            assert!(is_running(init), "a live container was swept up");
            signal(init, Signal::SIGKILL);
            eventually("the container ends", || !is_running(init));
        }
        started
    }

    #[track_caller]
    fn only_layers_are_left(&self, worker: &Worker, shot: &Shot<'_>, hit: &str) {
        // A layer stays mounted, or nothing of it stays.
        let layers = fs::read_dir(self.host.run_root().join("layers")).unwrap().count();
        assert_eq!(layers, mounts(&self.host).len() + 1, "{shot:?}, call {hit}");
        self.unmount_layers();
        self.nothing_is_left(worker, shot, hit);
    }

    #[track_caller]
    fn nothing_is_left(&self, worker: &Worker, shot: &Shot<'_>, hit: &str) {
        let traces = worker.traces(&self.host);
        assert_eq!(traces, support::container::NOTHING, "{shot:?}, call {hit}");
        eventually("loop devices are gone", || {
            self.before.contains(&format!("{} loop devices", loops(self.image.layers())))
        });
        let now = self.present();
        let (gone, new): (Vec<_>, Vec<_>) =
            now.symmetric_difference(&self.before).partition(|name| self.before.contains(*name));
        assert!(gone.is_empty() && new.is_empty(), "{shot:?}, call {hit}: new {new:?}, {gone:?}");
        for place in ["", "layers/lock"] {
            let file = fs::File::open(self.host.run_root().join(place)).unwrap();
            assert!(file.try_lock().is_ok(), "{shot:?}, call {hit}: a lock is held");
        }
        for process in [self.bystander.init(&self.host), self.bystander.monitor(&self.host)] {
            assert!(is_running(process), "{shot:?}, call {hit}: the bystander was hit");
        }
    }
}

fn list(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        found.insert(entry.path().display().to_string());
        // What is on a layer's mount point is the layer's.
        if entry.file_type().unwrap().is_dir() && entry.file_name() != "mnt" {
            list(&entry.path(), found);
        }
    }
}

/// Whether the record says that the launch is complete.
fn is_started(host: &Host, worker: &Worker) -> bool {
    fs::read_to_string(worker.record_path(host, "json"))
        .is_ok_and(|text| text.contains(r#""state":"started""#))
}

fn is_unlocked(host: &Host, worker: &Worker) -> bool {
    let path = host.run_root().join(&worker.container).join("lock");
    fs::File::open(path).map_or(true, |lock| lock.try_lock().is_ok())
}

/// Kills each process of a command before each of its calls. `prepare` makes a worker to use the
/// command on, `check` looks at what is left after a kill and a sweep.
fn try_every_call(
    name: &str,
    scene: &Scene,
    act: Act<'_>,
    prepare: impl Fn() -> Worker,
    arguments: impl Fn(&Worker) -> Vec<String>,
    check: impl Fn(&Worker, &Shot<'_>, &str),
) {
    let worker = prepare();
    let whole = scene.trace(&arguments(&worker), None, &worker);
    assert!(whole.success, "{whole:?}");
    scene.sweep();
    drop(worker);
    let mut points: BTreeMap<Descent, usize> = BTreeMap::new();
    for victim in whole.calls.keys() {
        for call in 1.. {
            let shot = Shot { victim: victim.clone(), call, act };
            let worker = prepare();
            let traced = scene.trace(&arguments(&worker), Some(&shot), &worker);
            scene.sweep();
            let hit = traced.hit.clone().unwrap_or_default();
            check(&worker, &shot, &hit);
            if traced.hit.is_none() {
                break;
            }
            points.insert(victim.clone(), call);
        }
    }
    report(name, &points);
    for (victim, calls) in &whole.calls {
        let tried = points[victim];
        assert!(tried * 10 >= calls * 9, "{victim:?}: {tried} kill points of {calls} calls");
    }
}

/// Tells how many kills there were, on the standard output and in a file.
fn report(name: &str, points: &BTreeMap<Descent, usize>) {
    let mut text = format!("{name}: {} kill points", points.values().sum::<usize>());
    for (victim, count) in points {
        write!(text, ", process {victim:?} {count}").unwrap();
    }
    println!("{text}");
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("kill-points");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(name), text + "\n").unwrap();
}

#[test]
fn a_launch_killed_before_each_call_leaves_nothing() {
    let scene = Scene::with_all_layers();
    try_every_call(
        "launch",
        &scene,
        Act::Kill,
        || scene.worker(),
        Worker::launch_arguments,
        |worker, shot, hit| scene.nothing_is_left(worker, shot, hit),
    );
}

/// With a layer to mount, and everything killed at once: nobody undoes anything but the sweep.
#[test]
fn a_launch_killed_as_a_whole_before_each_call_leaves_nothing() {
    let scene = Scene::new();
    try_every_call(
        "launch-with-a-new-layer-killed-as-a-whole",
        &scene,
        Act::KillAll,
        || scene.worker(),
        Worker::launch_arguments,
        |worker, shot, hit| scene.only_layers_are_left(worker, shot, hit),
    );
}

#[test]
fn a_reap_killed_before_each_call_leaves_nothing() {
    let scene = Scene::with_all_layers();
    try_every_call(
        "reap",
        &scene,
        Act::Kill,
        || scene.ended_worker(),
        |worker| reap_arguments(worker, 100),
        |worker, shot, hit| scene.nothing_is_left(worker, shot, hit),
    );
}

#[test]
fn a_reap_that_unmounts_layers_killed_before_each_call_leaves_nothing() {
    let scene = Scene::new();
    try_every_call(
        "reap-with-layers-to-unmount",
        &scene,
        Act::KillAll,
        || scene.ended_worker(),
        |worker| reap_arguments(worker, 0),
        |worker, shot, hit| scene.only_layers_are_left(worker, shot, hit),
    );
}

/// Whoever waits for a lock, or gets it after another had it, knows nothing of what it protects.
/// Here a launch completes, and its monitor is killed, at every moment of a sweep's second half.
#[test]
fn a_sweep_reads_the_record_again_once_it_has_the_lock() {
    let scene = Scene::new();
    let (host, worker) = (&scene.host, &scene.bystander);
    let monitor = worker.monitor(host);
    signal(monitor, Signal::SIGKILL);
    eventually("the monitor ends", || !is_running(monitor));
    let path = worker.record_path(host, "json");
    let complete = fs::read_to_string(&path).unwrap();
    let begun = complete.replace(r#""state":"started""#, r#""state":"launching""#);
    assert_ne!(begun, complete);
    let root = host.storm().join("workers");
    let arguments = [SUPERVISOR.name, "sweep-oci-containers", root.to_str().unwrap()];
    let whole = kill_points::run(host.command_of_root(&arguments), SUPERVISOR, None, || false);
    // Before its half it finds out who called, and what its configuration is.
    for call in whole.calls[&Vec::new()] / 2.. {
        let lock = fs::File::open(host.run_root().join(&worker.container).join("lock")).unwrap();
        lock.lock().unwrap();
        let lock = std::cell::RefCell::new(Some(lock));
        fs::write(&path, &begun).unwrap();
        let finish = || {
            fs::write(&path, &complete).unwrap();
            lock.replace(None);
        };
        let shot = Shot { victim: Vec::new(), call, act: Act::Do(&finish) };
        let command = host.command_of_root(&arguments);
        let swept = kill_points::run(command, SUPERVISOR, Some(&shot), || false);
        assert!(swept.success, "{shot:?}");
        assert!(is_running(worker.init(host)), "{shot:?}: a live container was swept up");
        if swept.hit.is_none() {
            break;
        }
    }
}

/// A lock that somebody inherits is not free when its owner dies. runc gets the container's, so
/// that a free one means that no runc works either.
#[test]
fn runc_gets_the_containers_lock_and_no_other() {
    let scene = Scene::new();
    let worker = scene.worker();
    let launched = scene.trace(&worker.launch_arguments(), None, &worker);
    let own = scene.host.run_root().join(&worker.container).join("lock");
    assert_eq!(launched.passed_on, [[own.display().to_string()]]);
    let reaped = scene.trace(&reap_arguments(&worker, 0), None, &worker);
    assert!(reaped.passed_on.iter().flatten().next().is_none(), "{reaped:?}");
    assert!(launched.success && reaped.success);
}

fn reap_arguments(worker: &Worker, keep: u32) -> Vec<String> {
    [USER.name, "reap-oci-container", &worker.container, &keep.to_string()]
        .map(str::to_owned)
        .to_vec()
}
