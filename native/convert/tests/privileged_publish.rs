//! Stores that cannot take what is written. Needs root, and fails without.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod publishing;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use publishing::{Sample, Site, bytes_of, references};
use storm_oci_store::{ErrorKind, RemoteSettings};

/// Set in the process that has a mount namespace, or an account, of its own.
const INSIDE: &str = "STORM_OCI_TEST_INSIDE";
const TOP: &str = "STORM_OCI_TEST_TOP";

fn this(test: &str, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    command
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_leaves_a_valid_store() {
    let name = "a_full_disk_is_an_error_and_leaves_a_valid_store";
    let scratch = tempfile::tempdir().unwrap();
    if std::env::var_os(INSIDE).is_none() {
        let namespace = ["--mount", "--propagation", "private", "--kill-child", "--fork"];
        let mut inside = this(name, "unshare", &namespace);
        assert!(inside.env("TMPDIR", scratch.path()).status().unwrap().success());
        return;
    }
    let top = scratch.path().to_str().unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8M", "full-store-test", top])
        .status();
    assert!(mount.unwrap().success());
    let site = Site::new(&format!("{top}/images"), RemoteSettings::default());
    let publisher = site.publisher();
    let small = Sample::small("small");
    small.publish(&publisher, &["small:1"]).await.unwrap();
    let large = Sample::new("large", &[bytes_of(1, 3 << 20), bytes_of(2, 7 << 20)]);
    let error = large.publish(&publisher, &["large:1"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(error.to_string().contains("No space left on device"), "{error}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    let names = site.names("layers").await;
    assert!(names.iter().all(|name| !name.starts_with('.')), "{names:?}");
    site.must_run("small:1", &small).await;
    // Not even room for a lock: a file of this size takes all blocks that are left.
    let filler = format!("{top}/filler");
    let _ = fs::write(&filler, vec![1; 8 << 20]);
    let error = publisher.tag(&small.digest(), &references(&["other:1"]), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    fs::remove_file(filler).unwrap();
    publisher.tag(&small.digest(), &references(&["other:1"]), None).await.unwrap();
    let verified = publisher.verify(&[]).await.unwrap();
    assert!(verified.iter().all(|image| image.problems.is_empty()), "{verified:?}");
    assert_eq!(site.names("").await, ["image-tag-to-hash"]);
}

#[tokio::test]
async fn a_directory_without_the_right_to_write_is_refused() {
    let name = "a_directory_without_the_right_to_write_is_refused";
    let remote = RemoteSettings::default();
    if let Some(top) = std::env::var_os(TOP) {
        let site = Site::new(top.to_str().unwrap(), remote);
        let publisher = site.publisher();
        let other = Sample::small("other");
        let error = other.put(&publisher).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.to_string().starts_with("cannot write file:///"), "{error}");
        let image = publisher.list().await.unwrap().remove(0);
        assert_eq!(image.problems, [], "who may not write may look");
        let error = publisher.tag(&image.digest, &references(&["b:1"]), None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        let dry = storm_oci_convert::publish::GcOptions { dry_run: true, ..Default::default() };
        assert_eq!(publisher.gc(&dry).await.unwrap().remove, []);
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
    let top = scratch.path().join("images");
    let site = Site::new(top.to_str().unwrap(), remote);
    Sample::small("readable").publish(&site.publisher(), &["a:1"]).await.unwrap();
    let before = site.tag_map_text().await;
    // The test's own program may be where that account may not look.
    let program = scratch.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
    nobody.args(["--exact", name, "--nocapture"]).env(TOP, &top).current_dir(scratch.path());
    assert!(nobody.status().unwrap().success());
    assert_eq!(site.tag_map_text().await, before);
    assert_eq!(site.names("").await, ["image-tag-to-hash"]);
}
