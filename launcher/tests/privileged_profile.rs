//! `profile-oci-container`: root's script in a container, as the container's user.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;
use support::container::{Worker, eventually, is_running};
use support::image::Image;
use support::profiler::{self, PROFILER};
use support::{Host, USER};

/// Stays until it is killed.
const STAY: &str = "echo up.; exec sleep 1000";

fn field<'t>(status: &'t str, name: &str) -> &'t str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name} in {status}")).trim()
}

#[test]
fn it_is_in_all_of_the_container_and_has_the_users_rights_only() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let script = "cat /proc/self/status; cat /proc/self/cgroup; ls -l /proc/self/ns; \
                  cat /etc/os-release; env; umask; pwd; echo \"$# $1 $2 $3\"; ls -l /proc/self/fd";
    profiler::install(&host, script);
    let plain = Worker::new(&host, &image, STAY);
    let mut filtered = Worker::new(&host, &image, STAY);
    filtered.amend(|request| {
        request["ociRuntimeConfig"]["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}],
        });
    });
    for (worker, mode) in [(&plain, "0"), (&filtered, "2")] {
        worker.launch(&host).expect_success();
        worker.stdout();
        let output = profiler::call(&host, worker, " 1 jstack /tmp").expect_success();
        let output = output.stdout;
        let init = format!("/proc/{}", worker.init(&host));
        let of_init = fs::read_to_string(format!("{init}/status")).unwrap();
        for name in ["Uid", "Gid", "NoNewPrivs", "Seccomp", "Seccomp_filters"] {
            assert_eq!(field(&output, name), field(&of_init, name), "{name}");
        }
        assert_eq!(field(&output, "Groups"), USER.gid.to_string());
        assert_eq!(field(&output, "Seccomp"), mode);
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(&output, set), "0000000000000000", "{set}");
        }
        let cgroups = fs::read_to_string(format!("{init}/cgroup")).unwrap();
        assert!(output.contains(&cgroups), "{cgroups}\n{output}");
        for namespace in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
            let link = fs::read_link(format!("{init}/ns/{namespace}")).unwrap();
            assert!(output.contains(&format!("-> {}", link.display())), "{namespace}: {output}");
        }
        let tail = output.split_once("ID=soci\n").expect("the image's file").1;
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
        assert!(tail.contains(path) && !tail.contains("NAME="), "{tail}");
        assert!(tail.contains("0027\n/\n3 1 jstack /tmp\n"), "{tail}");
        // Streams, the script, and what `ls` opened itself.
        assert!(tail.lines().filter(|line| line.contains(" -> ")).count() <= 5, "{tail}");
        assert!(tail.contains(PROFILER), "{tail}");
    }
}

#[test]
fn output_and_exit_code_are_the_scripts() {
    let host = Host::new();
    profiler::install(&host, "echo out; echo err >&2; test \"$2\" = start || exit 3");
    let worker = Worker::new(&host, &Image::busybox(&host), STAY);
    worker.launch(&host).expect_success();
    let outcome = profiler::call(&host, &worker, " 1 kill");
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
    profiler::call(&host, &worker, " 1 start\n").expect_success();
}

/// The limit of the container is the limit of what looks into it.
#[test]
fn its_memory_counts_in_the_container() {
    let host = Host::new();
    profiler::install(&host, "dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null; echo $?");
    let mut worker = Worker::new(&host, &Image::busybox(&host), STAY);
    worker.amend(|request| {
        request["ociRuntimeConfig"]["linux"]["resources"] =
            json!({"memory": {"limit": 50 << 20, "swap": 50 << 20}});
    });
    worker.launch(&host).expect_success();
    worker.stdout();
    let outcome = profiler::call(&host, &worker, " 1 start").expect_success();
    assert_eq!(outcome.stdout, "137\n", "it was not ended for its memory");
    assert!(is_running(worker.init(&host)));
}

/// Privileged code looks nothing up in a container: files that answer nobody hold up nothing,
/// and no name service is asked.
#[test]
fn accounts_are_looked_up_before_it_enters_the_container() {
    let host = Host::new();
    profiler::install(&host, "echo looked");
    let etc = host.storm().join("etc");
    let nscd = host.storm().join("nscd");
    for directory in [&etc, &nscd] {
        host.directory(directory, Some(USER), 0o755);
    }
    let mut worker = Worker::new(&host, &Image::busybox(&host), STAY);
    worker.amend(|request| {
        let mounts = request["ociRuntimeConfig"]["mounts"].as_array_mut().unwrap();
        for (source, destination) in [(&etc, "/etc"), (&nscd, "/var/run/nscd")] {
            mounts.push(json!({
                "destination": destination, "type": "bind", "source": source,
                "options": ["ro", "rbind", "rprivate"],
            }));
        }
    });
    worker.launch(&host).expect_success();
    worker.stdout();
    for name in ["passwd", "group", "nsswitch.conf", "ld.so.preload", "ld.so.cache", "localtime"] {
        mkfifo(&etc.join(name), Mode::from_bits_truncate(0o644)).unwrap();
    }
    let socket = UnixListener::bind(nscd.join("socket")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let outcome = profiler::call(&host, &worker, " 1 start").expect_success();
    assert_eq!(outcome.stdout, "looked\n");
    assert!(socket.accept().is_err(), "the container's name service was asked");
    // The same without one.
    fs::remove_dir_all(&nscd).unwrap();
    profiler::call(&host, &worker, " 1 start").expect_success();
}

#[test]
fn it_ends_with_the_container() {
    let host = Host::new();
    profiler::install(&host, "echo here > /tmp/profiling; exec sleep 1000");
    let worker = Worker::new(&host, &Image::busybox(&host), STAY);
    worker.launch(&host).expect_success();
    let file = profiler::write(&host, &worker, " 1 start");
    let mut command = host.command(&profiler::arguments(&host, &worker, &file));
    command.process_group(0).stderr(std::process::Stdio::null());
    let mut launcher = command.spawn().unwrap();
    eventually("the profiler runs", || worker.directory.join("tmp/profiling").exists());
    worker.kill(&host);
    assert_eq!(launcher.wait().unwrap().code(), Some(57));
    worker.reap(&host, 0).expect_success();
    assert_eq!(worker.traces(&host), support::container::NOTHING);
}

/// What is installed is a program as it must be, and says no to what Storm never asks.
#[test]
fn the_shipped_script_is_sound() {
    let host = Host::new();
    let shipped = include_str!("../../conf/worker-profiler.sh");
    host.configure(&format!("worker.profiler.script.path={PROFILER}"));
    host.file(PROFILER, None, 0o755, shipped);
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(PROFILER);
        command.args(arguments);
        support::outcome::run(command)
    };
    let own = std::process::id().to_string();
    for (arguments, why) in [
        (&["1"][..], "expected"),
        (&["x", "start"], "no process"),
        (&["999999999", "start"], "no process"),
        (&[&own, "heap"], "no action"),
        (&[&own, "jstack", "/no/such"], "no directory"),
        (&[&own, "dump"], "no directory"),
    ] {
        let outcome = run(arguments);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.stderr.starts_with("cannot profile: ") && outcome.stderr.contains(why));
    }
    assert!(Path::new(PROFILER).exists());
}
