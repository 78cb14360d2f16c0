//! `--checksetup`, `--print-config` and `--version`: what an administrator is told.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use nix::mount::MsFlags;
use support::outcome::run;
use support::{CONF_DIR, Host, OTHER_USER, Outcome, SUPERVISOR, USER, before_exec};

/// Fails the test unless every line of the answer is a problem with its fix, the first of them
/// gives the code, and these are the problems.
#[track_caller]
fn expect_problems(outcome: &Outcome, code: i32, problems: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{outcome:#?}");
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!(lines.len(), problems.len(), "{outcome:#?}");
    for (line, problem) in lines.iter().zip(problems) {
        let complete = line.starts_with("worker-launcher: cannot ")
            && line.contains(problem)
            && line.contains(" (hint: ")
            && line.ends_with(')');
        assert!(complete, "{problem:?}: {line}");
    }
    assert_eq!(outcome.stdout, "");
}

fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_right_installation_is_fine() {
    let host = Host::new();
    let mut by_root = Command::new(host.program());
    by_root.arg("--checksetup");
    for command in [host.command(&["--checksetup"]), by_root] {
        let outcome = run(command).expect_success();
        assert_eq!(outcome.stderr, "");
        let mut lines = outcome.stdout.lines();
        let first = lines.next().unwrap();
        assert!(first.contains("the installation is fine") && first.contains(CONF_DIR), "{first}");
        assert!(lines.all(|line| line.contains("fs.protected_hardlinks")), "{outcome:?}");
    }
    assert!(!host.run_root().exists(), "the check changes nothing");
}

#[test]
fn every_problem_is_told_at_once() {
    let host = Host::new();
    host.configure(
        "min.user.id=many\nbanned.users=a b\nworker.launcher.oci.runc=runc\nnonsense\nsome.key=1",
    );
    chmod(host.config_path(), 0o666);
    let outcome = host.call(&["--checksetup"]);
    expect_problems(
        &outcome,
        24,
        &[
            "group or others write",
            "is not `key=value`",
            "min.user.id",
            "banned.users",
            "worker.launcher.oci.runc",
            "unknown key",
        ],
    );
}

#[test]
fn problems_of_program_runc_and_run_root() {
    let host = Host::new();
    let runc = Path::new("/mnt/home/runc");
    host.file(runc, Some(SUPERVISOR), 0o777, "#!");
    host.directory("/mnt/run", Some(OTHER_USER), 0o777);
    host.configure("worker.launcher.oci.runc=/mnt/home/runc");
    chown(host.program(), Some(0), Some(OTHER_USER.gid)).unwrap();
    chmod(host.program(), 0o6555);
    expect_problems(
        &host.call(&["--checksetup"]),
        22,
        &[
            "its group is 64111",
            "its mode is 6555",
            "`/mnt/home/runc`: owned by uid 64101",
            "`/mnt/home/runc`: mode 0777",
            "`/mnt/run`: owned by uid 64111",
            "`/mnt/run`: mode 0777",
        ],
    );
    support::install(&host.program());
    fs::remove_dir("/mnt/run").unwrap();
    host.file("/mnt/run", None, 0o644, "");
    chown(runc, Some(0), Some(0)).unwrap();
    chmod(runc, 0o644);
    expect_problems(
        &host.call(&["--checksetup"]),
        24,
        &["not a program that root can execute", "not a directory"],
    );
    fs::remove_file(runc).unwrap();
    host.configure(
        "worker.launcher.oci.runc=/mnt/home/runc\nworker.launcher.oci.run-root=/mnt/none/run",
    );
    expect_problems(
        &host.call(&["--checksetup"]),
        24,
        &["`/mnt/home/runc`: No such file", "`/mnt/none`: No such file"],
    );
}

/// Fails the test unless all is fine but for these.
#[track_caller]
fn expect_warnings(host: &Host, warnings: &[&str]) {
    let outcome = host.call(&["--checksetup"]).expect_success();
    assert_eq!(outcome.stderr, "");
    let lines: Vec<&str> = outcome.stdout.lines().skip(1).collect();
    assert_eq!(lines.len(), warnings.len(), "{lines:#?}");
    for (line, warning) in lines.iter().zip(warnings) {
        let complete = line.starts_with("worker-launcher: warning: ")
            && line.contains(warning)
            && line.contains(" (hint: ");
        assert!(complete, "{warning:?}: {line}");
    }
}

fn bind(source: &Path, target: &Path) {
    let none: Option<&str> = None;
    nix::mount::mount(Some(source), target, none, MsFlags::MS_BIND, none).unwrap();
}

#[test]
fn what_works_only_badly_is_a_warning() {
    let host = Host::new();
    host.configure(
        "banned.users=bin,soci-none\nworker.launcher.oci.run-root=/usr/soci-none\n\
         worker.launcher.oci.ro-mounts=/usr,/soci-none\nworker.launcher.oci.layer-dirs=/soci-gone",
    );
    let off = Path::new("/mnt/home/off");
    host.file(off, None, 0o644, "0\n");
    bind(off, Path::new("/proc/sys/fs/protected_hardlinks"));
    expect_warnings(
        &host,
        &[
            "banned.users has `soci-none`",
            "the run root `/usr/soci-none` is not on a tmpfs",
            "`/soci-none` is listed and not there",
            "`/soci-gone` is listed and not there",
            "fs.protected_hardlinks is 0",
        ],
    );
    host.configure("");
    host.directory("/mnt/run", None, 0o711);
    fs::write(off, "1\n").unwrap();
    expect_warnings(&host, &[]);
    nix::mount::umount("/proc/sys/fs/protected_hardlinks").unwrap();
}

#[test]
fn problems_of_the_host() {
    let mut host = Host::new();
    host.cover("/dev");
    fs::remove_file("/dev/loop-control").unwrap();
    expect_problems(
        &host.call(&["--checksetup"]),
        54,
        &["`/dev/loop-control`: No such file or directory (os error 2) (hint: modprobe loop"],
    );
    fs::write("/mnt/home/none", "").unwrap();
    let memory = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified/cgroup.controllers"];
    let v1 = Path::new(memory[0]).exists();
    if v1 {
        nix::mount::umount(memory[0]).unwrap();
    }
    for file in [memory[1], "/sys/fs/cgroup/cgroup.controllers"].map(Path::new) {
        if file.exists() {
            bind(Path::new("/mnt/home/none"), file);
        }
    }
    let outcome = host.call(&["--checksetup"]);
    assert_eq!(outcome.code, Some(55), "{outcome:?}");
    assert!(outcome.stderr.contains("cannot use cgroup `memory`: no hierarchy has"), "{outcome:?}");
    nix::mount::umount2("/sys/fs/cgroup", nix::mount::MntFlags::MNT_DETACH).unwrap();
    let outcome = host.call(&["--checksetup"]);
    assert!(outcome.stderr.contains("no cgroup hierarchy is mounted (hint: mount"), "{outcome:?}");
}

#[test]
fn problems_of_the_programs_it_runs() {
    let host = Host::new();
    let (runc, script) = ("/mnt/home/runc", "/mnt/home/profiler");
    fs::copy("/bin/true", runc).unwrap();
    chmod(runc, 0o755);
    host.configure(&format!("worker.launcher.oci.runc={runc}"));
    expect_problems(&host.call(&["--checksetup"]), 24, &["must be 1.1 or newer"]);
    fs::write(runc, "no program").unwrap();
    expect_problems(&host.call(&["--checksetup"]), 56, &["the kernel cannot execute it"]);
    host.configure(&format!("worker.profiler.script.path={script}"));
    expect_problems(&host.call(&["--checksetup"]), 24, &["`/mnt/home/profiler`: No such file"]);
    host.file(script, Some(USER), 0o755, "#!/bin/sh");
    expect_problems(&host.call(&["--checksetup"]), 24, &["owned by uid 64110"]);
    chown(script, Some(0), Some(0)).unwrap();
    chmod(script, 0o644);
    expect_problems(&host.call(&["--checksetup"]), 24, &["not a program that root can execute"]);
    chmod(script, 0o755);
    host.call(&["--checksetup"]).expect_success();
}

#[test]
fn a_program_on_a_nosuid_mount_is_a_problem_for_root_too() {
    let host = Host::new();
    let program = host.program();
    let bin = program.parent().unwrap();
    bind(bin, bin);
    let none: Option<&str> = None;
    let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID;
    nix::mount::mount(none, bin, none, again, none).unwrap();
    let mut by_root = Command::new(&program);
    by_root.arg("--checksetup");
    expect_problems(&run(by_root), 22, &["mounted nosuid"]);
    nix::mount::umount(bin).unwrap();
}

/// The configuration that somebody else could have written names what root would then look at.
#[test]
fn a_configuration_of_others_makes_root_look_at_nothing() {
    let host = Host::new();
    host.directory("/mnt/home/secret", None, 0o700);
    host.configure("worker.launcher.oci.runc=/mnt/home/secret/runc");
    chmod(host.config_path(), 0o666);
    expect_problems(&host.call(&["--checksetup"]), 24, &["mode 0666"]);
}

#[test]
fn without_root_it_says_why_and_goes_on() {
    let host = Host::new();
    chmod(host.program(), 0o550);
    expect_problems(
        &host.call(&["--checksetup"]),
        22,
        &["cannot become `root`: the program is not installed setuid", "its mode is 0550"],
    );
    support::install(&host.program());
    let mut command = host.command(&["--checksetup"]);
    before_exec::no_new_privs(&mut command);
    expect_problems(&run(command), 22, &["no_new_privs is set"]);
    fs::remove_file(host.config_path()).unwrap();
    expect_problems(&host.call(&["--checksetup"]), 24, &["No such file"]);
    host.write_config(b"storm.worker-launcher.group=soci-none\n");
    expect_problems(
        &host.call(&["--checksetup"]),
        24,
        &["no group `soci-none` (hint: groupadd --system soci-none)"],
    );
}

#[test]
fn the_effective_configuration_is_printed() {
    let host = Host::new();
    host.write_config(
        b"# a comment\n\n storm.worker-launcher.group = soci-group \nmin.user.id=500\n",
    );
    let outcome = host.call(&["--print-config"]).expect_success();
    assert_eq!(outcome.stderr, "");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "banned.users=bin",
            "docker.binary=/usr/bin/docker",
            "min.user.id=500",
            "nsenter.binary=/usr/bin/nsenter",
            "storm.worker-launcher.group=soci-group",
            "worker.launcher.host-commands=true",
            "worker.launcher.oci.cgroup-parent=/storm",
            "worker.launcher.oci.init=",
            "worker.launcher.oci.run-root=/run/worker-launcher",
            "worker.launcher.oci.runc=/usr/bin/runc",
            "worker.launcher.oci.runc-timeout-secs=60",
            "worker.profiler.script.path=",
        ]
    );
}

#[test]
fn the_version_needs_nothing() {
    let host = Host::new();
    fs::remove_file(host.config_path()).unwrap();
    let outcome = host.call(&["--version"]).expect_success();
    let expected = format!("worker-launcher {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(outcome.stdout, expected);
    host.call(&[USER.name, "rmr", "/mnt/storm/none"]).expect_failure(24, "No such file");
}

/// The example that is shipped must be what the program understands.
#[test]
fn the_shipped_example_is_understood() {
    let host = Host::new();
    let example = include_str!("../../conf/worker-launcher.cfg.example");
    let text = example.replace("group=storm", "group=soci-group");
    assert_ne!(text, example);
    host.write_config(text.as_bytes());
    let shipped = host.call(&["--print-config"]).expect_success().stdout;
    host.write_config(b"storm.worker-launcher.group=soci-group\n");
    let defaults = host.call(&["--print-config"]).expect_success().stdout;
    assert_eq!(shipped, defaults, "the example shows every key's default");
    for line in defaults.lines() {
        let (key, _) = line.split_once('=').unwrap();
        assert!(example.contains(&format!("\n{key}=")), "{key} is not shown");
    }
}
