//! What only root can set up: a full disk, files of another account. Fails without root.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fixture;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use fixture::{Fixture, TAG, example, names};
use storm_oci_store::LayerDescriptor;

/// An account id without an account: nothing of this host belongs to it.
const SUPERVISOR: u32 = 64_321;

fn require_root() {
    assert!(rustix::process::geteuid().is_root(), "this test must run as root");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A store that another account may read, and a cache of that account's.
fn supervisors_image() -> (Fixture, LayerDescriptor) {
    let fixture = Fixture::new();
    let layer = fixture.layer(b"squashfs");
    fixture.image(TAG, std::slice::from_ref(&layer));
    let root = fixture.top().parent().unwrap().to_owned();
    fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(fixture.local()).unwrap();
    chown(fixture.local(), Some(SUPERVISOR), Some(SUPERVISOR)).unwrap();
    // The build's own directory may be closed to other accounts. Another process copies: a test
    // that forks meanwhile would keep the program open for writing, and it could not be run.
    let copied = Command::new("cp").arg(example()).arg(root.join("localize")).status();
    assert!(copied.unwrap().success());
    (fixture, layer)
}

fn run_as_supervisor(fixture: &Fixture) -> Output {
    Command::new(fixture.top().parent().unwrap().join("localize"))
        .arg(fixture.top())
        .arg(fixture.tag_map())
        .arg(fixture.local())
        .arg(TAG)
        .uid(SUPERVISOR)
        .gid(SUPERVISOR)
        .output()
        .unwrap()
}

#[test]
fn a_full_disk_leaves_nothing_and_a_larger_one_works() {
    require_root();
    let fixture = Fixture::new();
    let layer = fixture.layer(b"");
    File::create(fixture.layer_path(&layer.digest)).unwrap().set_len(9 << 20).unwrap();
    fixture.image(TAG, &[layer]);
    fs::create_dir_all(fixture.local()).unwrap();
    // The mount lives in the script's own namespace and ends with it.
    let script = r#"
        mount -t tmpfs -o size=5m full-disk-test "$3"
        "$0" "$@" && exit 3
        find "$3/layers" "$3/partial" -type f
        echo enlarged
        mount -o remount,size=32m "$3"
        "$0" "$@"
    "#;
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(example())
        .arg(fixture.top())
        .arg(fixture.tag_map())
        .arg(fixture.local())
        .arg(TAG)
        .output()
        .unwrap();
    let (printed, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{printed}{errors}");
    assert!(errors.starts_with("FULL cannot "), "{errors}");
    assert!(errors.contains("No space left on device"), "{errors}");
    let (before, after) = printed.split_once("enlarged\n").unwrap();
    // Only the config's line: the first run found no room for the layer and kept no part of it.
    assert!(!before.contains(".sqsh"), "{before}");
    assert!(after.contains("fetched "), "{after}");
    assert_eq!(names(&fixture.local()), [""; 0], "the mount did not stay private");
}

#[test]
fn a_layer_that_became_roots_is_used_and_can_be_replaced() {
    require_root();
    let (fixture, layer) = supervisors_image();
    let (path, _) = fixture.cached(&layer);
    let run = || {
        let output = run_as_supervisor(&fixture);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).contains("fetched ")
    };
    assert!(run());
    assert_eq!(fs::metadata(&path).unwrap().uid(), SUPERVISOR);

    // As the launcher does before it mounts the file.
    chown(&path, Some(0), Some(0)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    assert!(!run(), "a layer of root's is complete all the same");

    let later = SystemTime::now() + Duration::from_secs(5);
    File::open(&path).unwrap().set_modified(later).unwrap();
    assert!(run(), "a touched layer is fetched again");
    assert_eq!(fs::metadata(&path).unwrap().uid(), SUPERVISOR);
}

#[test]
fn what_the_account_may_not_read_is_denied_not_missing() {
    require_root();
    let (fixture, layer) = supervisors_image();
    let remote = fixture.layer_path(&layer.digest);
    fs::set_permissions(&remote, Permissions::from_mode(0o600)).unwrap();
    let output = run_as_supervisor(&fixture);
    let errors = text(&output.stderr);
    assert!(!output.status.success());
    assert!(errors.starts_with("DENIED cannot "), "{errors}");
    assert!(errors.contains(layer.digest.as_hex()), "{errors}");
    assert!(errors.contains("Permission denied"), "{errors}");

    fs::set_permissions(&remote, Permissions::from_mode(0o644)).unwrap();
    assert!(run_as_supervisor(&fixture).status.success());
}
