//! `signal`: whom it reaches, with whose rights, and the original's exit codes.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command};

use serde_json::{Value, json};
use support::{
    GROUP_ID, Host, OTHER_SUPERVISOR, OTHER_USER, SUPERVISOR, TestAccount, USER, outcome,
};

const CONTAINER: &str = "6700-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb";

/// A process of the test's own, ended when dropped.
struct Victim(Child);

impl Victim {
    /// A process that leads a group of its own.
    fn leader(account: TestAccount, program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).process_group(0);
        Self::start(account, command)
    }

    fn start(account: TestAccount, mut command: Command) -> Self {
        let child = command.uid(account.uid).gid(account.gid).spawn();
        Self(child.expect("start a process"))
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// The signal that ended it.
    fn ended_by(mut self) -> Option<i32> {
        self.0.wait().expect("wait for the test's own child").signal()
    }

    fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Field 22 of its stat.
    fn start_time(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let (_, fields) = text.rsplit_once(')').unwrap();
        fields.split_whitespace().nth(19).unwrap().parse().unwrap()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if self.runs() {
            let _ended = self.0.kill();
            let _waited = self.0.wait();
        }
    }
}

fn sleeper(account: TestAccount) -> Victim {
    Victim::leader(account, "/bin/sleep", &["1000"])
}

#[test]
fn a_process_group_gets_it_as_a_whole() {
    let host = Host::new();
    let script = "/bin/sleep 1000 & echo $! > \"$0\"; wait";
    let member_file = host.storm().join("member");
    host.file(&member_file, Some(USER), 0o644, "");
    let victim = Victim::leader(USER, "/bin/bash", &["-c", script, member_file.to_str().unwrap()]);
    let member = loop {
        let text = fs::read_to_string(&member_file).unwrap();
        if let Ok(pid) = text.trim().parse::<u32>() {
            break pid;
        }
    };
    host.call(&[USER.name, "signal", &victim.pid(), "15"]).expect_success();
    assert_eq!(victim.ended_by(), Some(15));
    support::container::eventually("the other member ends too", || {
        !support::container::is_running(member)
    });
}

#[test]
fn a_process_that_leads_no_group_gets_it_alone() {
    let host = Host::new();
    let mut first = sleeper(USER);
    let mut command = Command::new("/bin/sleep");
    command.arg("1000").process_group(i32::try_from(first.0.id()).unwrap());
    let second = Victim::start(USER, command);
    host.call(&[USER.name, "signal", &second.pid(), "9"]).expect_success();
    assert_eq!(second.ended_by(), Some(9));
    assert!(first.runs());
}

#[test]
fn signal_0_only_asks() {
    let host = Host::new();
    let mut victim = sleeper(USER);
    host.call(&[USER.name, "signal", &victim.pid(), "0"]).expect_success();
    assert!(victim.runs());
}

#[test]
fn codes_are_the_originals() {
    let host = Host::new();
    let mut victim = sleeper(USER);
    let pid = victim.pid();
    let call = |pid: &str, signal: &str| host.call(&[USER.name, "signal", pid, signal]);
    for none in ["0", "-1", "-2147483648", "2147483646"] {
        call(none, "15").expect_failure(9, "cannot find process");
    }
    for no_signal in ["65", "-1", "1000"] {
        call(&pid, no_signal).expect_failure(8, "is no signal");
    }
    for no_number in ["", "-", "x", "1x", "0x1", "99999999999", " 1", "+1"] {
        call(no_number, "15").expect_failure(1, "not a whole number");
        call(&pid, no_number).expect_failure(1, "not a whole number");
    }
    assert!(victim.runs());
    let ended = {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        child.wait().unwrap();
        child.id().to_string()
    };
    call(&ended, "15").expect_failure(9, "cannot find process");
}

#[test]
fn others_processes_are_out_of_reach() {
    let host = Host::new();
    for mut victim in [
        sleeper(OTHER_USER),
        sleeper(SUPERVISOR),
        Victim(Command::new("/bin/sleep").arg("1000").process_group(0).spawn().unwrap()),
    ] {
        for signal in ["9", "15", "19", "0"] {
            host.call(&[USER.name, "signal", &victim.pid(), signal])
                .expect_failure(255, "Operation not permitted");
        }
        assert!(victim.runs());
    }
}

/// A cgroup of the test's own, removed when dropped.
struct Cgroup {
    directory: PathBuf,
    name: String,
}

impl Cgroup {
    fn new() -> Self {
        let name = format!("soci-signal-{}", std::process::id());
        let directory = support::container::hierarchies()
            .into_iter()
            .map(|hierarchy| hierarchy.join(&name))
            .find(|directory| fs::create_dir(directory).is_ok())
            .expect("a hierarchy in which root can make a cgroup");
        Self { directory, name }
    }

    fn add(&self, victim: &Victim) {
        fs::write(self.directory.join("cgroup.procs"), victim.pid()).expect("join the cgroup");
    }

    fn path(&self) -> String {
        format!("/{}", self.name)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        support::container::eventually("the test's cgroup is empty", || {
            fs::remove_dir(&self.directory).is_ok()
        });
    }
}

/// A record as a launch writes it, of a container whose first process is `victim`.
fn record(host: &Host, victim: &Victim, change: impl FnOnce(&mut Value)) {
    let mut record = json!({
        "version": 1,
        "containerId": CONTAINER,
        "state": "started",
        "caller": {"uid": SUPERVISOR.uid, "gid": SUPERVISOR.gid},
        "workerRoot": "/mnt/storm/workers",
        "user": USER.name,
        "uid": USER.uid,
        "gid": USER.gid,
        "cgroup": support::container::cgroup_of("none"),
        "layers": [],
        "monitor": null,
        "init": {"pid": victim.0.id(), "startTime": victim.start_time()},
        "launchedMillis": 1,
        "phases": [],
    });
    change(&mut record);
    for (path, mode) in [("/mnt/run", 0o711), ("/mnt/run/records", 0o750)] {
        if !fs::exists(path).unwrap() {
            host.directory(path, None, mode);
        }
    }
    chown("/mnt/run/records", Some(0), Some(GROUP_ID)).unwrap();
    let path = format!("/mnt/run/records/{CONTAINER}.json");
    host.file(&path, None, 0o640, &record.to_string());
}

#[test]
fn a_containers_process_needs_the_record_on_its_side() {
    let host = Host::new();
    let cgroup = Cgroup::new();
    let mut victim = sleeper(USER);
    cgroup.add(&victim);
    let pid = victim.pid();
    let call = || host.call(&[USER.name, "signal", &pid, "9"]);
    record(&host, &victim, |record| {
        record["caller"]["uid"] = OTHER_SUPERVISOR.uid.into();
    });
    call().expect_failure(8, "it belongs to the supervisor of uid 64102");
    record(&host, &victim, |record| {
        record["user"] = OTHER_USER.name.into();
        record["uid"] = OTHER_USER.uid.into();
    });
    call().expect_failure(8, "it runs as `soci-other`");
    record(&host, &victim, |_record| {});
    call().expect_failure(8, "it is not in the container's cgroup");
    assert!(victim.runs());
    // The other supervisor's own call reaches it.
    record(&host, &victim, |record| {
        record["caller"]["uid"] = OTHER_SUPERVISOR.uid.into();
        record["cgroup"] = cgroup.path().into();
    });
    outcome::run(host.command_as(OTHER_SUPERVISOR, &[USER.name, "signal", &pid, "9"]))
        .expect_success();
    assert_eq!(victim.ended_by(), Some(9));
}

#[test]
fn a_record_of_an_earlier_process_with_the_same_pid_says_nothing() {
    let host = Host::new();
    let victim = sleeper(USER);
    record(&host, &victim, |record| {
        record["init"]["startTime"] = 1.into();
        record["caller"]["uid"] = OTHER_SUPERVISOR.uid.into();
    });
    host.call(&[USER.name, "signal", &victim.pid(), "15"]).expect_success();
    assert_eq!(victim.ended_by(), Some(15));
}

/// Whoever can write the run root is root; a record of anybody else's making is none.
#[test]
fn a_run_root_of_somebody_elses_is_refused() {
    let host = Host::new();
    let mut victim = sleeper(USER);
    record(&host, &victim, |_record| {});
    chown("/mnt/run", Some(SUPERVISOR.uid), Some(0)).unwrap();
    let outcome = host.call(&[USER.name, "signal", &victim.pid(), "9"]);
    assert!(matches!(outcome.code, Some(12 | 24)), "{outcome:?}");
    assert!(victim.runs());
}
