//! The topology's user exchanges what a verb is about to touch, while it runs.
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

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
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
