//! `profile-oci-container` against a hostile supervisor, topology user and image author.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;
use support::container::{Worker, cgroup_parent, eventually, hierarchies};
use support::image::Image;
use support::outcome::run;
use support::profiler::{self, PROFILER};
use support::race::race;
use support::{GROUP_ID, Host, OTHER_SUPERVISOR, OTHER_USER, SUPERVISOR, USER};

/// Stays until it is killed.
const STAY: &str = "echo up.; exec sleep 1000";

/// A container, and a profiler that leaves a file in its directory when it runs, also outside.
fn scene(script: &str) -> (Host, Worker) {
    let host = Host::new();
    let worker = Worker::new(&host, &Image::busybox(&host), script);
    let own = worker.directory.display();
    profiler::install(&host, &format!("echo $1 $2 $3 >> {own}/tmp/profiled"));
    worker.launch(&host).expect_success();
    worker.stdout();
    (host, worker)
}

fn profiled(worker: &Worker) -> bool {
    fs::remove_file(worker.directory.join("tmp/profiled")).is_ok()
}

/// Changes the container's record as nobody but root could.
fn change_record(host: &Host, worker: &Worker, change: impl FnOnce(&mut Value)) {
    let mut record = worker.record(host);
    change(&mut record);
    fs::write(worker.record_path(host, "json"), record.to_string()).unwrap();
}

#[test]
fn only_the_caller_who_launched_it_profiles_a_container() {
    let (host, worker) = scene(STAY);
    let file = profiler::write(&host, &worker, " 1 start");
    let arguments = profiler::arguments(&host, &worker, &file);
    chown(&file, Some(OTHER_SUPERVISOR.uid), None).unwrap();
    run(host.command_as(OTHER_SUPERVISOR, &arguments))
        .expect_failure(57, "it belongs to the supervisor of uid 64101");
    let (public, mut others) = (host.storm().join("profile.sh"), arguments.clone());
    host.file(&public, Some(SUPERVISOR), 0o644, " 1 start");
    others[0] = OTHER_USER.name.to_owned();
    others[3] = public.to_str().unwrap().to_owned();
    host.call(&others).expect_failure(57, "it runs as `soci-user`");
    assert!(!profiled(&worker));
    profiler::call(&host, &worker, " 1 start").expect_success();
    assert!(profiled(&worker));
}

/// A process of the test's own, ended when dropped.
struct Victim(Child);

impl Victim {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).process_group(0).uid(USER.uid).gid(USER.gid);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

#[test]
fn only_the_first_process_of_a_container_is_a_target() {
    let (host, worker) = scene("sleep 1000 & echo up.; wait");
    let file = profiler::write(&host, &worker, " 1 start");
    let mut arguments = profiler::arguments(&host, &worker, &file);
    let victim = Victim::start("/bin/sleep", &["1000"]);
    let init = worker.init(&host);
    let own: Vec<u32> = worker
        .cgroups()
        .iter()
        .flat_map(|cgroup| {
            let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
            text.lines().map(|line| line.parse().unwrap()).collect::<Vec<u32>>()
        })
        .filter(|pid| *pid != init)
        .take(1)
        .collect();
    assert_eq!(own.len(), 1, "the container has another process");
    let monitor = worker.monitor(&host);
    for pid in [victim.0.id(), own[0], monitor, 0] {
        arguments[2] = pid.to_string();
        host.call(&arguments).expect_failure(57, "not the first process of a container");
    }
    for none in ["-1", "2147483646"] {
        arguments[2] = none.to_owned();
        host.call(&arguments).expect_failure(57, "not the first process of a container");
    }
    arguments[2] = init.to_string();
    change_record(&host, &worker, |record| record["init"]["startTime"] = 1.into());
    host.call(&arguments).expect_failure(57, "not the first process of a container");
    assert!(!profiled(&worker));
}

/// Even a record that names a process of the host's leads nowhere.
#[test]
fn a_process_outside_of_containers_is_never_profiled() {
    let (host, worker) = scene(STAY);
    let victim = Victim::start("/bin/sleep", &["1000"]);
    let pid = victim.0.id();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let start: u64 =
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
    let file = profiler::write(&host, &worker, " 1 start");
    let mut arguments = profiler::arguments(&host, &worker, &file);
    arguments[2] = pid.to_string();
    change_record(&host, &worker, |record| {
        record["init"]["pid"] = pid.into();
        record["init"]["startTime"] = start.into();
    });
    host.call(&arguments).expect_failure(57, "it is not in the container's cgroup");
    for hierarchy in hierarchies() {
        let own = hierarchy.join(cgroup_parent()).join(&worker.container).join("cgroup.procs");
        if own.exists() {
            fs::write(own, pid.to_string()).unwrap();
        }
    }
    host.call(&arguments).expect_failure(57, "in a namespace of the host's");
    assert!(!profiled(&worker));
}

/// A first process that made itself a user namespace could show the launcher any mounts.
#[test]
fn a_container_that_made_a_user_namespace_is_refused() {
    // Not before its launch is over: the launcher refuses what has more rights than it was given.
    let launched = "until [ -s artifacts/container-*.pid ]; do sleep 0.01; done";
    let script = format!("echo up.; {launched}; exec busybox unshare -U -m sleep 1000");
    let (host, worker) = scene(&script);
    let init = format!("/proc/{}", worker.init(&host));
    let own = fs::read_link("/proc/self/ns/user").unwrap();
    eventually("it has a user namespace", || {
        fs::read_link(format!("{init}/ns/user")).is_ok_and(|theirs| theirs != own)
    });
    profiler::call(&host, &worker, " 1 start").expect_failure(57, "made a user namespace");
    assert!(!profiled(&worker));
}

/// CVE-2019-11328: files where the user can write must not steer what root does.
#[test]
fn a_command_that_the_user_exchanged_is_refused() {
    let (host, worker) = scene(STAY);
    let file = profiler::write(&host, &worker, " 1 start");
    let arguments = profiler::arguments(&host, &worker, &file);
    let good = host.storm().join("good");
    host.file(&good, Some(SUPERVISOR), 0o644, " 1 start");
    let refused = |code: i32, why: &str| {
        host.call(&arguments).expect_failure(code, why);
        fs::remove_file(&file).or_else(|_| fs::remove_dir(&file)).unwrap();
    };
    fs::remove_file(&file).unwrap();
    symlink(&good, &file).unwrap();
    refused(30, "symbolic links");
    fs::hard_link(&good, &file).unwrap();
    refused(30, "2 links");
    host.file(&file, Some(USER), 0o644, " 1 start");
    refused(30, "owned by uid 64110");
    host.file(&file, Some(SUPERVISOR), 0o646, " 1 start");
    refused(30, "not writable by others");
    // What the user may not read, the launcher does not read for him.
    host.file(&file, Some(SUPERVISOR), 0o600, " 1 start");
    refused(30, "Permission denied");
    mkfifo(&file, Mode::from_bits_truncate(0o644)).unwrap();
    chown(&file, Some(SUPERVISOR.uid), None).unwrap();
    refused(30, "not a regular file");
    host.directory(&file, Some(SUPERVISOR), 0o755);
    refused(30, "not a regular file");
    fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    chown(&file, Some(SUPERVISOR.uid), None).unwrap();
    refused(31, "larger than 8192 bytes");
    for line in ["", " 1 start; id", " 1 $(id) /tmp", "x", " 1 start\n 1 start", " 0 start"] {
        host.file(&file, Some(SUPERVISOR), 0o644, line);
        refused(31, "not `<pid> <action> [<directory>]`");
    }
    assert!(!profiled(&worker));
}

/// The same, exchanged all the time: it runs with a line of the supervisor's, or not at all.
#[test]
fn a_command_that_is_exchanged_meanwhile_is_the_supervisors_or_refused() {
    let (host, worker) = scene(STAY);
    let file = profiler::write(&host, &worker, " 1 start");
    let arguments = profiler::arguments(&host, &worker, &file);
    let (his, secret) = (file.with_file_name("his"), host.storm().join("secret"));
    host.file(&secret, Some(SUPERVISOR), 0o600, " 1 kill");
    let (mut ran, mut refusals) = (0, 0);
    race(
        || {
            host.file(&his, Some(USER), 0o644, " 1 stop /his");
            fs::rename(&his, &file).unwrap();
            symlink(&secret, &his).unwrap();
            fs::rename(&his, &file).unwrap();
            host.file(&his, Some(SUPERVISOR), 0o644, " 1 start");
            fs::rename(&his, &file).unwrap();
        },
        || match host.call(&arguments).code {
            Some(0) => ran += 1,
            Some(30) => refusals += 1,
            other => panic!("{other:?}"),
        },
    );
    let lines = fs::read_to_string(worker.directory.join("tmp/profiled")).unwrap_or_default();
    assert!(lines.lines().all(|line| line == "1 start"), "{lines}");
    assert_eq!(lines.lines().count(), ran);
    assert!(refusals > 0 && ran > 0, "{ran} ran, {refusals} refused: no race");
}

#[test]
fn a_script_that_others_could_write_is_never_run() {
    let (host, worker) = scene(STAY);
    let call = |code: i32, why: &str| {
        profiler::call(&host, &worker, " 1 start").expect_failure(code, why);
    };
    chown(PROFILER, Some(SUPERVISOR.uid), Some(0)).unwrap();
    call(24, "must be root's");
    chown(PROFILER, Some(0), Some(GROUP_ID)).unwrap();
    let mode = |mode| fs::set_permissions(PROFILER, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o775);
    call(24, "lets group or others write");
    mode(0o644);
    call(24, "not a program that root can execute");
    mode(0o700);
    call(7, "Permission denied");
    mode(0o755);
    symlink(PROFILER, "/mnt/bin/link").unwrap();
    host.configure("worker.profiler.script.path=/mnt/bin/link");
    call(24, "symbolic link");
    host.file("/mnt/home/user/profiler", None, 0o755, "#!/bin/sh\n");
    host.configure("worker.profiler.script.path=/mnt/home/user/profiler");
    call(24, "must be root's");
    host.configure("");
    call(24, "worker.profiler.script.path is not set");
    assert!(!profiled(&worker));
}

/// Whatever the image has for a shell gets the user's rights and nothing of the host's to write.
#[test]
fn a_hostile_shell_gets_nothing() {
    let host = Host::new();
    let image = Image::busybox(&host).with_layer(&host, "shell", |root| {
        let script = "#!/bin/sh\nexec >> /tmp/profiled 2>&1\ncat /proc/self/status\n\
                      ls -l /proc/self/fd\nfor n in 3 4 5 6 7 8 9 10 11 12; do\n\
                      (echo pwned >> /proc/self/fd/$n) && echo wrote $n; \n\
                      ls /proc/self/fd/$n/ && echo listed $n; done\necho .\n";
        fs::create_dir(root.join("bin")).unwrap();
        fs::write(root.join("bin/hostile"), script).unwrap();
        fs::set_permissions(root.join("bin/hostile"), fs::Permissions::from_mode(0o755)).unwrap();
    });
    host.configure(&format!("worker.profiler.script.path={PROFILER}"));
    host.file(PROFILER, None, 0o755, "#!/bin/hostile\n");
    let worker = Worker::new(&host, &image, STAY);
    worker.launch(&host).expect_success();
    worker.stdout();
    profiler::call(&host, &worker, " 1 start").expect_success();
    let said = fs::read_to_string(worker.directory.join("tmp/profiled")).unwrap();
    assert!(said.ends_with(".\n"), "{said}");
    for line in ["Uid:\t64110\t64110\t64110\t64110", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("wrote ") && !said.contains("listed "), "{said}");
    assert_eq!(fs::read_to_string(PROFILER).unwrap(), "#!/bin/hostile\n");
}
