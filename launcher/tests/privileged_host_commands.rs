//! `worker` and `profiler`: what Storm's managers without containers call.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use support::outcome::run;
use support::{GROUP_ID, Host, OTHER_USER, Outcome, SUPERVISOR, TestAccount, USER, before_exec};

/// The name that Storm's supervisor removes before it profiles again.
const COPY: &str = "launch_container.sh";

/// A worker's directory as Storm makes it, with a script.
fn worker_dir(host: &Host, script: &str) -> PathBuf {
    let dir = host.storm().join("workers/one");
    host.directory(&dir, Some(SUPERVISOR), 0o755);
    host.directory(dir.join("tmp"), Some(SUPERVISOR), 0o755);
    write_script(host, &dir, script);
    dir
}

fn write_script(host: &Host, dir: &Path, script: &str) {
    let path = dir.join("storm-worker-script.sh");
    host.file(path, Some(SUPERVISOR), 0o644, &format!("#!/bin/bash\n{script}\n"));
}

/// An artifacts directory as `artifacts-dir` leaves it.
fn artifacts(host: &Host) -> PathBuf {
    let dir = host.storm().join("artifacts");
    host.directory(&dir, Some(TestAccount { gid: GROUP_ID, ..USER }), 0o2770);
    dir
}

fn arguments(verb: &str, dir: &Path) -> Vec<String> {
    let script = dir.join("storm-worker-script.sh");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    vec![USER.name.to_owned(), verb.to_owned(), text(dir), text(&script)]
}

fn call(host: &Host, verb: &str, dir: &Path) -> Outcome {
    host.call(&arguments(verb, dir))
}

#[test]
fn a_worker_runs_its_script_in_its_directory_as_the_user() {
    let host = Host::new();
    let script = "echo $$ $PPID; pwd; umask; id -u; id -g; id -G; echo \"$0\"; exit 42";
    let dir = worker_dir(&host, script);
    let outcome = call(&host, "WORKER", &dir);
    assert_eq!(outcome.code, Some(42), "{outcome:?}");
    let lines: Vec<&str> = outcome.stdout.lines().skip(1).collect();
    let copy = dir.join(COPY);
    let own = dir.to_str().unwrap();
    assert_eq!(lines, [own, "0027", "64110", "64110", "64110", copy.to_str().unwrap()]);
    assert_eq!(outcome.stderr, "");
    // What the supervisor finds afterwards.
    let look = |path: &Path| {
        let stat = fs::metadata(path).unwrap();
        (stat.uid(), stat.gid(), format!("{:o}", stat.mode() & 0o7777))
    };
    assert_eq!(look(&dir), (USER.uid, GROUP_ID, "2770".to_owned()));
    assert_eq!(look(&dir.join("tmp")), (USER.uid, GROUP_ID, "770".to_owned()));
    assert_eq!(look(&copy), (USER.uid, GROUP_ID, "700".to_owned()));
}

#[test]
fn a_profiler_runs_in_a_directory_of_the_users_and_changes_no_owner() {
    let host = Host::new();
    let dir = artifacts(&host);
    write_script(&host, &dir, "echo profiled > made; id -u");
    let kept = dir.join("gc.log");
    host.file(&kept, Some(SUPERVISOR), 0o640, "");
    let outcome = call(&host, "profiler", &dir).expect_success();
    assert_eq!(outcome.stdout, "64110\n");
    let made = fs::metadata(dir.join("made")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o777), (USER.uid, GROUP_ID, 0o640));
    assert_eq!(fs::metadata(&kept).unwrap().uid(), SUPERVISOR.uid);
    // As the original: a copy that is there is not written again.
    call(&host, "profiler", &dir).expect_failure(30, "File exists");
}

/// GHSA-mmx5-32m4-wxvx and item 5: what the script has is the user's, in every set.
#[test]
fn the_drop_is_complete_before_the_callers_environment_is_back() {
    let host = Host::new();
    let script = "cat /proc/self/status; echo environment; cat /proc/self/environ | tr '\\0' '\\n'; \
                  readlink /proc/self/fd/*; grep -E 'open files|core file|file size' /proc/self/limits; \
                  nice";
    let dir = worker_dir(&host, script);
    let mut command = host.command(&arguments("worker", &dir));
    command.env("STORM_SAYS", "a b=c").env("PATH", "/usr/bin:/bin");
    before_exec::soft_limit(&mut command, libc::RLIMIT_NOFILE, 99);
    before_exec::soft_limit(&mut command, libc::RLIMIT_CORE, 4096);
    before_exec::nice(&mut command, 7);
    let outcome = run(command).expect_success();
    let status = |field: &str| {
        let value = outcome.stdout.lines().find_map(|line| line.strip_prefix(field));
        value.unwrap_or_else(|| panic!("{field}: {outcome:?}")).trim().to_owned()
    };
    assert_eq!(status("Uid:"), ["64110"; 4].join("\t"));
    assert_eq!(status("Gid:"), ["64110"; 4].join("\t"));
    assert_eq!(status("Groups:"), "64110");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(status(set), "0000000000000000", "{set}");
    }
    assert_eq!(status("NoNewPrivs:"), "1");
    for signals in ["SigBlk:", "SigIgn:"] {
        assert_eq!(status(signals), "0000000000000000", "{signals}");
    }
    let (_, rest) = outcome.stdout.split_once("environment\n").unwrap();
    assert!(rest.contains("STORM_SAYS=a b=c\n"), "{rest}");
    assert!(!rest.contains("/mnt/run") && !rest.contains("worker-launcher"), "{rest}");
    assert!(rest.contains("Max open files            99 "), "{rest}");
    assert!(rest.contains("Max core file size        4096 "), "{rest}");
    assert!(rest.contains("\n7\n"), "{rest}");
}

#[test]
fn host_commands_can_be_forbidden() {
    let host = Host::new();
    host.configure("worker.launcher.host-commands=false");
    let dir = worker_dir(&host, "touch ran");
    for verb in ["worker", "profiler"] {
        call(&host, verb, &dir).expect_failure(7, "worker.launcher.host-commands is false");
    }
    assert!(!dir.join("ran").exists() && !dir.join(COPY).exists());
    assert_eq!(fs::metadata(&dir).unwrap().uid(), SUPERVISOR.uid, "nothing is changed");
}

#[test]
fn nobody_runs_as_an_account_that_is_not_permitted() {
    let host = Host::new();
    let dir = worker_dir(&host, "touch ran");
    // The supervisor's own account is below min.user.id: it may clean up, not run.
    for user in [SUPERVISOR.name, "root", "soci-banned", "soci-member", "daemon"] {
        for verb in ["worker", "profiler"] {
            let mut arguments = arguments(verb, &dir);
            arguments[0] = user.to_owned();
            host.call(&arguments).expect_failure(255, user);
        }
    }
    assert!(!dir.join("ran").exists());
}

/// In the artifacts directory the user can put anything in the place of the script; none of it
/// may become readable for him by it.
#[test]
fn a_script_that_the_user_exchanged_is_refused() {
    let host = Host::new();
    let dir = artifacts(&host);
    let secret = host.storm().join("secret");
    host.file(&secret, Some(SUPERVISOR), 0o600, "#!/bin/bash\necho secret\n");
    let script = dir.join("storm-worker-script.sh");
    let refused = |why: &str| {
        call(&host, "profiler", &dir).expect_failure(5, why);
        assert!(!dir.join(COPY).exists(), "{why}");
        fs::remove_file(&script).unwrap();
    };
    symlink(&secret, &script).unwrap();
    refused("Too many levels of symbolic links");
    fs::hard_link(&secret, &script).unwrap();
    refused("2 links");
    host.file(&script, Some(USER), 0o755, "#!/bin/bash\necho his own\n");
    refused("owned by uid 64110");
    host.file(&script, Some(SUPERVISOR), 0o666, "#!/bin/bash\n");
    refused("not writable by others");
    mkfifo(&script, Mode::from_bits_truncate(0o644)).unwrap();
    std::os::unix::fs::chown(&script, Some(SUPERVISOR.uid), None).unwrap();
    refused("not a regular file");
    call(&host, "profiler", &dir).expect_failure(5, "No such file");
    let large = fs::File::create(&script).unwrap();
    large.set_len(5 << 20).unwrap();
    std::os::unix::fs::chown(&script, Some(SUPERVISOR.uid), None).unwrap();
    refused("larger than 4194304 bytes");
}

/// The copy is the user's doing: his directory's links and files lead no further than he does.
#[test]
fn the_copy_is_made_with_the_users_rights() {
    let host = Host::new();
    let dir = artifacts(&host);
    write_script(&host, &dir, "true");
    symlink("/mnt/storm/planted", dir.join(COPY)).unwrap();
    call(&host, "profiler", &dir).expect_failure(30, "File exists");
    assert!(!Path::new("/mnt/storm/planted").exists());
    let foreign = host.storm().join("foreign");
    host.directory(&foreign, Some(OTHER_USER), 0o755);
    host.file(foreign.join("storm-worker-script.sh"), Some(SUPERVISOR), 0o644, "#!/bin/bash\n");
    call(&host, "profiler", &foreign).expect_failure(30, "Permission denied");
}

/// No shell is searched for, and none reads what is no program.
#[test]
fn a_script_without_an_interpreter_is_no_program() {
    let host = Host::new();
    let dir = worker_dir(&host, "");
    let script = dir.join("storm-worker-script.sh");
    fs::write(&script, "touch ran\n").unwrap();
    call(&host, "worker", &dir).expect_failure(7, "Exec format error");
    assert!(!dir.join("ran").exists());
}

/// Storm's own round without containers: start, signal, profile, remove.
#[test]
fn a_supervisor_without_containers_finds_all_it_needs() {
    let host = Host::new();
    let dir = worker_dir(&host, "echo $$ > pid; exec sleep 1000");
    let mut command = host.command(&arguments("worker", &dir));
    command.process_group(0);
    let mut worker = command.spawn().unwrap();
    let mut pid = String::new();
    support::container::eventually("the worker runs", || {
        pid = fs::read_to_string(dir.join("pid")).unwrap_or_default();
        pid.ends_with('\n')
    });
    let pid = pid.trim();
    assert_eq!(pid, worker.id().to_string(), "the launcher became the script");
    let logs = artifacts(&host);
    write_script(&host, &logs, &format!("kill -0 {pid} && echo looked at"));
    let outcome = call(&host, "profiler", &logs).expect_success();
    assert_eq!(outcome.stdout, "looked at\n");
    host.call(&[USER.name, "signal", pid, "15"]).expect_success();
    let status = worker.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    host.call(&[USER.name, "rmr", dir.to_str().unwrap()]).expect_success();
    assert!(!dir.exists());
}
