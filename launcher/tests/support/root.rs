//! A root directory of the test's own.
//!
//! A launcher with a hole might climb out of the tree it was given. It then meets a tmpfs that
//! ends with the test, not the host's `/`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::pivot_root;

use super::SCRATCH;

/// Replaces `/` of this thread's mount namespace by a tmpfs with the host's directories bound
/// into it, except the scratch directory, which is left empty.
pub(crate) fn enter() {
    let directory = std::env::current_dir().expect("the working directory");
    tmpfs(SCRATCH);
    for entry in fs::read_dir("/").expect("list /") {
        let source = entry.expect("an entry of /").path();
        let target = Path::new(SCRATCH).join(source.strip_prefix("/").expect("below /"));
        let kind = fs::symlink_metadata(&source).expect("stat").file_type();
        if kind.is_symlink() {
            symlink(fs::read_link(&source).expect("read a link"), &target).expect("link");
        } else if kind.is_dir() {
            fs::create_dir(&target).expect("make a mount point");
            if source != Path::new(SCRATCH) {
                bind(&source, &target);
            }
        } else if kind.is_file() {
            fs::write(&target, "").expect("make a mount point");
            bind(&source, &target);
        }
    }
    let old = format!("{SCRATCH}{SCRATCH}");
    pivot_root(SCRATCH, old.as_str()).expect("change the root directory");
    std::env::set_current_dir("/").expect("go to the new root");
    umount2(SCRATCH, MntFlags::MNT_DETACH).expect("leave the old root");
    std::env::set_current_dir(directory).expect("return to the working directory");
}

/// Mounts an empty tmpfs that setuid programs work on.
pub(crate) fn tmpfs(path: &str) {
    let options = Some("mode=0755");
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_NODEV, options)
        .unwrap_or_else(|error| panic!("mount a tmpfs on {path}: {error}"));
}

fn bind(source: &Path, target: &Path) {
    let none: Option<&str> = None;
    let recursive = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), target, none, recursive, none)
        .unwrap_or_else(|error| panic!("bind {source:?}: {error}"));
}
