//! Collection beside real mounts. Needs root, and fails without.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod node;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use node::{Node, TAG, WORKER, hex};
use serde_json::json;
use storm_oci_request::{FileIdentity, LayerKey};

/// Long enough for a busy host; a test that waits for it fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// Set in the process that has a mount namespace of its own.
const INSIDE: &str = "STORM_OCI_TEST_INSIDE";

/// Runs the named test again in a mount namespace of its own, so that no mount of it can be left
/// however it ends. `true` inside.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--kill-child", "--fork"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(status.unwrap().success());
    false
}

fn run(program: &str, arguments: &[&Path]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A squashfs file with one file in it.
fn make_squashfs(node: &Node, name: &str) {
    let tree = node.path(&format!("tree-{name}"));
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("name"), name).unwrap();
    let layer = node.layer(name);
    fs::remove_file(&layer).unwrap();
    let options = ["-noappend", "-no-progress", "-quiet"].map(Path::new);
    run("mksquashfs", &[&[tree.as_path(), layer.as_path()][..], &options].concat());
}

/// Where the launcher mounts a layer.
fn mount_point(node: &Node, layer: &Path) -> PathBuf {
    let file = fs::metadata(layer).unwrap();
    let key = LayerKey::of(FileIdentity {
        device: file.dev(),
        inode: file.ino(),
        size: file.size(),
        modified_seconds: file.mtime(),
        modified_nanos: file.mtime_nsec().unsigned_abs(),
    });
    node.path(&format!("run/layers/{key}/mnt"))
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn privileged_a_mounted_layer_stays_and_goes_once_it_is_unmounted() {
    if !is_inside("privileged_a_mounted_layer_stays_and_goes_once_it_is_unmounted") {
        return;
    }
    let node = Node::new();
    for name in ["base", "java"] {
        make_squashfs(&node, name);
    }
    node.let_launch_succeed(WORKER);
    let mut document = node.prepare_document();
    document["conf"]["storm.oci.resources.cache.max.bytes"] = json!(1);
    document["conf"]["storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.cache.refresh.interval.secs"] =
        json!(0);
    let supervisor = node::Supervisor::start(&document).unwrap();
    let launch = || supervisor.launch(&node.launch_document(WORKER));
    let cached = |name: &str| {
        node.path(&format!("local/supervisor/oci-resources/layers/{}.sqsh", hex(name)))
    };
    assert_eq!(launch()["started"], true);
    let (base, java) = (cached("base"), cached("java"));
    assert!(base.exists() && java.exists(), "they were leased until the launch was over");

    // The container's record names neither, as one that is gone; the host has the first mounted.
    let mounted = mount_point(&node, &base);
    fs::create_dir_all(&mounted).unwrap();
    run(
        "mount",
        &["-oloop,ro", "-tsquashfs"]
            .map(Path::new)
            .into_iter()
            .chain([base.as_path(), &mounted])
            .collect::<Vec<_>>(),
    );

    for (number, is_mounted) in [(1, true), (2, false)] {
        let name = format!("next-{number}");
        node.publish_image(TAG, &[&name]);
        assert_eq!(launch()["started"], true);
        wait_until("the layer was not removed", || {
            if is_mounted { !java.exists() } else { !base.exists() }
        });
        assert_eq!(base.exists(), is_mounted);
        if is_mounted {
            assert_eq!(fs::read_to_string(mounted.join("name")).unwrap(), "base");
            run("umount", &[&mounted]);
        }
    }
}
