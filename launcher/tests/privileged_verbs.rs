//! `code-dir`, `artifacts-dir`, `blob`: what they leave, compared with what the original leaves.

mod support;

use support::tree::listing;
use support::{Host, USER};

#[test]
fn code_dir_leaves_what_the_original_leaves() {
    let host = Host::new();
    let topology = host.storm().join("stormdist/words-1");
    let owner = Some(support::SUPERVISOR);
    host.directory(&topology, owner, 0o755);
    host.directory(topology.join("resources"), owner, 0o755);
    host.directory(topology.join("shared_by_topology"), owner, 0o755);
    host.file(topology.join("stormjar.jar"), owner, 0o644, "jar");
    host.file(topology.join("run.sh"), owner, 0o755, "x");
    let path = topology.to_str().unwrap();
    host.call(&[USER.name, "code-dir", path]).expect_success();
    assert_eq!(
        listing(&topology),
        [
            "dr-xrws--- 64110 64100 ./",
            "dr-xrws--- 64110 64100 ./resources",
            "-r-xrw---- 64110 64100 ./run.sh",
            "dr-xrws--- 64110 64100 ./shared_by_topology",
            "-r--rw---- 64110 64100 ./stormjar.jar",
        ]
    );
}
