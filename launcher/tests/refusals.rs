//! Every kind of refusal: one line on the error stream and in the system's log that says what was
//! refused, what was found and what is allowed; an exit code of its own; and nothing changed.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes by path, in their own mount namespace"
)]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use support::container::{Worker, mount_table};
use support::image::Image;
use support::{BANNED, CONF_DIR, GROUP_MEMBER, Host, OTHER_USER, SCRATCH, SUPERVISOR, USER};

const NOTHING: [&str; 0] = [];

/// The system's log, as the test reads it, in a `/dev` of the test's own.
fn log(host: &mut Host) -> UnixDatagram {
    host.cover("/dev");
    let _other = fs::remove_file("/dev/log");
    let log = UnixDatagram::bind("/dev/log").unwrap();
    fs::set_permissions("/dev/log", PermissionsExt::from_mode(0o666)).unwrap();
    log.set_nonblocking(true).unwrap();
    log
}

/// The lines that were logged since the last call.
fn logged(log: &UnixDatagram) -> Vec<String> {
    let mut lines = Vec::new();
    let mut buffer = [0_u8; 16 * 1024];
    while let Ok(length) = log.recv(&mut buffer) {
        lines.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
    }
    lines
}

/// Everything that a refused call could have changed, but for `spared`: files with owner, mode,
/// size and links, and the mount table.
fn state(spared: &[&Path]) -> Vec<String> {
    let mut state = Vec::new();
    for top in [SCRATCH, CONF_DIR] {
        add_state(Path::new(top), spared, &mut state);
    }
    state.extend(mount_table().lines().map(str::to_owned));
    state
}

fn add_state(path: &Path, spared: &[&Path], state: &mut Vec<String>) {
    if spared.contains(&path) {
        return;
    }
    let stat = fs::symlink_metadata(path).unwrap();
    let size = if stat.is_dir() { 0 } else { stat.len() };
    let (mode, uid, gid, links) = (stat.mode(), stat.uid(), stat.gid(), stat.nlink());
    state.push(format!("{path:?} {mode:o} {uid} {gid} {links} {size}"));
    if stat.is_dir() {
        let mut paths: Vec<_> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().for_each(|path| add_state(path, spared, state));
    }
}

/// A host with a log, whose run root is there already.
fn scene() -> (Host, UnixDatagram) {
    let mut host = Host::new();
    let log = log(&mut host);
    let id = "6700-00000000-0000-4000-8000-000000000000";
    host.call(&[USER.name, "reap-oci-container", id, "0"]).expect_success();
    assert_eq!(logged(&log), NOTHING, "what is well is not logged");
    (host, log)
}

/// Fails the test unless this call is refused with `code` and a line that has `said`, in both
/// places, and changes nothing but below `spared`.
#[track_caller]
fn refused<A: AsRef<OsStr> + std::fmt::Debug>(
    host: &Host,
    log: &UnixDatagram,
    arguments: &[A],
    (code, said): (i32, &str),
    spared: &[&Path],
) {
    let before = state(spared);
    let outcome = host.call(arguments);
    let changed: Vec<String> =
        state(spared).into_iter().filter(|entry| !before.contains(entry)).collect();
    assert_eq!(changed, NOTHING, "{arguments:?}");
    assert_eq!(state(spared).len(), before.len(), "{arguments:?}");
    assert_eq!(outcome.code, Some(code), "{arguments:?}: {outcome:#?}");
    assert_eq!(outcome.stdout, "", "{arguments:?}");
    let mut lines = outcome.stderr.lines();
    let line = lines.next().and_then(|line| line.strip_prefix("worker-launcher: "));
    let line = line.unwrap_or_else(|| panic!("{arguments:?}: {outcome:?}"));
    let shape = line.starts_with("cannot ") && line.contains(": ") && line.contains(said);
    assert!(shape, "{said:?} in {outcome:#?}");
    assert!(!outcome.stderr.replace('\n', "").contains(char::is_control), "{outcome:?}");
    let rest: Vec<&str> = lines.filter(|line| !line.starts_with("layer: /")).collect();
    assert!(rest.is_empty() || rest.len() == 1 && rest[0].starts_with("hint: "), "{outcome:#?}");
    let logged = logged(log);
    let [entry] = logged.as_slice() else {
        panic!("{arguments:?} logged {logged:#?}");
    };
    let expected = format!(": called by uid {}: {line}", SUPERVISOR.uid);
    assert!(entry.starts_with("<84>worker-launcher[") && entry.ends_with(&expected), "{entry}");
}

#[test]
fn arguments_and_accounts() {
    let (host, log) = scene();
    let missing = "/mnt/storm/workers/none";
    let id = "6700-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb";
    let user = USER.name;
    for (arguments, expected) in [
        (&[][..], (1, "expected <user> <command>")),
        (&[user], (1, "expected <user> <command>")),
        (&["--checksetup", "x"], (1, "expected")),
        (&[user, "rmr"], (1, "expected <user> rmr")),
        (&[user, "rmr", missing, missing], (1, "expected <user> rmr")),
        (&[user, "none", "x"], (3, "no such command")),
        (&[user, "run-docker-cmd", "x", "y"], (3, "without docker")),
        (&[user, "rmr", "relative"], (1, "not absolute")),
        (&[user, "rmr", "/mnt/storm/../home"], (1, "not absolute")),
        (&[user, "rmr", "/mnt/a\nb"], (1, "not absolute")),
        (&[user, "reap-oci-container", "6700", "0"], (1, "<port>-<uuid>")),
        (&[user, "reap-oci-container", id, "-1"], (1, "not a whole number")),
        (&[user, "signal", "x", "15"], (1, "not a whole number")),
        (&[user, "signal", "0", "15"], (9, "0")),
        (&[user, "signal", "2147483646", "15"], (9, "2147483646")),
        (&["root", "rmr", missing], (255, "it is root")),
        (&["daemon", "rmr", missing], (255, "below min.user.id 64110")),
        (&[BANNED.name, "rmr", missing], (255, "banned.users")),
        (&[GROUP_MEMBER.name, "rmr", missing], (255, "in group 64100")),
        (&["soci-nobody", "rmr", missing], (255, "no such account")),
        (&["a b", "rmr", missing], (255, "not an account name")),
    ] {
        refused(&host, &log, arguments, expected, &[]);
    }
    let odd = OsStr::from_bytes(b"/mnt/storm/\xff\x1b[2J");
    refused(&host, &log, &[user.as_ref(), "rmr".as_ref(), odd], (1, "UTF-8"), &[]);
    let long = format!("/mnt/storm/{}", "x/".repeat(60_000));
    refused(&host, &log, &[user, "rmr", &long], (1, "not absolute"), &[]);
}

#[test]
fn paths() {
    let (host, log) = scene();
    let storm = host.storm();
    host.directory("/mnt/home/other", Some(OTHER_USER), 0o755);
    host.directory(storm.join("foreign"), Some(OTHER_USER), 0o755);
    host.directory(storm.join("foreign/below"), Some(USER), 0o755);
    host.directory(storm.join("roots"), None, 0o755);
    host.directory(storm.join("held"), Some(SUPERVISOR), 0o755);
    host.link("/mnt/home", storm.join("link"), Some(SUPERVISOR));
    host.file(storm.join("file"), Some(SUPERVISOR), 0o644, "");
    let none: Option<&str> = None;
    mount(Some(&storm.join("workers")), &storm.join("held"), none, MsFlags::MS_BIND, none).unwrap();
    for (path, expected) in [
        ("/", (255, "the root directory")),
        ("/mnt", (255, "no directory above it belongs to uid 64101")),
        ("/mnt/home/user", (255, "no directory above it belongs to uid 64101")),
        ("/mnt/home/user/x", (255, "only root's may lie")),
        ("/mnt/home/other/x", (255, "owned by uid 64111")),
        ("/mnt/storm/foreign", (255, "owned by uid 64111")),
        ("/mnt/storm/foreign/below", (255, "owned by uid 64111")),
        ("/mnt/storm/roots", (255, "owned by uid 0")),
        ("/mnt/storm/link/user", (255, "it is a symbolic link")),
        ("/mnt/storm/file/x", (255, "Not a directory")),
        ("/mnt/storm/held", (255, "it is a mount point")),
    ] {
        for verb in ["code-dir", "artifacts-dir", "blob", "rmr"] {
            refused(&host, &log, &[USER.name, verb, path], expected, &[]);
        }
    }
    for verb in ["code-dir", "artifacts-dir", "blob"] {
        for path in ["/mnt/storm/none", "/mnt/storm/none/x"] {
            refused(&host, &log, &[USER.name, verb, path], (21, "/mnt/storm/none"), &[]);
        }
    }
    nix::mount::umount(&storm.join("held")).unwrap();
}

#[test]
fn program_and_configuration() {
    let (host, log) = scene();
    let call = [USER.name, "rmr", "/mnt/storm/workers/none"];
    let path = host.config_path();
    let good = fs::read(&path).unwrap();
    for (lines, said) in [
        ("nonsense", "is not `key=value`"),
        ("some.key=1", "unknown key"),
        ("min.user.id=x", "min.user.id"),
        ("worker.launcher.oci.rw-mounts=x", "worker.launcher.oci.rw-mounts"),
    ] {
        host.configure(lines);
        refused(&host, &log, &call, (24, said), &[]);
    }
    host.write_config(&good);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    refused(&host, &log, &call, (24, "mode 0666"), &[]);
    fs::remove_file(&path).unwrap();
    refused(&host, &log, &call, (24, "No such file"), &[]);
    host.write_config(&good);
    let other_name = host.storm().join("launcher");
    fs::hard_link(host.program(), &other_name).unwrap();
    refused(&host, &log, &call, (22, "2 hard links"), &[]);
    fs::remove_file(&other_name).unwrap();
    fs::set_permissions(host.program(), PermissionsExt::from_mode(0o6555)).unwrap();
    refused(&host, &log, &call, (22, "mode is 6555"), &[]);
    fs::set_permissions(host.program(), PermissionsExt::from_mode(0o550)).unwrap();
    refused(&host, &log, &call, (22, "not installed setuid"), &[]);
}

#[test]
fn commands_outside_containers() {
    let (host, log) = scene();
    let worker = host.storm().join("workers/one");
    host.directory(&worker, Some(SUPERVISOR), 0o755);
    let script = worker.join("script.sh");
    host.file(&script, Some(USER), 0o644, "exit 0");
    let (worker, script) = (worker.to_str().unwrap(), script.to_str().unwrap());
    refused(&host, &log, &[USER.name, "worker", worker, script], (5, "owned by uid 64110"), &[]);
    let own = std::process::id().to_string();
    let profile = [USER.name, "profile-oci-container", &own, script];
    refused(&host, &log, &profile, (24, "worker.profiler.script.path"), &[]);
    host.configure("worker.launcher.host-commands=false");
    for verb in ["worker", "profiler"] {
        let expected = (7, "worker.launcher.host-commands is false");
        refused(&host, &log, &[USER.name, verb, worker, script], expected, &[]);
    }
}

/// What is refused before the container's id is claimed changes nothing.
#[test]
fn requests_and_layers() {
    let (host, log) = scene();
    let image = Image::busybox(&host);
    let launch = |worker: &Worker, expected| {
        refused(&host, &log, &worker.launch_arguments(), expected, &[]);
    };
    type Change = fn(&mut serde_json::Value);
    let changes: [(Change, (i32, &str)); 6] = [
        (|request| request["extra"] = 1.into(), (24, "extra")),
        (|request| request["username"] = OTHER_USER.name.into(), (255, OTHER_USER.name)),
        (|request| request["layers"] = serde_json::json!([]), (24, "layer")),
        (|request| request["pidFile"] = "/mnt/storm/x".into(), (24, "pid")),
        (|request| request["containerId"] = "../../x".into(), (24, "<port>-<uuid>")),
        (
            |request| request["ociRuntimeConfig"]["linux"]["cgroupsPath"] = "/x".into(),
            (24, "cgroup"),
        ),
    ];
    for (change, expected) in changes {
        let mut worker = Worker::new(&host, &image, "");
        worker.amend(change);
        launch(&worker, expected);
    }
    let worker = Worker::new(&host, &image, "");
    let request = worker.request_path();
    fs::write(&request, "{").unwrap();
    launch(&worker, (24, "oci-config.json"));
    fs::remove_file(&request).unwrap();
    launch(&worker, (30, "No such file"));
    mkfifo(&request, Mode::from_bits_truncate(0o600)).unwrap();
    chown(&request, Some(SUPERVISOR.uid), None).unwrap();
    let outcome = host.call(&worker.launch_arguments());
    assert!(matches!(outcome.code, Some(30 | 31)), "{outcome:?}");
    logged(&log);

    let layer = support::image::layer_directory(&host).join("refused.sqsh");
    host.file(&layer, Some(USER), 0o644, "");
    let worker = Worker::new(&host, &Image::busybox(&host).with_file(&layer), "");
    launch(&worker, (50, "owned by uid 64110"));
    fs::remove_file(&layer).unwrap();
    launch(&worker, (50, "No such file"));
}

/// What is refused later leaves the worker's own directories as a launch makes them, and nothing
/// else.
#[test]
fn launches() {
    let (host, log) = scene();
    let image = Image::busybox(&host);
    // Layers stay mounted: the first launch is not the one that is compared.
    let running = Worker::new(&host, &image, "exec sleep 1000");
    running.launch(&host).expect_success();
    let launch = |worker: &Worker, expected| {
        let artifacts = fs::canonicalize(&worker.artifacts).unwrap();
        let spared = [worker.directory.as_path(), &artifacts];
        refused(&host, &log, &worker.launch_arguments(), expected, &spared);
    };
    running.write_request();
    launch(&running, (51, "exists"));
    let layer = support::image::layer_directory(&host).join("refused.sqsh");
    host.file(&layer, Some(SUPERVISOR), 0o644, &"x".repeat(8192));
    let worker = Worker::new(&host, &image.with_file(&layer), "");
    // It becomes root's before it is looked into.
    chown(&layer, Some(0), Some(0)).unwrap();
    fs::set_permissions(&layer, PermissionsExt::from_mode(0o444)).unwrap();
    launch(&worker, (50, "refused.sqsh"));
    let image = Image::busybox(&host);
    let worker = Worker::new(&host, &image, "exit 0");
    worker.launch(&host).expect_success();
    worker.exit_record(&host);
    worker.reap(&host, 100).expect_success();
    let reap = [USER.name, "reap-oci-container", &running.container, "9"];
    refused(&host, &log, &reap, (45, "still running"), &[]);
    let mut worker = Worker::new(&host, &image, "");
    worker.amend(|request| {
        let mounts = request["ociRuntimeConfig"]["mounts"].as_array_mut().unwrap();
        mounts.push(serde_json::json!({
            "destination": "/data", "type": "bind", "source": "/mnt/storm/none",
            "options": ["ro", "rbind", "rprivate"],
        }));
    });
    launch(&worker, (52, "/mnt/storm/none"));
    let mut worker = Worker::new(&host, &image, "");
    worker.amend(|request| {
        request["ociRuntimeConfig"]["process"]["args"] = ["none"].as_slice().into()
    });
    launch(&worker, (53, "none"));
    let worker = Worker::new(&host, &image, "");
    let hierarchy = &support::container::hierarchies()[0];
    let cgroup = hierarchy.join(support::container::cgroup_parent()).join(&worker.container);
    fs::create_dir(&cgroup).unwrap();
    launch(&worker, (55, "exists already"));
    fs::remove_dir(&cgroup).unwrap();
    running.kill(&host);
}
