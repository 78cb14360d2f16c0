//! CVE-2019-11328 (Singularity): files in directories that others can write steered the program
//! that runs as root. Here every such file is exchanged while the verbs run that use it, by its
//! owners with their own rights: the topology's user and the supervisor.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use serde_json::{Value, json};
use support::container::{NOTHING, Worker, eventually, is_running};
use support::image::Image;
use support::race::{TRIES, race};
use support::tree::listing;
use support::{Host, OTHER_USER, SUPERVISOR, TestAccount, USER};

/// Launches in the race over a container's files: each is followed by a signal and a reap.
const LAUNCHES: u32 = 120;

/// Gives the thread the file rights of an account and no others.
fn act_as(account: TestAccount) {
    setfsgid(Gid::from_raw(account.gid));
    setfsuid(Uid::from_raw(account.uid));
}

/// A directory of root's with a file that nobody else may touch.
fn victim(host: &Host) -> PathBuf {
    let tree = Path::new("/mnt/home/victim").to_owned();
    host.directory(&tree, None, 0o755);
    host.file(tree.join("file"), None, 0o600, "precious");
    tree
}

/// Each step may fail: the launcher works on the same names.
fn user_exchanges(worker: &Worker, victim: &Path, steered: &str) {
    act_as(USER);
    let stage = Path::new("/mnt/home/user/stage");
    let _ = fs::write(stage, steered);
    let _ = fs::rename(stage, worker.request_path());
    let target = victim.join("file");
    let files = [
        worker.artifacts.join(format!("container-{}.pid", worker.id)),
        worker.artifacts.join(format!("runc-{}.out", worker.container)),
        worker.artifacts.join(format!("runc-{}.err", worker.container)),
        worker.directory.join("config.json"),
    ];
    for file in &files {
        let _ = fs::remove_file(file);
        let _ = symlink(&target, file);
    }
    let (tmp, link) = (worker.directory.join("tmp"), worker.directory.join("tmp-link"));
    let _ = symlink(victim, &link);
    for _ in 0..2 {
        let _ = renameat2(AT_FDCWD, &tmp, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE);
    }
    for file in &files {
        let _ = fs::remove_file(file);
    }
}

fn supervisor_exchanges(host: &Host, worker: &Worker, requests: &[String; 2]) {
    act_as(SUPERVISOR);
    let stage = host.storm().join("stage");
    for request in requests {
        let _ = fs::write(&stage, request);
        let _ = fs::rename(&stage, worker.request_path());
    }
}

#[test]
fn cve_2019_11328_a_containers_files_exchanged_while_it_is_launched_signalled_and_reaped() {
    let host = Host::new();
    let victim = victim(&host);
    let mut worker = Worker::new(&host, &Image::busybox(&host), "exec sleep 1000");
    // From the first launch on the worker's directory is the user's.
    worker.launch(&host).expect_success();
    worker.kill(&host);
    worker.exit_record(&host);
    worker.reap(&host, 100).expect_success();
    let right = worker.request.to_string();
    worker.request["ociRuntimeConfig"]["process"]["env"] = json!(["PATH=/bin", "STEERED=yes"]);
    let steered = worker.request.to_string();
    worker.request["username"] = OTHER_USER.name.into();
    let requests = [worker.request.to_string(), right];
    let before = listing(&victim);
    let (mut launched, mut refused, mut tries) = (0, 0, 0);
    let turns = AtomicU32::new(0);
    let attack = || {
        user_exchanges(&worker, &victim, &steered);
        supervisor_exchanges(&host, &worker, &requests);
        // Some launches must get past the request, to where the rest is exchanged.
        if turns.fetch_add(1, Ordering::Relaxed).is_multiple_of(8) {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let call = || {
        // A race has more turns than launches that are worth their time.
        if tries == LAUNCHES {
            return;
        }
        tries += 1;
        let outcome = worker.launch(&host);
        assert!(outcome.code.is_some(), "{outcome:?}");
        if outcome.code == Some(0) {
            launched += 1;
            let bundle = host.run_root().join(&worker.container).join("config.json");
            let bundle: Value = serde_json::from_slice(&fs::read(bundle).unwrap()).unwrap();
            assert_eq!(bundle["process"]["user"]["uid"], USER.uid);
            assert!(!bundle.to_string().contains("STEERED"), "{bundle}");
            let first = worker.init(&host);
            let signal = [USER.name, "signal", &first.to_string(), "9"];
            host.call(&signal).expect_success();
            eventually("it ends", || !is_running(first));
            eventually("it is reaped", || worker.reap(&host, 100).code == Some(0));
        } else {
            refused += 1;
        }
        assert_eq!(worker.traces(&host), NOTHING, "{outcome:?}");
        assert_eq!(listing(&victim), before);
        assert_eq!(fs::read_to_string(victim.join("file")).unwrap(), "precious");
    };
    race(attack, call);
    assert!(launched > 0 && refused > 0, "{launched} launched, {refused} refused: no race");
}

#[test]
fn cve_2019_11328_a_script_exchanged_while_it_is_copied() {
    let host = Host::new();
    let victim = victim(&host);
    let artifacts = host.storm().join("artifacts");
    host.directory(&artifacts, Some(TestAccount { gid: SUPERVISOR.gid, ..USER }), 0o2770);
    let secret = host.storm().join("secret");
    host.file(&secret, Some(SUPERVISOR), 0o600, "#!/bin/sh\necho secret\n");
    let script = artifacts.join("profile.sh");
    let copy = artifacts.join("launch_container.sh");
    let arguments = [USER.name, "profiler", artifacts.to_str().unwrap(), script.to_str().unwrap()];
    let before = listing(&victim);
    let (mut ran, mut refused) = (0, 0);
    race(
        || {
            act_as(USER);
            let stage = Path::new("/mnt/home/user/stage");
            let _ = fs::write(stage, "#!/bin/sh\necho mine\n");
            let _ = fs::rename(stage, &script);
            let _ = symlink(&secret, stage);
            let _ = fs::rename(stage, &script);
            let _ = symlink(victim.join("file"), &copy);
            let _ = fs::remove_file(&copy);
            act_as(SUPERVISOR);
            let stage = host.storm().join("stage");
            let _ = fs::write(&stage, "#!/bin/sh\necho right\n");
            let _ = fs::rename(&stage, &script);
        },
        || {
            let outcome = host.call(&arguments);
            assert!(outcome.code.is_some(), "{outcome:?}");
            match outcome.stdout.as_str() {
                "right\n" => ran += 1,
                "" => refused += 1,
                _ => panic!("{outcome:?}"),
            }
            let _missing = fs::remove_file(&copy);
            assert_eq!(listing(&victim), before);
            assert_eq!(fs::read_to_string(victim.join("file")).unwrap(), "precious");
        },
    );
    assert!(ran > 0 && refused > 0, "{ran} ran, {refused} refused of {TRIES}: no race");
}
