//! The supervisor's user names trees that are not his to give away or to remove.
//!
//! Every tree here was made by the test, in its own mount namespace.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::tree::listing;
use support::{Host, OTHER_SUPERVISOR, OTHER_USER, SUPERVISOR, TestAccount, USER};

/// The verbs that take a path.
const VERBS: [&str; 4] = ["code-dir", "artifacts-dir", "blob", "rmr"];

/// A directory with a file, a directory and a file in that.
fn victim(host: &Host, path: &str, owner: Option<TestAccount>) -> PathBuf {
    let top = Path::new(path).to_owned();
    host.directory(&top, owner, 0o755);
    host.file(top.join("file"), owner, 0o644, "content");
    host.directory(top.join("inner"), owner, 0o755);
    host.file(top.join("inner/file"), owner, 0o600, "content");
    top
}

/// Calls every verb on `path`, and on what is below it; none may do anything to `watched`.
#[track_caller]
fn expect_untouched(host: &Host, watched: &Path, path: &str, why: &str) {
    let before = listing(watched);
    for verb in VERBS {
        for path in [path.to_owned(), format!("{path}/inner")] {
            let outcome = host.call(&[USER.name, verb, &path]);
            assert_eq!(outcome.code, Some(255), "{verb} {path}: {outcome:?}");
            assert!(outcome.stderr.contains(why), "{verb} {path}: {outcome:?}");
            assert_eq!(listing(watched), before, "{verb} {path} changed {watched:?}");
        }
    }
}

#[test]
fn a_tree_of_roots_stays_roots() {
    let host = Host::new();
    let tree = victim(&host, "/mnt/home/roots", None);
    let why = "no directory above it belongs to uid 64101";
    expect_untouched(&host, &tree, "/mnt/home/roots", why);
}

#[test]
fn a_users_home_stays_the_users() {
    let host = Host::new();
    let home = Path::new("/mnt/home/user");
    host.directory(home.join("work"), Some(USER), 0o755);
    host.directory(home.join("work/inner"), Some(USER), 0o755);
    let why = "only root's may lie, even for uid 64110";
    expect_untouched(&host, home, "/mnt/home/user/work", why);
}

#[test]
fn the_supervisors_first_directory_is_not_given_away() {
    let host = Host::new();
    let before = listing(&host.storm());
    for verb in VERBS {
        host.call(&[USER.name, verb, "/mnt/storm"])
            .expect_failure(255, "no directory above it belongs to uid 64101");
    }
    assert_eq!(listing(&host.storm()), before);
}

#[test]
fn the_root_directory_is_refused_by_name() {
    let host = Host::new();
    for verb in VERBS {
        host.call(&[USER.name, verb, "/"]).expect_failure(255, "it is the root directory");
    }
}

#[test]
fn another_supervisors_tree_stays_his() {
    let host = Host::new();
    let base = victim(&host, "/mnt/storm2", Some(OTHER_SUPERVISOR));
    host.directory(base.join("work"), Some(OTHER_SUPERVISOR), 0o777);
    host.directory(base.join("work/inner"), Some(OTHER_SUPERVISOR), 0o777);
    let why = "owned by uid 64102, but above";
    expect_untouched(&host, &base, "/mnt/storm2/work", why);
    // Not even where the other lets everybody write.
    host.directory(base.join("work/mine"), Some(SUPERVISOR), 0o755);
    host.directory(base.join("work/mine/inner"), Some(SUPERVISOR), 0o755);
    expect_untouched(&host, &base, "/mnt/storm2/work/mine", why);
}

#[test]
fn what_others_have_inside_the_supervisors_tree_stays_theirs() {
    let host = Host::new();
    for (owner, uid) in [(None, 0), (Some(OTHER_USER), OTHER_USER.uid)] {
        let tree = victim(&host, &format!("/mnt/storm/of-{uid}"), owner);
        let path = tree.to_str().unwrap();
        let why = format!("owned by uid {uid}");
        expect_untouched(&host, &tree, path, &why);
        // Not even what is the user's, below it.
        let below = tree.join("of-user");
        host.directory(&below, Some(USER), 0o755);
        host.directory(below.join("inner"), Some(USER), 0o755);
        expect_untouched(&host, &tree, below.to_str().unwrap(), &why);
    }
}

#[test]
fn the_supervisors_links_lead_nowhere() {
    let host = Host::new();
    let tree = victim(&host, "/mnt/home/roots", None);
    host.link("/mnt/home", "/mnt/storm/link", Some(SUPERVISOR));
    expect_untouched(&host, &tree, "/mnt/storm/link/roots", "symbolic link");
    host.link("../..", "/mnt/storm/workers/up", Some(USER));
    expect_untouched(&host, &tree, "/mnt/storm/workers/up/home/roots", "link");
    // The supervisor's link, but in a directory of root's.
    host.link("/mnt/home", "/mnt/home/link", Some(SUPERVISOR));
    expect_untouched(&host, &tree, "/mnt/home/link/roots", "symbolic link");
    // Root's own link, but where the supervisor put it.
    host.link("/mnt/home", "/mnt/storm/roots-link", None);
    expect_untouched(&host, &tree, "/mnt/storm/roots-link/roots", "symbolic link");
    // Root's own link in a directory of root's that everybody can write.
    host.directory("/mnt/open", None, 0o1777);
    host.link("/mnt/home", "/mnt/open/link", None);
    expect_untouched(&host, &tree, "/mnt/open/link/roots", "symbolic link");
}

#[test]
fn links_inside_a_tree_lead_nowhere() {
    let host = Host::new();
    let top = host.storm().join("workers/one");
    for owner in [None, Some(SUPERVISOR)] {
        let uid = owner.map_or(0, |owner| owner.uid);
        let tree = victim(&host, &format!("/mnt/home/of-{uid}"), owner);
        let before = listing(&tree);
        host.directory(&top, Some(USER), 0o755);
        for (name, target) in [
            ("directory", format!("/mnt/home/of-{uid}")),
            ("file", format!("/mnt/home/of-{uid}/file")),
            ("relative", format!("../../../home/of-{uid}")),
            ("dangling", format!("/mnt/home/of-{uid}/none")),
        ] {
            host.link(&target, top.join(name), Some(USER));
        }
        let path = top.to_str().unwrap();
        for verb in VERBS {
            host.call(&[USER.name, verb, path]).expect_success();
            assert_eq!(listing(&tree), before, "{verb}");
        }
        assert!(!top.exists());
    }
}

#[test]
fn a_link_to_somebody_elses_file_gives_nothing() {
    let host = Host::new();
    let top = host.storm().join("workers/one");
    host.directory(&top, Some(USER), 0o755);
    let secret = host.storm().join("secret");
    host.file(&secret, Some(SUPERVISOR), 0o600, "the supervisor's");
    fs::hard_link(&secret, top.join("name")).unwrap();
    let path = top.to_str().unwrap();
    for verb in ["code-dir", "artifacts-dir", "blob"] {
        let told = host.call(&[USER.name, verb, path]).expect_success().stderr;
        assert!(told.contains("it has 2 hard links"), "{told}");
    }
    assert_eq!(listing(&secret), ["-rw------- 64101 64100 ./"]);
    // A victim who replaced his file leaves the attacker its only name.
    let deleted = Path::new("/mnt/home/deleted");
    host.file(deleted, Some(OTHER_USER), 0o600, "another's");
    fs::hard_link(deleted, top.join("last-name")).unwrap();
    fs::remove_file(deleted).unwrap();
    let told = host.call(&[USER.name, "artifacts-dir", path]).expect_success().stderr;
    assert!(told.contains("owned by uid 64111"), "{told}");
    assert!(
        listing(&top).contains(&"-rw------- 64111 64111 ./last-name".to_owned()),
        "{:#?}",
        listing(&top)
    );
}

#[test]
fn a_setuid_program_does_not_survive_a_change_of_owner() {
    let host = Host::new();
    let top = host.storm().join("workers/one");
    host.directory(&top, Some(SUPERVISOR), 0o755);
    host.file(top.join("program"), Some(SUPERVISOR), 0o6755, "#!");
    host.call(&[USER.name, "artifacts-dir", top.to_str().unwrap()]).expect_success();
    assert_eq!(listing(&top.join("program")), ["-rwxrw---- 64110 64100 ./"]);
}

/// The launcher must not tell the supervisor what lies where it cannot look itself.
#[test]
fn errors_tell_nothing_about_hidden_directories() {
    let host = Host::new();
    host.directory("/mnt/home/hidden", None, 0o700);
    host.directory("/mnt/home/hidden/there", None, 0o755);
    for verb in VERBS {
        let told = ["there", "not-there"].map(|name| {
            let path = format!("/mnt/home/hidden/{name}/x");
            let outcome = host.call(&[USER.name, verb, &path]);
            (outcome.code, outcome.stderr.replace(name, "NAME"))
        });
        assert_eq!(told[0], told[1], "{verb}");
        assert!(told[0].1.contains("Permission denied"), "{told:?}");
    }
}
