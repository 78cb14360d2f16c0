//! The caller prepares descriptors, limits, signals, timers and an environment for the launcher.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes by path, in their own mount namespace"
)]

mod support;

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::container::{Worker, eventually};
use support::image::Image;
use support::kill_points::{self, Act, Shot};
use support::outcome::run;
use support::tree::listing;
use support::{Host, SUPERVISOR, USER, before_exec};

/// A host on which every launch waits for the lock of the layers, which this has: the first acts
/// are over, and nothing more happens until [`Busy::finish`].
struct Busy {
    worker: Worker,
    lock: fs::File,
    // Dropped last.
    host: Host,
}

impl Busy {
    fn new() -> Self {
        let host = Host::new();
        let image = Image::busybox(&host);
        // Makes the lock.
        let first = Worker::new(&host, &image, "exit 0");
        first.launch(&host).expect_success();
        first.exit_record(&host);
        first.reap(&host, 100).expect_success();
        let worker = Worker::new(&host, &image, "exit 0");
        let lock = fs::File::open(host.run_root().join("layers/lock")).unwrap();
        lock.lock().unwrap();
        Self { worker, lock, host }
    }

    /// The launch, to be started by [`Busy::start`].
    fn command(&self) -> Command {
        self.host.command(&self.worker.launch_arguments())
    }

    /// Starts it, and waits until it waits.
    fn start(&self, mut command: Command) -> Launched {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let launched = Launched(command.spawn().expect("start the launcher"));
        let lock = self.lock.metadata().unwrap();
        let (major, minor) = (rustix::fs::major(lock.dev()), rustix::fs::minor(lock.dev()));
        // A waiting lock has an arrow: `1: -> FLOCK ADVISORY WRITE <pid> <device>:<inode> 0 EOF`.
        let waits = format!(" {major:02x}:{minor:02x}:{} 0 EOF", lock.ino());
        eventually("the launch waits for the lock", || {
            let locks = fs::read_to_string("/proc/locks").unwrap();
            locks.lines().any(|line| line.contains("->") && line.ends_with(&waits))
        });
        launched
    }

    /// Lets it go on and to its end, and the container too.
    fn finish(self, mut launched: Launched) {
        drop(self.lock);
        let ended = launched.0.wait().expect("wait for it");
        assert_eq!(ended.code(), Some(0), "{ended}");
        assert_eq!(self.worker.exit_record(&self.host)["exitCode"], 0);
        self.worker.reap(&self.host, 100).expect_success();
    }
}

/// A field of `/proc/<pid>/status`.
fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the launcher runs");
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{field} in {text}"))
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// A process of the test's own, ended when dropped.
struct Launched(Child);

impl Launched {
    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("signal the test's own child");
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.signal(Signal::SIGKILL);
            let _ended = self.0.wait();
        }
    }
}

fn open_files(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("root may look");
    entries
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

fn artifacts_dir(host: &Host, top: &Path) -> Command {
    host.command(&[USER.name, "artifacts-dir", top.to_str().unwrap()])
}

#[test]
fn nothing_of_the_caller_is_left_while_root_works() {
    let busy = Busy::new();
    let secret = Path::new("/mnt/home/leaked");
    fs::write(secret, "").unwrap();
    let leaked = fs::File::open(secret).unwrap();
    let mut command = busy.command();
    command.current_dir(busy.host.storm()).env("LEAKED", "yes");
    for descriptor in [3, 9, 400] {
        before_exec::leak(&mut command, leaked.as_raw_fd(), descriptor);
    }
    for (resource, value) in [
        (libc::RLIMIT_FSIZE, 0),
        (libc::RLIMIT_CPU, 3600),
        (libc::RLIMIT_AS, 1 << 30),
        (libc::RLIMIT_DATA, 1 << 28),
        (libc::RLIMIT_STACK, 1 << 20),
        (libc::RLIMIT_CORE, u64::MAX),
    ] {
        before_exec::soft_limit(&mut command, resource, value);
    }
    before_exec::deaf(&mut command);
    let launcher = busy.start(command);
    let pid = launcher.pid();
    for field in ["Uid", "Gid"] {
        assert_eq!(status(pid, field), "0 0 0 0", "{field}");
    }
    assert_eq!(status(pid, "Groups"), "");
    assert_eq!(status(pid, "Umask"), "0077");
    assert_eq!(status(pid, "Threads"), "1");
    assert_eq!(status(pid, "SigBlk"), "0000000000000000");
    // SIGPIPE, and what a terminal sends: HUP INT QUIT TSTP TTIN TTOU.
    assert_eq!(status(pid, "SigIgn"), "0000000000381007");
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    let files = open_files(pid);
    assert!(!files.iter().any(|path| path.contains("leaked")), "{files:?}");
    // Not dumpable: its files in /proc are root's, so that the caller can look at none of them.
    let memory = fs::metadata(format!("/proc/{pid}/mem")).unwrap();
    assert_eq!((memory.uid(), memory.gid()), (0, 0));
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    for (name, value) in [
        ("Max core file size", "0"),
        ("Max file size", "unlimited"),
        ("Max cpu time", "unlimited"),
        ("Max address space", "unlimited"),
        ("Max data size", "unlimited"),
        ("Max stack size", "unlimited"),
    ] {
        let line = limits.lines().find_map(|line| line.strip_prefix(name));
        let soft = line.expect("a limit").split_whitespace().next();
        assert_eq!(soft, Some(value), "{name}");
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit(')').next().unwrap().split_whitespace().nth(3);
    assert_eq!(session, Some(pid.to_string().as_str()), "a session of its own");
    busy.finish(launcher);
}

#[test]
fn the_caller_can_neither_stop_nor_end_it_half_way() {
    let busy = Busy::new();
    let launcher = busy.start(busy.command());
    let pid = launcher.pid().to_string();
    for signal in ["KILL", "STOP", "TERM", "HUP", "CONT"] {
        let mut attack = Command::new("/bin/bash");
        attack
            .args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid])
            .uid(SUPERVISOR.uid)
            .gid(SUPERVISOR.gid);
        let outcome = run(attack);
        assert_eq!(outcome.code, Some(1), "{signal}: {outcome:?}");
        assert!(outcome.stderr.contains("not permitted"), "{outcome:?}");
    }
    busy.finish(launcher);
}

/// A caller could otherwise keep root waiting, with a lock held, for as long as the machine is
/// busy.
#[test]
fn the_callers_priority_does_not_slow_root_down() {
    let busy = Busy::new();
    let mut command = Command::new("/usr/bin/chrt");
    command
        .args(["--idle", "0", "/usr/bin/nice", "-n", "7"])
        .arg(busy.host.program())
        .args(busy.worker.launch_arguments())
        .uid(SUPERVISOR.uid)
        .gid(SUPERVISOR.gid)
        .env_clear();
    let launcher = busy.start(command);
    let stat = fs::read_to_string(format!("/proc/{}/stat", launcher.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // Fields 19 and 41; the state, field 3, comes first here.
    let (nice, policy) = (fields[16], fields[38]);
    assert_eq!((nice, policy), ("0", "0"));
    busy.finish(launcher);
}

/// The kernel sends what a terminal's keys mean without asking who the receiver is.
#[test]
fn a_terminal_cannot_stop_it_either() {
    let busy = Busy::new();
    let mut command = busy.command();
    // The leader of a process group cannot leave its session.
    command.process_group(0);
    let launcher = busy.start(command);
    for signal in [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
    ] {
        launcher.signal(signal);
    }
    busy.finish(launcher);
}

#[test]
fn removal_has_the_users_rights_only() {
    let host = Host::new();
    let top = host.storm().join("workers/one");
    let arguments = [USER.name, "rmr", top.to_str().unwrap()];
    let trace = |shot: Option<&Shot<'_>>| {
        host.directory(&top, Some(USER), 0o755);
        for name in ["a", "b", "c"] {
            host.file(top.join(name), Some(USER), 0o644, "");
        }
        let traced = kill_points::run(host.command_of_root(&arguments), SUPERVISOR, shot, || false);
        assert!(traced.success);
        assert!(!top.exists());
        traced
    };
    let calls = trace(None).calls[&Vec::new()];
    let partly = Cell::new(false);
    for call in 1..=calls {
        let look = || {
            if fs::read_dir(&top).is_ok_and(|entries| matches!(entries.count(), 1 | 2)) {
                partly.set(true);
                let pid = traced_child();
                assert_eq!(status(pid, "Uid"), format!("0 {0} 0 {0}", USER.uid));
                assert_eq!(status(pid, "Gid"), format!("0 {0} 0 {0}", USER.gid));
                assert_eq!(status(pid, "Groups"), USER.gid.to_string());
                assert_eq!(status(pid, "CapEff"), "0000000000000000");
            }
        };
        trace(Some(&Shot { victim: Vec::new(), call, act: Act::Do(&look) }));
    }
    assert!(partly.get(), "never seen half-way");
}

/// The process that this thread traces.
fn traced_child() -> u32 {
    let children = fs::read_to_string("/proc/thread-self/children").unwrap();
    children.trim().parse().expect("one child")
}

#[test]
fn limits_of_the_caller_stop_nothing() {
    let host = Host::new();
    let top = host.storm().join("workers/one");
    for (resource, value) in [
        (libc::RLIMIT_FSIZE, 0),
        (libc::RLIMIT_NOFILE, 6),
        (libc::RLIMIT_NPROC, 0),
        (libc::RLIMIT_STACK, 64 << 10),
        (libc::RLIMIT_DATA, 8 << 20),
        (libc::RLIMIT_AS, 64 << 20),
        (libc::RLIMIT_MEMLOCK, 0),
        (libc::RLIMIT_SIGPENDING, 0),
    ] {
        for limit in [before_exec::soft_limit, before_exec::limit] {
            let mut path = top.clone();
            for _ in 0..40 {
                host.directory(&path, Some(SUPERVISOR), 0o755);
                path.push("d");
            }
            let before = listing(&top);
            for verb in ["code-dir", "artifacts-dir", "rmr"] {
                let mut command = host.command(&[USER.name, verb, top.to_str().unwrap()]);
                limit(&mut command, resource, value);
                let outcome = run(command);
                // Where root itself cannot get rid of a limit, nothing is begun.
                if outcome.code == Some(6) && !before_exec::root_may_raise_limits() {
                    outcome.expect_failure(6, "cannot set up `resource limits`");
                    assert_eq!(listing(&top), before);
                } else {
                    outcome.expect_success();
                }
            }
            if top.exists() {
                fs::remove_dir_all(&top).unwrap();
            }
        }
    }
}

#[test]
fn a_timer_of_the_caller_does_not_go_off() {
    /// Later than the first acts on a busy machine.
    const TIMER: Duration = Duration::from_secs(5);
    let busy = Busy::new();
    let mut command = busy.command();
    before_exec::alarm(&mut command, TIMER);
    let launcher = busy.start(command);
    std::thread::sleep(TIMER);
    busy.finish(launcher);
}

#[test]
fn closed_standard_streams_become_nothing() {
    let host = Host::new();
    let top = host.storm().join("workers/one");
    host.directory(&top, Some(SUPERVISOR), 0o755);
    let file = top.join("twice");
    host.file(&file, Some(SUPERVISOR), 0o644, "content");
    fs::hard_link(&file, host.storm().join("second")).unwrap();
    let before = listing(&file);
    for streams in [&[2][..], &[1, 2], &[0, 1, 2], &[0]] {
        // With a line to print, and the tree's own files the next ones to be opened.
        let mut command = artifacts_dir(&host, &top);
        for stream in streams {
            before_exec::close(&mut command, *stream);
        }
        run(command).expect_success();
        assert_eq!(fs::read_to_string(&file).unwrap(), "content");
        assert_eq!(listing(&file), before);
    }
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let host = Host::new();
    let top = host.storm().join("workers/one");
    host.directory(&top, Some(SUPERVISOR), 0o755);
    nix::unistd::mkfifo(&top.join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let mut command = artifacts_dir(&host, &top);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(listing(&top)[0], "drwxrws--- 64110 64100 ./");
}

/// A caller that does not read could otherwise hold root's work at a point of its choice.
#[test]
fn a_reader_that_does_not_read_holds_nothing_up() {
    let host = Host::new();
    let top = host.storm().join("workers/one");
    host.directory(&top, Some(SUPERVISOR), 0o755);
    nix::unistd::mkfifo(&top.join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let (_reader, mut writer) = std::io::pipe().unwrap();
    let capacity = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_GETPIPE_SZ).unwrap();
    let filling = vec![b'x'; usize::try_from(capacity).unwrap()];
    writer.write_all(&filling).unwrap();
    let mut child =
        artifacts_dir(&host, &top).stdout(Stdio::null()).stderr(writer).spawn().unwrap();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("held up");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(0));
    assert_eq!(listing(&top)[0], "drwxrws--- 64110 64100 ./");
}

#[test]
fn a_setuid_programs_environment_is_the_kernels_business() {
    let host = Host::new();
    let library = host.storm().join("evil.so");
    host.file(&library, Some(SUPERVISOR), 0o755, "no library");
    let text = library.to_str().unwrap();
    for (name, value) in [
        ("LD_PRELOAD", text),
        ("LD_AUDIT", text),
        ("LD_LIBRARY_PATH", "/mnt/storm"),
        ("LD_DEBUG", "all"),
        ("GLIBC_TUNABLES", "glibc.malloc.check=3:glibc.malloc.perturb=1"),
        ("GCONV_PATH", "/mnt/storm"),
        ("LOCPATH", "/mnt/storm"),
        ("NSS_WRAPPER_PASSWD", text),
        ("HOSTALIASES", text),
        ("RUST_BACKTRACE", "full"),
        ("RUST_MIN_STACK", "1"),
        ("STORM_OCI_CONF_DIR", "/mnt/storm"),
        ("PATH", "/mnt/storm"),
        ("IFS", "/"),
        ("BASH_ENV", text),
        ("TMPDIR", "/mnt/storm"),
    ] {
        let mut command = host.command(&[USER.name, "rmr", "/mnt/storm/none"]);
        command.env(name, value);
        let outcome = run(command).expect_success();
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""), "{name}");
    }
}

/// GHSA-mmx5-32m4-wxvx: the drop was made and had no effect, and nobody looked.
#[test]
fn ghsa_mmx5_32m4_wxvx_ids_are_read_back_after_every_drop() {
    let host = Host::new();
    let mut sleep = Command::new("/bin/sleep");
    sleep.arg("1000").uid(USER.uid).gid(USER.gid).process_group(0);
    let mut victim = Launched(sleep.spawn().unwrap());
    let top = host.storm().join("workers/one");
    host.directory(&top, Some(USER), 0o755);
    let pid = victim.pid().to_string();
    let drop_bounding = u32::try_from(libc::PR_CAPBSET_DROP).unwrap();
    let forbid_new = u32::try_from(libc::PR_SET_NO_NEW_PRIVS).unwrap();
    for (call, argument, value, verbs) in [
        (libc::SYS_setresuid, 1, Some(USER.uid), &["rmr", "signal"][..]),
        (libc::SYS_setresgid, 1, Some(USER.gid), &["rmr", "signal"]),
        (libc::SYS_setgroups, 0, Some(1), &["rmr", "signal"]),
        (libc::SYS_prctl, 0, Some(drop_bounding), &["signal"]),
        (libc::SYS_prctl, 0, Some(forbid_new), &["signal"]),
        (libc::SYS_capset, 0, None, &["signal"]),
    ] {
        for verb in verbs {
            let arguments: &[&str] = match *verb {
                "rmr" => &[USER.name, "rmr", top.to_str().unwrap()],
                _ => &[USER.name, "signal", &pid, "9"],
            };
            let mut command = host.command_of_root(arguments);
            // One that only `capset` takes away.
            before_exec::inheritable(&mut command, 0);
            before_exec::without_effect(&mut command, SUPERVISOR, call, argument, value);
            run(command).expect_failure(6, "cannot change to `uid 64110");
        }
    }
    assert!(top.exists(), "removed without the user's rights");
    assert!(matches!(victim.0.try_wait(), Ok(None)), "killed by root");
    host.call(&[USER.name, "signal", &pid, "9"]).expect_success();
    let ended = victim.0.wait().unwrap();
    assert!(!ended.success());
}
