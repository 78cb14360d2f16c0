//! The topology's or the supervisor's user exchanges what a verb is about to touch, while it runs.
//!
//! Each test tries many times; [`support::race::TRIES`] calls of the launcher against a
//! thread that does nothing but exchange. The victim is a tree of the supervisor's, made by the test.
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
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde_json::json;
use storm_oci_request::{FileIdentity, LayerKey};
use support::container::{Worker, give, give_back};
use support::image::{Image, copy_layer, layer_directory};
use support::race::race;
use support::tree::listing;
use support::{Host, SUPERVISOR, USER};

fn exchange(one: &Path, other: &Path) {
    // Fails while a verb removes one of them; the next turn tries again.
    let _missed = renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE);
}

/// A tree of the supervisor's that the user must not get: the owner alone would permit it.
fn victim(host: &Host) -> PathBuf {
    let tree = Path::new("/mnt/home/victim").to_owned();
    host.directory(&tree, Some(SUPERVISOR), 0o755);
    for number in 0..20 {
        let file = tree.join(number.to_string());
        host.file(&file, Some(SUPERVISOR), 0o600, "precious");
    }
    tree
}

/// A worker's directory of the user's, with something in it to exchange.
fn worker(host: &Host) -> PathBuf {
    let top = host.storm().join("workers/one");
    host.directory(&top, Some(USER), 0o755);
    top
}

/// Puts a directory of the user's with files in it at `top/name`, unless something is there.
///
/// It is filled elsewhere: the test is root, and must not follow what the attack exchanges.
fn fill(top: &Path, name: &str) {
    let stage = top.join("stage");
    fs::create_dir(&stage).unwrap();
    for number in 0..20 {
        let file = stage.join(number.to_string());
        fs::write(&file, "").unwrap();
        chown(&file, Some(USER.uid), Some(USER.gid)).unwrap();
    }
    chown(&stage, Some(USER.uid), Some(USER.gid)).unwrap();
    if fs::rename(&stage, top.join(name)).is_err() {
        fs::remove_dir_all(&stage).unwrap();
    }
}

#[test]
fn cve_2021_44731_a_directory_exchanged_for_a_link_while_it_is_given_away() {
    let host = Host::new();
    let (tree, top) = (victim(&host), worker(&host));
    let before = listing(&tree);
    fill(&top, "sub");
    host.link(tree.to_str().unwrap(), top.join("link"), Some(USER));
    race(
        || exchange(&top.join("sub"), &top.join("link")),
        || {
            host.call(&[USER.name, "artifacts-dir", top.to_str().unwrap()]).expect_success();
            assert_eq!(listing(&tree), before);
        },
    );
}

#[test]
fn cve_2022_3328_a_directory_exchanged_for_a_link_while_it_is_removed() {
    let host = Host::new();
    let (tree, top) = (victim(&host), worker(&host));
    let before = listing(&tree);
    race(
        || exchange(&top.join("sub"), &top.join("link")),
        || {
            let [sub, link] = ["sub", "link"].map(|name| top.join(name));
            if !sub.is_symlink() && !link.is_symlink() {
                let _absent = fs::remove_dir_all(&link);
                // Fails when they were exchanged just now; another turn comes.
                let _missed = symlink(&tree, &link);
            }
            fill(&top, "sub");
            let outcome = host.call(&[USER.name, "rmr", top.join("sub").to_str().unwrap()]);
            assert!(matches!(outcome.code, Some(0 | 255)), "{outcome:?}");
            assert_eq!(listing(&tree), before);
        },
    );
}

#[test]
fn a_directory_on_the_way_exchanged_for_a_link() {
    let host = Host::new();
    let (tree, top) = (victim(&host), worker(&host));
    fs::create_dir(tree.join("inner")).unwrap();
    fs::write(tree.join("inner/file"), "precious").unwrap();
    chown(tree.join("inner"), Some(USER.uid), Some(USER.gid)).unwrap();
    chown(tree.join("inner/file"), Some(USER.uid), Some(USER.gid)).unwrap();
    let before = listing(&tree);
    host.directory(top.join("way"), Some(USER), 0o755);
    host.link(tree.to_str().unwrap(), top.join("link"), Some(USER));
    let target = top.join("way/inner");
    race(
        || exchange(&top.join("way"), &top.join("link")),
        || {
            for verb in ["artifacts-dir", "rmr"] {
                let outcome = host.call(&[USER.name, verb, target.to_str().unwrap()]);
                assert!(matches!(outcome.code, Some(0 | 21 | 255)), "{outcome:?}");
                assert_eq!(listing(&tree), before, "{verb}");
            }
        },
    );
}

#[test]
fn a_file_exchanged_for_a_hard_link_of_anothers() {
    let host = Host::new();
    let (tree, top) = (victim(&host), worker(&host));
    let before = listing(&tree);
    host.file(top.join("own"), Some(USER), 0o644, "");
    fs::hard_link(tree.join("7"), top.join("linked")).unwrap();
    race(
        || exchange(&top.join("own"), &top.join("linked")),
        || {
            host.call(&[USER.name, "artifacts-dir", top.to_str().unwrap()]).expect_success();
            assert_eq!(listing(&tree), before);
        },
    );
}

/// A directory moved out of the tree while the launcher is far below it must not take the
/// launcher along: `..` leads elsewhere then.
#[test]
fn a_deep_directory_moved_away_does_not_lead_out_of_the_tree() {
    const LEVELS: usize = 80;
    let host = Host::new();
    let (tree, top) = (victim(&host), worker(&host));
    host.directory(tree.join("open"), Some(SUPERVISOR), 0o777);
    let before = listing(&tree);
    let grow = || {
        let mut path = top.join("deep");
        for _ in 0..LEVELS {
            let _exists = fs::create_dir(&path);
            let _gone = chown(&path, Some(USER.uid), Some(USER.gid));
            path.push("d");
        }
    };
    grow();
    // Below those that the launcher holds open.
    let middle = top.join(format!("deep{}", "/d".repeat(LEVELS * 3 / 4)));
    let outside = tree.join("open/moved");
    race(
        || {
            if fs::rename(&middle, &outside).is_ok() {
                fs::rename(&outside, &middle).or_else(|_| fs::remove_dir_all(&outside)).unwrap();
            }
        },
        || {
            for verb in ["artifacts-dir", "rmr"] {
                let outcome = host.call(&[USER.name, verb, top.join("deep").to_str().unwrap()]);
                assert!(matches!(outcome.code, Some(0 | 21 | 255)), "{outcome:?}");
            }
            grow();
        },
    );
    let _moved = fs::remove_dir_all(&outside);
    assert_eq!(listing(&tree), before);
}

/// What the supervisor's other threads write meanwhile must not stop a verb either.
#[test]
fn the_supervisors_own_writers_are_no_trouble() {
    let host = Host::new();
    let top = worker(&host);
    race(
        || {
            let (fresh, named) = (top.join("blob.tmp"), top.join("blob"));
            fs::write(&fresh, "").unwrap();
            chown(&fresh, Some(SUPERVISOR.uid), Some(SUPERVISOR.gid)).unwrap();
            fs::rename(&fresh, &named).unwrap();
            fs::remove_file(&named).unwrap();
        },
        || {
            host.call(&[USER.name, "code-dir", top.to_str().unwrap()]).expect_success();
        },
    );
}

/// The supervisor's user writes to the file while it is being checked, and so changes what it is.
#[test]
fn a_layer_that_changes_while_it_is_checked_is_refused() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let mut worker = Worker::new(&host, &image, "");
    let current = Mutex::new(PathBuf::new());
    let write = || {
        nix::unistd::setfsuid(SUPERVISOR.uid.into());
        let path = current.lock().unwrap().clone();
        // The launcher makes it root's in between.
        if let Ok(mut file) = fs::OpenOptions::new().append(true).open(path) {
            file.write_all(b"x").unwrap();
        }
    };
    let (tries, changed) = (Cell::new(0), Cell::new(0));
    race(write, || {
        let number = tries.replace(tries.get() + 1);
        let file = layer_directory(&host).join(format!("changing-{number}.sqsh"));
        copy_layer(&image.layers()[0], &file);
        give(&file, SUPERVISOR);
        worker.amend(|request| {
            request["layers"][0]["path"] = json!(file);
            // So that a try ends before runc starts.
            request["ociRuntimeConfig"]["process"]["args"][0] = json!("no-such-program");
        });
        current.lock().unwrap().clone_from(&file);
        let outcome = worker.launch(&host);
        if outcome.code == Some(50) {
            changed.set(changed.get() + 1);
            let stderr = &outcome.stderr;
            assert!(stderr.contains("changed") || stderr.contains("for writing"), "{stderr}");
        } else {
            outcome.expect_failure(53, "no-such-program");
            let mounted = host.run_root().join("layers").join(key_of(&file).as_str());
            assert!(mounted.exists(), "another file was checked than was mounted");
            give_back(&host);
        }
        fs::remove_file(&file).unwrap();
    });
    assert!(changed.get() > 10, "only {} layers changed in time", changed.get());
}

fn key_of(file: &Path) -> LayerKey {
    let stat = fs::metadata(file).unwrap();
    LayerKey::of(FileIdentity {
        device: stat.dev(),
        inode: stat.ino(),
        size: stat.size(),
        modified_seconds: stat.mtime(),
        modified_nanos: u64::try_from(stat.mtime_nsec()).unwrap(),
    })
}

/// The supervisor's user exchanges the checked file for one of the topology's user: only what was
/// checked is ever mounted.
#[test]
fn a_layer_that_is_swapped_meanwhile_is_the_supervisors_or_refused() {
    let host = Host::new();
    let image = Image::busybox(&host)
        .with_layer(&host, "sound", |root| fs::write(root.join("sound"), "").unwrap())
        .with_layer(&host, "evil", |root| {
            fs::create_dir(root.join("bin")).unwrap();
            symlink("busybox", root.join("bin/evil")).unwrap();
        });
    let [base, sound, evil] = [0, 1, 2].map(|number| &image.layers()[number]);
    give(evil, USER);
    let swapped = Image::default().with_file(base).with_file(sound);
    let mut worker = Worker::new(&host, &swapped, "");
    worker.amend(|request| {
        request["ociRuntimeConfig"]["process"]["args"][0] = json!("evil");
    });
    let (refused, mounted) = (Cell::new(0), Cell::new(0));
    race(
        || exchange(sound, evil),
        || {
            worker.write_request();
            let outcome = worker.launch(&host);
            if outcome.code == Some(50) {
                refused.set(refused.get() + 1);
                outcome.expect_failure(50, "owned by uid 64110");
            } else {
                mounted.set(mounted.get() + 1);
                outcome.expect_failure(53, "`evil`");
                give_back(&host);
            }
        },
    );
    assert!(refused.get() > 10 && mounted.get() > 10, "{refused:?} {mounted:?}");
}
