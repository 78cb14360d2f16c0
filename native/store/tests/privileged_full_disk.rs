//! A disk that becomes full while a layer is fetched. Needs root, and fails without.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fixture;

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fixture::{Fixture, Watch, names};
use storm_oci_store::{ErrorKind, ImageStore, InUse, LayerDescriptor};

/// Set in the process that has a mount namespace of its own.
const INSIDE: &str = "STORM_OCI_TEST_INSIDE";
const MIB: usize = 1 << 20;
/// Room for two of the layers, and not for three.
const DISK: usize = 32 * MIB;
const LAYER: usize = 12 * MIB;

/// The layers that containers of this host run on.
#[derive(Debug)]
struct Mounted(Vec<PathBuf>);

impl InUse for Mounted {
    fn is_in_use(&self, layer: &Path, _: &Metadata) -> io::Result<bool> {
        Ok(self.0.iter().any(|mounted| mounted == layer))
    }
}

/// Runs the named test again in a mount namespace and a temporary directory of its own, so that
/// neither a mount nor a file of it can be left however it ends: what is mounted on cannot be
/// removed inside. `true` inside.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let scratch = tempfile::tempdir().unwrap();
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--kill-child", "--fork"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .env("TMPDIR", scratch.path())
        .status();
    assert!(status.unwrap().success());
    false
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Bytes that no disk keeps in less space.
fn layer(fixture: &Fixture, first: u8) -> LayerDescriptor {
    let content: Vec<u8> = (0..LAYER).map(|index| first ^ index.to_le_bytes()[1]).collect();
    fixture.layer(&content)
}

fn content(fixture: &Fixture, layer: &LayerDescriptor) -> Vec<u8> {
    fs::read(fixture.layer_path(&layer.digest)).unwrap()
}

/// Fetches layers one after another on a disk that has room for two.
async fn fetch_on_a_small_disk(fixture: &Fixture) {
    let [unused, mounted, third, fourth] = [1, 2, 3, 4].map(|first| layer(fixture, first));
    let running = [&mounted, &third].map(|layer| fixture.cached(layer).0);
    let store =
        ImageStore::open_collecting(fixture.settings(), Arc::new(Mounted(running.to_vec())));
    let store = store.unwrap();
    let watch = |layer: &LayerDescriptor| Watch::on(&fixture.layer_path(&layer.digest));
    let watched = watch(&unused);
    assert!(store.localize_layer(&unused).await.unwrap().fetched);
    // How often a store's file is opened for one try.
    let one_try = watched.uses().opens;
    assert!(store.localize_layer(&mounted).await.unwrap().fetched);

    // What nobody uses makes room, and the second try has it.
    let watched = watch(&third);
    let local = store.localize_layer(&third).await.unwrap();
    let opens = watched.uses().opens;
    assert!(opens <= 2 * one_try, "{opens} of {one_try}");
    assert!(local.fetched && fs::read(&local.path).unwrap() == content(fixture, &third));
    drop(local);
    let (file, record) = fixture.cached(&unused);
    assert!(!file.exists() && !record.exists());

    // Nothing is left that may go.
    let watched = watch(&fourth);
    let error = store.localize_layer(&fourth).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert!(error.to_string().contains("No space left on device"), "{error}");
    assert!(error.to_string().contains("; hint: make room"), "{error}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    let opens = watched.uses().opens;
    assert!(opens <= 2 * one_try, "it is tried once more, and not again: {opens} of {one_try}");
    assert_eq!(names(&fixture.local().join("partial")), [""; 0]);
    let (file, record) = fixture.cached(&fourth);
    assert!(!file.exists() && !record.exists());
    for layer in [&mounted, &third] {
        let local = store.localize_layer(layer).await.unwrap();
        assert!(!local.fetched && fs::read(&local.path).unwrap() == content(fixture, layer));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unused_makes_room_on_a_full_tmpfs() {
    if !is_inside("what_is_unused_makes_room_on_a_full_tmpfs") {
        return;
    }
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.local()).unwrap();
    let (size, local) = (format!("size={DISK}"), fixture.local());
    run("mount", &["-t", "tmpfs", "-o", &size, "full-disk-test", local.to_str().unwrap()]);
    fetch_on_a_small_disk(&fixture).await;
}

/// This file system cannot set space aside, so that the disk is full in the middle of a layer.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_unused_makes_room_in_the_middle_of_a_layer() {
    if !is_inside("what_is_unused_makes_room_in_the_middle_of_a_layer") {
        return;
    }
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.local()).unwrap();
    let disk = fixture.top().join("disk");
    File::create(&disk).unwrap().set_len(DISK.try_into().unwrap()).unwrap();
    let (disk, local) = (disk.to_str().unwrap().to_owned(), fixture.local());
    run("mkfs.ext2", &["-q", "-m", "0", &disk]);
    run("mount", &["-o", "loop", &disk, local.to_str().unwrap()]);
    fs::remove_dir(local.join("lost+found")).unwrap();
    fetch_on_a_small_disk(&fixture).await;
}
