//! What a container sees of layers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::filesystem::{Listing, Mounted, list, run};

/// What is there when layers lie over each other, lowest first. A directory of `scratch` is where.
pub(crate) fn overlaid(layers: &[Mounted], scratch: &Path) -> Listing {
    // overlayfs wants two.
    let empty = scratch.join("empty");
    fs::create_dir_all(&empty).unwrap();
    let layers = layers.iter().rev().map(Mounted::path).chain([empty.as_path()]);
    let layers: Vec<String> = layers.map(|path| path.to_str().unwrap().to_owned()).collect();
    let root = scratch.join("root");
    fs::create_dir_all(&root).unwrap();
    let options = format!("ro,lowerdir={}", layers.join(":"));
    run(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&root));
    let listing = comparable(list(&root));
    run(Command::new("umount").arg(&root));
    listing
}

/// Without what overlayfs counts in its own way: names of one file across layers, and blocks.
pub(crate) fn comparable(mut listing: Listing) -> Listing {
    for entry in listing.values_mut() {
        entry.blocks = None;
        entry.links = 0;
        entry.first_name = PathBuf::new();
    }
    listing
}
