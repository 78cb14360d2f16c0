//! The launcher's init: the first process of a container whose request wants one.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes and read what they made by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::container::{Worker, signal};
use support::image::Image;
use support::{Host, USER, outcome};

/// Where these tests install it.
const INIT: &str = "/mnt/bin/storm-oci-init";

/// Its largest size in bytes.
const MAX_BYTES: u64 = 3 << 19;

/// The program to test: what `make init` built beside this build, unless `INIT_UNDER_TEST` names
/// another.
fn program_under_test() -> PathBuf {
    let built = || {
        let launcher = Path::new(env!("CARGO_BIN_EXE_worker-launcher"));
        launcher.ancestors().nth(2).unwrap().join("launcher/storm-oci-init")
    };
    let program = std::env::var_os("INIT_UNDER_TEST").map_or_else(built, PathBuf::from);
    assert!(program.exists(), "{program:?} is missing: run `make init`");
    program
}

/// A host with the init installed.
fn host() -> Host {
    let host = Host::new();
    let mut command = Command::new("install");
    command.args(["-o", "root", "-m", "755"]).args([&program_under_test(), Path::new(INIT)]);
    outcome::run(command).expect_success();
    host.configure(&format!("worker.launcher.oci.init={INIT}"));
    host
}

/// A worker whose request wants the init.
fn worker(host: &Host, script: &str) -> Worker {
    let mut worker = Worker::new(host, &Image::busybox(host), script);
    worker.amend(|request| request["init"] = json!(true));
    worker
}

/// The container's error output.
fn errors(worker: &Worker) -> String {
    fs::read_to_string(worker.artifacts.join(format!("runc-{}.err", worker.container))).unwrap()
}

#[test]
fn it_is_static_and_small() {
    let program = program_under_test();
    let size = fs::metadata(&program).unwrap().len();
    assert!(size <= MAX_BYTES, "{size} bytes");
    let headers = Command::new("readelf").arg("-lW").arg(&program).output().unwrap();
    let headers = String::from_utf8(headers.stdout).unwrap();
    assert!(headers.contains("LOAD"), "{headers}");
    assert!(!headers.contains("INTERP"), "{headers}");
}

#[test]
fn it_is_the_first_process_and_nobody_can_write_it() {
    let host = host();
    let script = "readlink /proc/1/exe; id -u; grep -E '^Uid|CapEff' /proc/1/status; \
                  grep storm-oci-init /proc/self/mountinfo; echo x > /dev/storm-oci-init; echo .";
    let worker = worker(&host, script);
    worker.launch(&host).expect_success();
    assert_eq!(worker.exit_record(&host)["exitCode"], 0);
    let output = worker.stdout();
    let lines: Vec<&str> = output.lines().collect();
    let &[program, uid, uids, capabilities, mount, "."] = lines.as_slice() else {
        panic!("{output}")
    };
    assert_eq!((program, uid), ("/dev/storm-oci-init", "64110"));
    assert_eq!(uids, format!("Uid:\t{0}\t{0}\t{0}\t{0}", USER.uid));
    assert_eq!(capabilities, "CapEff:\t0000000000000000");
    let options = mount.split(' ').nth(5).unwrap();
    for option in ["ro", "nosuid", "nodev"] {
        assert!(options.split(',').any(|one| one == option), "{mount}");
    }
    assert!(errors(&worker).contains("/dev/storm-oci-init: Read-only file system"));
}

#[test]
fn without_it_the_program_is_the_first_process() {
    let host = host();
    let mut worker = worker(&host, "echo $$; ls /dev; echo .");
    worker.amend(|request| request["init"] = json!(false));
    worker.launch(&host).expect_success();
    let output = worker.stdout();
    assert!(output.starts_with("1\n"), "{output}");
    assert!(!output.contains("storm-oci-init"), "{output}");
}

#[test]
fn it_ends_as_the_program_did() {
    let host = host();
    for (script, code, told) in [
        ("exit 7", 7, ""),
        ("kill -SEGV $$", 139, "the worker's command was ended by signal 11"),
        ("kill -KILL $$", 137, "the worker's command was ended by signal 9"),
    ] {
        let worker = worker(&host, script);
        worker.launch(&host).expect_success();
        let exit = worker.exit_record(&host);
        assert_eq!((&exit["exitCode"], &exit["signal"]), (&json!(code), &Value::Null), "{script}");
        assert!(errors(&worker).contains(told), "{script}");
    }
}

/// As Storm's log writer, which ends at once when it is told to, and by itself after its worker.
const LOG_WRITER: &str = "case $1 in
  '') exec sh $0 org.apache.storm.LogWriter;;
  worker) trap 'sleep 1; echo hook; exit 3' TERM; echo up; while :; do sleep 0.1; done;;
  *) sh $0 worker & wait $!; code=$?; echo last words; echo .; exit $code;;
esac";

/// Tells the container of a log writer and its worker to end, and gives what it wrote.
fn told_to_end(init: bool) -> (Value, String) {
    let host = host();
    let mut worker = worker(&host, LOG_WRITER);
    worker.amend(|request| request["init"] = json!(init));
    worker.launch(&host).expect_success();
    let output = format!("runc-{}.out", worker.container);
    assert_eq!(worker.output(&output), "up\n");
    signal(worker.init(&host), Signal::SIGTERM);
    let exit = worker.exit_record(&host);
    (exit["exitCode"].clone(), worker.output(&output))
}

#[test]
fn a_worker_finishes_its_hooks_and_the_log_writer_its_log() {
    assert_eq!(told_to_end(true), (json!(3), "up\nhook\nlast words\n.\n".to_owned()));
}

#[test]
fn other_signals_reach_every_process() {
    let host = host();
    let script = "trap 'echo outer' USR1; \
                  sh -c 'trap \"echo inner; exit\" USR1; echo up; while :; do sleep 0.1; done' & \
                  wait; wait; echo .";
    let worker = worker(&host, script);
    worker.launch(&host).expect_success();
    worker.output(&format!("runc-{}.out", worker.container));
    signal(worker.init(&host), Signal::SIGUSR1);
    let output = worker.stdout();
    for line in ["outer", "inner"] {
        assert_eq!(output.lines().filter(|found| *found == line).count(), 1, "{output}");
    }
}

#[test]
fn orphans_are_reaped() {
    let host = host();
    let script = "for i in 1 2 3 4 5 6 7 8; do sh -c 'sh -c \"sleep 0.1\" & exit'; done; sleep 1; \
                  cat /proc/[0-9]*/stat | grep -c ' Z '; echo .";
    let worker = worker(&host, script);
    worker.launch(&host).expect_success();
    assert_eq!(worker.stdout(), "0\n.\n");
}

#[test]
fn what_the_program_leaves_behind_is_told_to_end_and_then_ended() {
    let host = host();
    let polite = "trap 'echo polite; echo .; exit' TERM; echo up; while :; do sleep 0.1; done";
    let script = format!("sh -c \"{polite}\" & while ! [ -s /proc/1/fd/1 ]; do :; done; exit 4");
    let ready = worker(&host, &script);
    let stubborn = worker(&host, "sh -c \"trap '' TERM; sleep 1000\" & sleep 1; exit 5");
    stubborn.launch(&host).expect_success();
    ready.launch(&host).expect_success();
    assert_eq!(ready.exit_record(&host)["exitCode"], 4);
    assert_eq!(ready.stdout(), "up\npolite\n.\n");
    assert_eq!(stubborn.exit_record(&host)["exitCode"], 5);
    let told = errors(&stubborn);
    assert!(told.contains("what the worker's command left behind runs on after 10s"), "{told}");
}

#[test]
fn it_must_be_roots_all_the_way_and_be_there() {
    let host = host();
    let worker = worker(&host, "");
    let refused = |fragment: &str| {
        worker.launch(&host).expect_failure(24, fragment);
        assert_eq!(worker.traces(&host), support::container::NOTHING);
    };
    chown(INIT, Some(USER.uid), None).unwrap();
    refused("owned by uid 64110, must be root's");
    chown(INIT, Some(0), None).unwrap();
    for mode in [0o775, 0o757] {
        fs::set_permissions(INIT, fs::Permissions::from_mode(mode)).unwrap();
        refused("lets group or others write");
    }
    fs::set_permissions(INIT, fs::Permissions::from_mode(0o644)).unwrap();
    refused("not a program that root can execute");
    fs::remove_file(INIT).unwrap();
    refused("No such file");
    host.configure("");
    refused("`worker.launcher.oci.init`: it is not set");
}

#[test]
fn it_runs_nowhere_but_as_a_namespaces_first_process() {
    let outcome = Command::new(program_under_test()).arg("true").output().unwrap();
    assert_eq!(outcome.status.code(), Some(125));
    let told = String::from_utf8(outcome.stderr).unwrap();
    assert!(told.contains("it is not the first process of `/proc`'s pid namespace"), "{told}");
}
