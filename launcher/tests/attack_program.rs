//! The caller tampers with the program, with its configuration, or with what it is called with.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes by path, in their own mount namespace"
)]

mod support;

use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use support::outcome::run;
use support::{
    BANNED, CONF_DIR, GROUP_ID, GROUP_MEMBER, Host, OTHER_USER, Outcome, SUPERVISOR, SWITCHES,
    USER, before_exec, install,
};

/// Runs the program at `path` as the supervisor would, with a verb that works.
fn call_at(host: &Host, path: &Path) -> Outcome {
    let target = host.storm().join("workers/none");
    let mut command = Command::new(path);
    command
        .args([USER.name, "rmr", target.to_str().unwrap()])
        .uid(SUPERVISOR.uid)
        .gid(SUPERVISOR.gid)
        .env_clear()
        .envs(std::env::var_os(SWITCHES).map(|names| (SWITCHES, names)));
    run(command)
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn cve_2021_4034_called_without_arguments() {
    let host = Host::new();
    let program = CString::new(host.program().to_str().unwrap()).unwrap();
    let mut command = host.command::<&str>(&[]);
    before_exec::without_arguments(&mut command, program);
    run(command).expect_failure(1, "expected <user> <command>");
    run(host.command::<&str>(&[])).expect_failure(1, "expected <user> <command>");
}

#[test]
fn cve_2021_44730_a_hard_link_elsewhere_does_nothing() {
    let host = Host::new();
    let linked = host.storm().join("launcher");
    fs::hard_link(host.program(), &linked).unwrap();
    call_at(&host, &linked).expect_failure(22, "2 hard links");
    fs::remove_file(&linked).unwrap();
    call_at(&host, &host.program()).expect_success();
}

#[test]
fn a_program_with_other_modes_does_nothing() {
    let host = Host::new();
    let program = host.program();
    for (mode, found) in [(0o6555, "6555"), (0o6551, "6551"), (0o6750, "6750"), (0o4550, "4550")] {
        chmod(&program, mode);
        call_at(&host, &program).expect_failure(22, found);
    }
    chown(&program, Some(0), Some(OTHER_USER.gid)).unwrap();
    chmod(&program, 0o6555);
    call_at(&host, &program).expect_failure(22, "must be soci-group");
    install(&program);
    call_at(&host, &program).expect_success();
}

#[test]
fn a_program_without_root_says_why() {
    let host = Host::new();
    let program = host.program();
    chmod(&program, 0o0550);
    call_at(&host, &program).expect_failure(22, "not installed setuid root");
    chmod(&program, 0o6550);
    let mut command = host.command(&[USER.name, "rmr", "/mnt/storm/none"]);
    before_exec::no_new_privs(&mut command);
    run(command).expect_failure(22, "no_new_privs");
    let none: Option<&str> = None;
    let bin = program.parent().unwrap();
    mount(Some(bin), bin, none, MsFlags::MS_BIND, none).unwrap();
    let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID;
    mount(none, bin, none, again, none).unwrap();
    call_at(&host, &program).expect_failure(22, "mounted nosuid");
    nix::mount::umount(bin).unwrap();
    call_at(&host, &program).expect_success();
}

#[test]
fn only_the_launchers_group_may_run_it() {
    let host = Host::new();
    let refused = host.command_as(OTHER_USER, &["--version"]).spawn().map(|_child| ()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn a_configuration_that_others_can_write_is_refused() {
    let host = Host::new();
    let path = host.config_path();
    let good = fs::read(&path).unwrap();
    let call = || call_at(&host, &host.program());
    chown(&path, Some(SUPERVISOR.uid), Some(0)).unwrap();
    call().expect_failure(24, "must be root's");
    chown(&path, Some(0), Some(GROUP_ID)).unwrap();
    chmod(&path, 0o664);
    call().expect_failure(24, "group or others write");
    chmod(&path, 0o644);
    call().expect_success();
    chmod(Path::new(CONF_DIR), 0o775);
    call().expect_failure(24, "group or others write");
    chown(CONF_DIR, Some(SUPERVISOR.uid), Some(0)).unwrap();
    chmod(Path::new(CONF_DIR), 0o755);
    call().expect_failure(24, "must be root's");
    chown(CONF_DIR, Some(0), Some(0)).unwrap();
    fs::remove_file(&path).unwrap();
    call().expect_failure(24, "No such file");
    host.file("/mnt/home/cfg", None, 0o644, "");
    fs::write("/mnt/home/cfg", &good).unwrap();
    host.link("/mnt/home/cfg", &path, None);
    call().expect_failure(24, "symbolic link");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    call().expect_failure(24, "not a regular file");
    fs::remove_dir(&path).unwrap();
    host.write_config(&good);
    call().expect_success();
}

#[test]
fn a_configuration_that_is_not_understood_is_refused() {
    let host = Host::new();
    let group = "storm.worker-launcher.group=soci-group";
    for (text, why) in [
        (Vec::new(), "storm.worker-launcher.group is missing"),
        (format!("{group}\nmin.uid=1\n").into(), "line 2 has the unknown key"),
        (format!("{group}\nnonsense\n").into(), "line 2 is not `key=value`"),
        (b"storm.worker-launcher.group=\xff\n".into(), "not valid UTF-8"),
        (b"storm.worker-launcher.group=none\n".into(), "no group"),
        (format!("{group}\n{}", "#".repeat(70_000)).into(), "larger than"),
        (format!("{group}\nmin.user.id=1e3\n").into(), "min.user.id"),
    ] {
        host.write_config(&text);
        call_at(&host, &host.program()).expect_failure(24, why);
        // The same mistakes, none of them told to the wrong stream.
        host.call(&["--print-config"]).expect_failure(24, why);
    }
}

#[test]
fn accounts_that_are_not_allowed() {
    let host = Host::new();
    let call = |user: &str| host.call(&[user, "rmr", "/mnt/storm/workers/none"]);
    call("root").expect_failure(255, "it is root");
    call("daemon").expect_failure(255, "below min.user.id 64110");
    call(BANNED.name).expect_failure(255, "banned.users");
    call(GROUP_MEMBER.name).expect_failure(255, "in group 64100");
    call("soci-nobody").expect_failure(255, "no such account");
    call("soci-super2").expect_failure(255, "below min.user.id");
    for malformed in ["", "..", "a/b", "a b", "-x", "soci-user\n", &"x".repeat(300)] {
        call(malformed).expect_failure(255, "not an account name");
    }
    call(SUPERVISOR.name).expect_success();
    call(USER.name).expect_success();
    // An account in root's group, and root under another name.
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let added = "soci-toor:x:0:0::/:/bin/sh\nsoci-wheel:x:64120:0::/:/bin/sh\n";
    fs::write("/etc/passwd", format!("{passwd}{added}")).unwrap();
    call("soci-toor").expect_failure(255, "it is root");
    call("soci-wheel").expect_failure(255, "in group 0");
}

/// What Storm passes is plain; what an attacker passes must be refused, and never be more than
/// one line of text.
#[test]
fn cve_2018_8029_hostile_text_in_every_argument_of_every_verb() {
    let host = Host::new();
    let id = "6700-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb";
    let verbs: [&[&str]; 11] = [
        &["worker", "/mnt/storm/workers/none", "/mnt/storm/workers/none/script"],
        &["profiler", "/mnt/storm/workers/none", "/mnt/storm/workers/none/script"],
        &["profile-oci-container", "2147483646", "/mnt/storm/workers/none/profile.sh"],
        &["code-dir", "/mnt/storm/workers/none"],
        &["artifacts-dir", "/mnt/storm/workers/none"],
        &["blob", "/mnt/storm/workers/none"],
        &["rmr", "/mnt/storm/workers/none"],
        &["signal", "2147483646", "15"],
        &[
            "run-oci-container",
            "/mnt/storm/workers/none",
            "/mnt/storm/workers/none/oci-config.json",
            "/mnt/storm/workers/none/artifacts",
        ],
        &["reap-oci-container", id, "0"],
        &["sweep-oci-containers", "/mnt/storm/workers"],
    ];
    let every_byte: Vec<u8> = (1..=u8::MAX).collect();
    let hostile: [&[u8]; 22] = [
        &every_byte,
        b"/mnt/storm/workers/none/\x7f",
        b"/mnt/storm/\xc0\xae\xc0\xae/home",
        b"/mnt/storm/workers/none\r",
        b"'; touch /mnt/pwned; '",
        b"&& touch /mnt/pwned #",
        b"",
        b"..",
        b"../../mnt/home",
        b"/mnt/storm/../home/user",
        b"/mnt//storm",
        b"$(touch /mnt/pwned)",
        b"`touch /mnt/pwned`",
        b"; touch /mnt/pwned",
        b"| touch /mnt/pwned",
        b"x\ntouch /mnt/pwned",
        b"/mnt/storm/\x1b[2J\nworker-launcher: all is fine",
        b"--checksetup",
        b"-rf",
        b"*",
        b"%s%s%n",
        b"\xff\xfe",
    ];
    for verb in verbs {
        for position in 0..=verb.len() {
            for text in hostile {
                let mut arguments: Vec<OsString> = std::iter::once(USER.name)
                    .chain(verb.iter().copied())
                    .map(OsString::from)
                    .collect();
                arguments[position] = OsString::from_vec(text.to_vec());
                let outcome = host.call(&arguments);
                let code = outcome.code.expect("no signal");
                assert!([1, 3, 255].contains(&code), "{arguments:?}: {outcome:?}");
                assert_eq!(outcome.stdout, "", "{arguments:?}: {outcome:?}");
                let lines: Vec<&str> = outcome.stderr.lines().collect();
                assert!(
                    lines.len() == 1 && lines[0].starts_with("worker-launcher: cannot "),
                    "{arguments:?}: {outcome:?}"
                );
                assert!(
                    !outcome.stderr.trim_end().contains(char::is_control),
                    "{arguments:?}: {outcome:?}"
                );
            }
        }
    }
    assert!(!Path::new("/mnt/pwned").exists());
    assert!(Path::new("/mnt/home/user").exists());
}

#[test]
fn every_verb_counts_its_arguments() {
    let host = Host::new();
    for (verb, count) in [
        ("code-dir", 1),
        ("artifacts-dir", 1),
        ("blob", 1),
        ("rmr", 1),
        ("signal", 2),
        ("run-oci-container", 3),
        ("reap-oci-container", 2),
        ("sweep-oci-containers", 1),
    ] {
        for wrong in (0..5).filter(|wrong| *wrong != count) {
            let mut arguments = vec![USER.name, verb];
            arguments.resize(2 + wrong, "/mnt/storm/workers/none");
            host.call(&arguments).expect_failure(1, verb);
        }
    }
    host.call(&[USER.name]).expect_failure(1, "expected");
    host.call(&["--checksetup", "x"]).expect_failure(1, "expected");
    host.call(&[USER.name, "none", "x"]).expect_failure(3, "no such command");
    host.call(&[USER.name, "run-docker-cmd", "x", "y"]).expect_failure(3, "without docker");
}

/// An option must not make an unchecked program act, nor a verb look like an option.
#[test]
fn options_act_for_nobody() {
    let host = Host::new();
    for option in ["--version", "--checksetup", "--print-config"] {
        host.call(&[option, "rmr", "/mnt/storm/workers"]).expect_failure(1, "expected");
        assert!(host.storm().join("workers").exists());
    }
}
