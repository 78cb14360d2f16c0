//! Attacks on `run-oci-container` by the supervisor's user, the topology's user and the author of
//! an image: each is refused with its own code, and nothing is left.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes and read what they made by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use support::container::{Worker, give, mount_table, mounts};
use support::image::Image;
use support::{Host, OTHER_USER, SUPERVISOR, USER};

fn bind(destination: &str, source: &Path, access: &str) -> Value {
    json!({
        "destination": destination, "type": "bind", "source": source,
        "options": [access, "rbind", "rprivate"],
    })
}

fn add_mount(worker: &mut Worker, mount: Value) {
    worker.amend(|request| {
        let mounts = request["ociRuntimeConfig"]["mounts"].as_array_mut().unwrap();
        mounts.push(mount);
    });
}

#[track_caller]
fn nothing_is_left(host: &Host, worker: &Worker) {
    assert_eq!(worker.traces(host), support::container::NOTHING);
}

#[test]
fn a_bind_source_must_be_the_users_to_reach() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let storm = host.storm();
    host.directory(storm.join("private"), Some(OTHER_USER), 0o700);
    host.directory(storm.join("private/deep"), Some(OTHER_USER), 0o777);
    for (source, problem) in [
        (
            storm.join("missing/deep"),
            format!("`{}`: No such file", storm.join("missing").display()),
        ),
        (
            storm.join("private/deep"),
            format!("`{}`: Permission denied", storm.join("private/deep").display()),
        ),
        (PathBuf::from("/dev/null"), "it is a device".to_owned()),
        (PathBuf::from("/proc/self/root/etc"), "Too many levels".to_owned()),
    ] {
        let mut worker = Worker::new(&host, &image, "");
        add_mount(&mut worker, bind("/data", &source, "ro"));
        worker.launch(&host).expect_failure(52, &problem);
        nothing_is_left(&host, &worker);
    }
}

#[test]
fn roots_own_places_cannot_be_mounted_for_writing() {
    let host = Host::new();
    let image = Image::busybox(&host);
    Worker::new(&host, &image, "").launch(&host).expect_success();
    symlink(host.run_root(), host.storm().join("way-round")).unwrap();
    let conf = Path::new(support::CONF_DIR);
    let places = [
        host.run_root(),
        host.run_root().parent().unwrap().to_owned(),
        host.storm().join("way-round"),
        PathBuf::from("/"),
        conf.to_owned(),
        conf.parent().unwrap().to_owned(),
    ];
    for place in &places {
        let mut worker = Worker::new(&host, &image, "");
        add_mount(&mut worker, bind("/data", place, "rw"));
        worker.launch(&host).expect_failure(52, "cannot be mounted for writing");
        nothing_is_left(&host, &worker);
    }
    // CVE-2026-48785 (Apptainer: `/scratch` matched `/scratch2`).
    let sibling = PathBuf::from(format!("{}-2", host.run_root().display()));
    host.directory(&sibling, Some(USER), 0o755);
    let mut worker = Worker::new(&host, &image, "touch /data/x && echo .");
    add_mount(&mut worker, bind("/data", &sibling, "rw"));
    worker.launch(&host).expect_success();
    assert_eq!(worker.stdout(), ".\n");
}

#[test]
fn read_only_holds_for_mounts_below_too() {
    let host = Host::new();
    let source = host.storm().join("source");
    host.directory(&source, Some(USER), 0o777);
    host.directory(source.join("below"), Some(USER), 0o777);
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(
        Some("tmpfs"),
        &source.join("below"),
        Some("tmpfs"),
        flags,
        Some("mode=0777"),
    )
    .unwrap();
    let mut worker = Worker::new(
        &host,
        &Image::busybox(&host),
        "touch /data/x /data/below/x; ls -R /data; echo .",
    );
    add_mount(&mut worker, bind("/data", &source, "ro"));
    worker.launch(&host).expect_success();
    assert_eq!(worker.stdout(), "/data:\nbelow\n\n/data/below:\n.\n");
    worker.exit_record(&host);
    nix::mount::umount2(&source.join("below"), nix::mount::MntFlags::MNT_DETACH).unwrap();
}

/// CVE-2025-31133, -52565 and -52881 (runc), CVE-2026-41579 (runc) and -47766 (crun): the image
/// has something else where the runtime expects a directory.
#[test]
fn an_image_cannot_redirect_what_is_mounted_over_it() {
    let host = Host::new();
    let victim = host.storm().join("victim");
    host.directory(&victim, None, 0o755);
    let hostile = |name: &str, kind: &str, fill: &dyn Fn(&Path)| {
        // Not on top of the base layer: a directory there would be merged.
        Image::busybox_without(&host, name).with_layer(&host, &format!("{name}-{kind}"), fill)
    };
    let hostname = || bind("/etc/hostname", Path::new("/etc/hostname"), "ro");
    for name in ["dev", "proc", "sys", "etc", "tmp"] {
        let link = |root: &Path| symlink(&victim, root.join(name)).unwrap();
        let file = |root: &Path| fs::write(root.join(name), "").unwrap();
        type Fill<'a> = &'a dyn Fn(&Path);
        let fills: [(&str, Fill<'_>); 2] = [("link", &link), ("file", &file)];
        for (kind, fill) in fills {
            let mut worker = Worker::new(&host, &hostile(name, kind, fill), "echo .");
            add_mount(&mut worker, hostname());
            worker.launch(&host).expect_failure(54, &format!("`/{name}`: in the image"));
            nothing_is_left(&host, &worker);
        }
        // The same link, to a directory of the image.
        let inside = |root: &Path| {
            link(root);
            fs::create_dir_all(root.join(victim.strip_prefix("/").unwrap())).unwrap();
        };
        let mut worker = Worker::new(&host, &hostile(name, "inside", &inside), "echo .");
        add_mount(&mut worker, hostname());
        let outcome = worker.launch(&host);
        if matches!(name, "dev" | "proc" | "sys") {
            outcome.expect_failure(54, "it is no directory");
        } else {
            outcome.expect_success();
            worker.exit_record(&host);
        }
    }
    let found = fs::read_dir(&victim).unwrap().count();
    assert_eq!(found, 0, "the host was reached");
}

#[test]
fn an_image_cannot_lead_a_mount_below_the_kernels_directories() {
    let host = Host::new();
    let image = Image::busybox(&host).with_layer(&host, "sly", |root| {
        symlink("/proc", root.join("opt")).unwrap();
        symlink("../../dev", root.join("srv")).unwrap();
    });
    for destination in ["/opt/1", "/srv/shm"] {
        let mut worker = Worker::new(&host, &image, "echo .");
        add_mount(&mut worker, bind(destination, &host.storm().join("workers"), "ro"));
        worker.launch(&host).expect_failure(54, "in the image it leads to");
        nothing_is_left(&host, &worker);
    }
}

/// The kernel gives a look-up with `..` up when anything on the host is renamed meanwhile: that
/// must cost nobody a launch.
#[test]
fn renames_elsewhere_do_not_fail_a_launch() {
    let host = Host::new();
    let image = Image::busybox_without(&host, "tmp").with_layer(&host, "linked", |root| {
        fs::create_dir_all(root.join("a/b/c/d")).unwrap();
        fs::create_dir(root.join("place")).unwrap();
        symlink("a/b/../../a/b/c/../c/d/../../../../place", root.join("tmp")).unwrap();
    });
    let busy = Path::new(support::SCRATCH).join("busy");
    host.directory(&busy, None, 0o755);
    host.directory(busy.join("one"), None, 0o755);
    let workers: Vec<Worker> = (0..10).map(|_| Worker::new(&host, &image, "echo .")).collect();
    let busy = fs::File::open(&busy).unwrap();
    let stop = AtomicBool::new(false);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut names = ["one", "other"];
            while !stop.load(Ordering::Relaxed) {
                let _busy = rustix::fs::renameat(&busy, names[0], &busy, names[1]);
                names.reverse();
            }
        });
        let outcomes = workers.iter().map(|worker| worker.launch(&host)).collect();
        stop.store(true, Ordering::Relaxed);
        outcomes
    });
    for outcome in outcomes {
        outcome.expect_success();
    }
}

/// CVE-2019-11328 (Singularity: files in a user-writable place steer the setuid program).
#[test]
fn a_request_that_the_user_could_have_written_is_refused() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let worker = Worker::new(&host, &image, "");
    let path = worker.request_path();
    give(&path, USER);
    worker.launch(&host).expect_failure(31, "owned by uid 64110");
    give(&path, SUPERVISOR);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
    worker.launch(&host).expect_failure(31, "mode 0646");
    fs::rename(&path, path.with_extension("real")).unwrap();
    symlink(path.with_extension("real"), &path).unwrap();
    worker.launch(&host).expect_failure(30, "Too many levels");
    nothing_is_left(&host, &worker);
}

#[test]
fn a_request_is_a_plain_file_that_the_supervisor_can_read() {
    let host = Host::new();
    let worker = Worker::new(&host, &Image::busybox(&host), "");
    let path = worker.request_path();
    chown(&path, Some(0), Some(0)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    worker.launch(&host).expect_failure(30, "Permission denied");
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    give(&path, SUPERVISOR);
    worker.launch(&host).expect_failure(31, "not a regular file");
    fs::remove_file(&path).unwrap();
    host.file(&path, Some(SUPERVISOR), 0o644, &" ".repeat((1 << 20) + 1));
    worker.launch(&host).expect_failure(31, "larger than 1048576 bytes");
    nothing_is_left(&host, &worker);
}

#[test]
fn a_request_must_agree_with_the_command_line() {
    let host = Host::new();
    let image = Image::busybox(&host);
    type Change = fn(&mut Value);
    let cases: [(Change, i32, &str); 5] = [
        (|request| request["username"] = json!(OTHER_USER.name), 255, "the request names"),
        (
            |request| request["ociRuntimeConfig"]["linux"]["cgroupsPath"] = json!("/other/x"),
            24,
            "cgroup",
        ),
        (
            |request| {
                request["pidFile"] = json!(format!(
                    "/etc/container-{}.pid",
                    request["containerId"].as_str().unwrap().split_once('-').unwrap().1
                ))
            },
            24,
            "pidFile",
        ),
        (|request| request["hooks"] = json!({}), 24, "hooks"),
        (|request| request["ociRuntimeConfig"]["process"]["user"] = json!({"uid": 0}), 24, "user"),
    ];
    for (change, code, problem) in cases {
        let mut worker = Worker::new(&host, &image, "");
        worker.amend(change);
        worker.launch(&host).expect_failure(code, problem);
        nothing_is_left(&host, &worker);
    }
    let worker = Worker::new(&host, &image, "");
    let mut arguments = worker.launch_arguments();
    let other = Worker::new(&host, &image, "");
    let others = std::mem::replace(&mut arguments[3], other.launch_arguments()[3].clone());
    host.call(&arguments).expect_failure(24, &format!("its worker is {}", other.id));
    nothing_is_left(&host, &other);
    arguments[3] = others;
    OTHER_USER.name.clone_into(&mut arguments[0]);
    host.call(&arguments).expect_failure(255, "the request names");
    arguments[0] = "root".to_owned();
    host.call(&arguments).expect_failure(255, "it is root");
}

/// Names that the topology's user puts where the launcher writes for people.
#[test]
fn files_for_people_follow_no_link_of_the_users() {
    let host = Host::new();
    let victim = host.storm().join("victim");
    host.file(&victim, Some(SUPERVISOR), 0o600, "precious");
    let worker = Worker::new(&host, &Image::busybox(&host), "echo .");
    for name in [
        format!("container-{}.pid", worker.id),
        format!("runc-{}.out", worker.container),
        format!("runc-{}.err", worker.container),
    ] {
        host.link(victim.to_str().unwrap(), worker.artifacts.join(name), Some(USER));
    }
    host.link(victim.to_str().unwrap(), worker.directory.join("config.json"), Some(USER));
    worker.launch(&host).expect_success();
    assert_eq!(worker.stdout(), ".\n");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    let stat = fs::metadata(&victim).unwrap();
    assert_eq!((stat.uid(), stat.mode() & 0o7777), (SUPERVISOR.uid, 0o600));
}

/// CVE-2021-30465 (runc: links exchanged in a shared volume): the source of a bind is swapped
/// for a link to somebody else's directory all the time; what is mounted is never that.
#[test]
fn a_source_that_is_swapped_meanwhile_is_the_users_or_refused() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let home = Path::new(support::SCRATCH).join("home/user");
    let secret = host.storm().join("secret");
    host.directory(&secret, Some(SUPERVISOR), 0o700);
    host.file(secret.join("loot"), Some(SUPERVISOR), 0o644, "loot");
    host.directory(home.join("data"), Some(USER), 0o755);
    host.link(secret.to_str().unwrap(), home.join("link"), Some(USER));
    let workers: Vec<Worker> = (0..15)
        .map(|_| {
            let mut worker = Worker::new(&host, &image, "ls /data; echo .");
            add_mount(&mut worker, bind("/data", &home.join("data"), "rw"));
            worker
        })
        .collect();
    let directory = fs::File::open(&home).unwrap();
    let stop = AtomicBool::new(false);
    let (outcomes, swaps) = std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut swaps = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&directory, "data", &directory, "link", flags).unwrap();
                swaps += 1;
            }
            swaps
        });
        // Nothing here may panic: the scope would wait for the swapper for ever.
        let outcomes: Vec<_> =
            workers.into_iter().map(|worker| (worker.launch(&host), worker)).collect();
        stop.store(true, Ordering::Relaxed);
        (outcomes, swapper.join().unwrap())
    });
    for (outcome, worker) in outcomes {
        match outcome.code {
            Some(0) => assert_eq!(worker.stdout(), ".\n"),
            _ => drop(outcome.expect_failure(52, "Permission denied")),
        }
    }
    assert!(swaps > 1000, "only {swaps} swaps");
}

/// CVE-2018-19295 (Singularity: shared propagation).
#[test]
fn a_failed_launch_leaves_the_mount_table_as_it_was() {
    let host = Host::new();
    let image = Image::busybox(&host);
    Worker::new(&host, &image, "").launch(&host).expect_success();
    let before = mount_table();
    let mut worker = Worker::new(&host, &image, "");
    add_mount(&mut worker, bind("/data", Path::new("/nowhere"), "ro"));
    worker.launch(&host).expect_failure(52, "/nowhere");
    let after = mount_table();
    // Other programs of the real host may take mounts away meanwhile, never add any here.
    let new: Vec<&str> = after.lines().filter(|line| !before.contains(line)).collect();
    assert!(new.is_empty(), "{new:?}");
    assert_eq!(mounts(&host).len(), 1);
}
