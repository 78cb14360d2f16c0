//! `code-dir`, `artifacts-dir`, `blob` and `rmr`: what they leave, compared with what the
//! original leaves, and that trees of any size and shape are no trouble.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount, umount};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use support::container::Worker;
use support::image::Image;
use support::race::race;
use support::tree::listing;
use support::{Host, OTHER_USER, SUPERVISOR, TestAccount, USER};

const STORM: Option<TestAccount> = Some(SUPERVISOR);

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the harness is text")
}

/// A topology's code as the supervisor has just put it there.
fn topology(host: &Host) -> PathBuf {
    let top = host.storm().join("stormdist/words-1");
    host.directory(&top, STORM, 0o755);
    host.directory(top.join("resources"), STORM, 0o755);
    host.directory(top.join("shared_by_topology"), STORM, 0o755);
    host.file(top.join("stormjar.jar"), STORM, 0o644, "jar");
    host.file(top.join("run.sh"), STORM, 0o755, "x");
    host.link("resources", top.join("link"), STORM);
    top
}

#[test]
fn code_dir_leaves_what_the_original_leaves() {
    let host = Host::new();
    let top = topology(&host);
    let expected = [
        "dr-xrws--- 64110 64100 ./",
        "lrwxrwxrwx 64101 64100 ./link",
        "dr-xrws--- 64110 64100 ./resources",
        "-r-xrw---- 64110 64100 ./run.sh",
        "dr-xrws--- 64110 64100 ./shared_by_topology",
        "-r--rw---- 64110 64100 ./stormjar.jar",
    ];
    // Storm calls it several times in a row.
    for _ in 0..2 {
        host.call(&[USER.name, "code-dir", text(&top)]).expect_success();
        assert_eq!(listing(&top), expected);
    }
    host.call(&[USER.name, "artifacts-dir", text(&top.join("shared_by_topology"))])
        .expect_success();
    assert_eq!(listing(&top.join("shared_by_topology")), ["drwxrws--- 64110 64100 ./"]);
}

#[test]
fn artifacts_dir_lets_the_user_write() {
    let host = Host::new();
    let top = topology(&host);
    host.call(&[USER.name, "Artifacts-Dir", text(&top)]).expect_success();
    assert_eq!(
        listing(&top),
        [
            "drwxrws--- 64110 64100 ./",
            "lrwxrwxrwx 64101 64100 ./link",
            "drwxrws--- 64110 64100 ./resources",
            "-rwxrw---- 64110 64100 ./run.sh",
            "drwxrws--- 64110 64100 ./shared_by_topology",
            "-rw-rw---- 64110 64100 ./stormjar.jar",
        ]
    );
}

#[test]
fn blob_takes_a_file_as_well() {
    let host = Host::new();
    let file = host.storm().join("stormdist/words.txt");
    host.file(&file, STORM, 0o644, "words");
    host.call(&[USER.name, "blob", text(&file)]).expect_success();
    assert_eq!(listing(&file), ["-r--rw---- 64110 64100 ./"]);
}

#[test]
fn a_missing_path_has_the_originals_code() {
    let host = Host::new();
    let missing = host.storm().join("workers/none");
    for verb in ["code-dir", "artifacts-dir", "blob"] {
        host.call(&[USER.name, verb, text(&missing)])
            .expect_failure(21, "No such file or directory");
    }
    host.call(&[USER.name, "rmr", text(&missing)]).expect_success();
    host.call(&[USER.name, "rmr", text(&missing.join("below"))]).expect_success();
}

#[test]
fn a_link_is_neither_followed_nor_changed() {
    let host = Host::new();
    let top = topology(&host);
    let before = listing(&top);
    let link = host.storm().join("workers/link");
    host.link(text(&top), &link, STORM);
    host.call(&[USER.name, "artifacts-dir", text(&link)]).expect_success();
    assert_eq!(listing(&top), before);
    host.call(&[USER.name, "artifacts-dir", text(&link.join("resources"))])
        .expect_failure(255, "symbolic link");
    host.call(&[USER.name, "rmr", text(&link)]).expect_success();
    assert!(fs::symlink_metadata(&link).is_err());
    assert_eq!(listing(&top), before);
}

#[test]
fn roots_own_links_on_the_way_are_followed() {
    let host = Host::new();
    let top = topology(&host);
    host.link("../mnt/./storm", "/mnt/home/current", None);
    host.call(&[USER.name, "code-dir", "/mnt/home/../home/current/stormdist/words-1"])
        .expect_failure(1, "path");
    host.call(&[USER.name, "code-dir", "/mnt/home/current/stormdist/words-1"])
        .expect_failure(21, "No such file");
    fs::remove_file("/mnt/home/current").unwrap();
    host.link("../storm", "/mnt/home/current", None);
    host.call(&[USER.name, "code-dir", "/mnt/home/current/stormdist/words-1"]).expect_success();
    assert_eq!(listing(&top)[0], "dr-xrws--- 64110 64100 ./");
    host.link("/mnt/home/loop", "/mnt/home/loop", None);
    host.call(&[USER.name, "code-dir", "/mnt/home/loop/x"]).expect_failure(255, "symbolic links");
}

#[test]
fn what_is_not_theirs_or_no_file_is_passed_over() {
    let host = Host::new();
    let top = topology(&host);
    host.file(top.join("roots"), None, 0o600, "root's");
    host.directory(top.join("others"), Some(OTHER_USER), 0o700);
    host.file(top.join("others/file"), Some(OTHER_USER), 0o600, "other's");
    host.file(top.join("twice"), STORM, 0o600, "two names");
    fs::hard_link(top.join("twice"), host.storm().join("second-name")).unwrap();
    mkfifo(&top.join("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
    let told = host.call(&[USER.name, "artifacts-dir", text(&top)]).expect_success().stderr;
    for (name, why) in [
        ("roots", "owned by uid 0"),
        ("others", "owned by uid 64111"),
        ("twice", "2 hard links"),
        ("fifo", "neither a file nor a directory"),
    ] {
        let path = text(&top.join(name)).to_owned();
        assert!(
            told.lines()
                .any(|line| line.contains(&format!("passed over `{path}`")) && line.contains(why)),
            "{name}: {told}"
        );
    }
    let after = listing(&top);
    for untouched in [
        "-rw------- 0 0 ./roots",
        "drwx------ 64111 64111 ./others",
        "-rw------- 64111 64111 ./others/file",
        "-rw------- 64101 64100 ./twice",
    ] {
        assert!(after.contains(&untouched.to_owned()), "{after:#?}");
    }
    assert!(after.contains(&"-rw-rw---- 64110 64100 ./stormjar.jar".to_owned()));
}

#[test]
fn notes_about_a_flood_of_entries_are_few() {
    let host = Host::new();
    let top = host.storm().join("stormdist/many");
    host.directory(&top, STORM, 0o755);
    for number in 0..200 {
        mkfifo(&top.join(number.to_string()), Mode::from_bits_truncate(0o600)).unwrap();
    }
    let told = host.call(&[USER.name, "artifacts-dir", text(&top)]).expect_success().stderr;
    assert_eq!(told.lines().count(), 11, "{told}");
}

#[test]
fn no_verb_crosses_a_mount_point() {
    let host = Host::new();
    let top = topology(&host);
    let elsewhere = host.storm().join("elsewhere");
    host.directory(&elsewhere, STORM, 0o755);
    host.file(elsewhere.join("kept"), STORM, 0o644, "kept");
    let place = top.join("resources");
    let none: Option<&str> = None;
    // A bind mount of the same file system: the device number tells nothing here.
    mount(Some(&elsewhere), &place, none, MsFlags::MS_BIND, none).unwrap();
    let before = listing(&elsewhere);
    let told = host.call(&[USER.name, "code-dir", text(&top)]).expect_success().stderr;
    assert!(told.contains("it is a mount point"), "{told}");
    assert_eq!(listing(&elsewhere), before);
    host.call(&[USER.name, "rmr", text(&top)]).expect_failure(255, "it is a mount point");
    host.call(&[USER.name, "rmr", text(&place)]).expect_failure(255, "it is a mount point");
    assert_eq!(listing(&elsewhere), before);
    umount(&place).unwrap();
    host.call(&[USER.name, "rmr", text(&top)]).expect_success();
    assert!(!top.exists());
    assert_eq!(listing(&elsewhere), before);
}

/// A worker's directory after a launch: the user's and the supervisor's files mixed, and what a
/// user may do to his directories.
fn worn_worker(host: &Host) -> PathBuf {
    let worker = host.storm().join("workers/1a23ca4b");
    let user = Some(USER);
    let mixed = Some(TestAccount { gid: SUPERVISOR.gid, ..USER });
    host.directory(&worker, mixed, 0o2770);
    host.directory(worker.join("heartbeats"), mixed, 0o2770);
    host.file(worker.join("config.json"), STORM, 0o600, "{}");
    host.directory(worker.join("of-storm"), STORM, 0o700);
    host.file(worker.join("of-storm/file"), STORM, 0o600, "");
    host.directory(worker.join("shut"), user, 0o700);
    host.file(worker.join("shut/file"), user, 0o000, "");
    host.directory(worker.join("shut/inner"), user, 0o000);
    fs::set_permissions(worker.join("shut"), PermissionsExt::from_mode(0o500)).unwrap();
    host.link("/mnt/home", worker.join("link"), user);
    mkfifo(&worker.join("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
    worker
}

#[test]
fn rmr_removes_what_either_owner_left() {
    let host = Host::new();
    let worker = worn_worker(&host);
    host.call(&[USER.name, "rmr", text(&worker.join("heartbeats"))]).expect_success();
    assert!(!worker.join("heartbeats").exists());
    host.call(&[USER.name, "rmr", text(&worker)]).expect_success();
    assert!(!worker.exists());
    assert!(Path::new("/mnt/home/user").exists());
}

#[test]
fn rmr_works_for_the_supervisors_own_account() {
    let host = Host::new();
    let users = host.storm().join("workers-users");
    host.directory(&users, STORM, 0o755);
    host.file(users.join("1a23ca4b"), STORM, 0o644, USER.name);
    host.call(&[SUPERVISOR.name, "rmr", text(&users.join("1a23ca4b"))]).expect_success();
    assert_eq!(listing(&users), ["drwxr-xr-x 64101 64100 ./"]);
}

#[test]
fn rmr_keeps_what_neither_owner_may_remove() {
    let host = Host::new();
    let worker = worn_worker(&host);
    host.directory(worker.join("roots"), None, 0o755);
    host.file(worker.join("roots/file"), None, 0o644, "root's");
    host.call(&[USER.name, "rmr", text(&worker)]).expect_failure(255, "roots");
    assert_eq!(fs::read_to_string(worker.join("roots/file")).unwrap(), "root's");
    assert_eq!(fs::read_dir(&worker).unwrap().count(), 1, "all else is removed");
}

/// Makes a chain of directories far longer than any path may be.
fn deep(top: &Path, levels: u32) {
    use nix::fcntl::{OFlag, open, openat};
    use nix::sys::stat::mkdirat;
    use nix::unistd::{Gid, Uid, fchown};
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
    let mode = Mode::from_bits_truncate(0o755);
    let (uid, gid) = (Uid::from_raw(USER.uid), Gid::from_raw(USER.gid));
    let mut current = open(top, flags, Mode::empty()).unwrap();
    for _ in 0..levels {
        mkdirat(&current, "d", mode).unwrap();
        current = openat(&current, "d", flags, Mode::empty()).unwrap();
        fchown(&current, Some(uid), Some(gid)).unwrap();
    }
}

#[test]
fn depth_is_no_limit() {
    const LEVELS: u32 = 20_000;
    let host = Host::new();
    let top = host.storm().join("workers/deep");
    host.directory(&top, Some(USER), 0o755);
    deep(&top, LEVELS);
    host.call(&[USER.name, "artifacts-dir", text(&top)]).expect_success();
    let mut lowest_seen = top.clone();
    for _ in 0..100 {
        lowest_seen.push("d");
    }
    assert_eq!(fs::metadata(&lowest_seen).unwrap().gid(), SUPERVISOR.gid);
    host.call(&[USER.name, "rmr", text(&top)]).expect_success();
    assert!(!top.exists());
}

#[test]
fn width_is_no_limit() {
    const ENTRIES: u32 = 100_000;
    let host = Host::new();
    let top = host.storm().join("workers/wide");
    host.directory(&top, Some(USER), 0o755);
    for number in 0..ENTRIES {
        let path = top.join(number.to_string());
        if number % 10 == 0 {
            fs::create_dir(&path).unwrap();
        } else {
            fs::write(&path, "").unwrap();
        }
        std::os::unix::fs::chown(&path, Some(USER.uid), Some(USER.gid)).unwrap();
    }
    host.call(&[USER.name, "code-dir", text(&top)]).expect_success();
    assert_eq!(fs::metadata(top.join("99999")).unwrap().mode(), 0o100_460);
    assert_eq!(fs::metadata(top.join("10")).unwrap().mode(), 0o042_570);
    host.call(&[USER.name, "rmr", text(&top)]).expect_success();
    assert!(!top.exists());
}

#[test]
fn files_that_vanish_meanwhile_are_no_failure() {
    let host = Host::new();
    let top = topology(&host);
    let paths: Vec<PathBuf> =
        (0..50).map(|number| top.join(format!("resources/blob-{number}"))).collect();
    race(
        || {
            for path in &paths {
                fs::write(path, "").unwrap();
                std::os::unix::fs::chown(path, Some(SUPERVISOR.uid), Some(SUPERVISOR.gid)).unwrap();
            }
            for path in &paths {
                fs::remove_file(path).unwrap();
            }
        },
        || {
            host.call(&[USER.name, "code-dir", text(&top)]).expect_success();
        },
    );
}

/// The worker's directory as a stock run leaves it, owners and modes.
#[test]
fn a_launch_leaves_the_workers_directory_as_the_original_does() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let worker = Worker::new(&host, &image, "exec sleep 1000");
    let script = worker.directory.join("storm-worker-script.sh");
    fs::set_permissions(&script, PermissionsExt::from_mode(0o644)).unwrap();
    host.directory(worker.directory.join("pids"), STORM, 0o755);
    host.directory(worker.directory.join("heartbeats"), STORM, 0o755);
    host.directory(worker.directory.join("tmp/sub"), STORM, 0o755);
    worker.launch(&host).expect_success();
    assert_eq!(
        listing(&worker.directory),
        [
            "drwxrws--- 64110 64100 ./",
            "lrwxrwxrwx 64101 64100 ./artifacts",
            "-rw------- 64101 64100 ./config.json",
            "drwxrws--- 64110 64100 ./heartbeats",
            "-rw-rw---- 64110 64100 ./oci-config.json",
            "drwxrws--- 64110 64100 ./pids",
            "-rw-rw---- 64110 64100 ./storm-worker-script.sh",
            "drwxrwx--- 64110 64100 ./tmp",
            "drwxrwx--- 64110 64100 ./tmp/sub",
        ]
    );
}
