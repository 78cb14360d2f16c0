//! The layers that are converted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A layer as a registry has it.
pub(crate) struct Layer {
    pub(crate) name: String,
    /// Its archive, compressed.
    pub(crate) blob: PathBuf,
}

/// A base system and a JDK.
pub(crate) fn all() -> Vec<Layer> {
    let cache = std::env::var_os("STORM_OCI_CACHE")
        .map_or_else(|| "/var/cache/storm-oci".into(), PathBuf::from);
    ["base", "jdk"].map(|name| layer(&cache, name)).into()
}

fn layer(cache: &Path, name: &str) -> Layer {
    let is_meant = |file: &PathBuf| {
        let file = file.file_name().unwrap().to_string_lossy();
        file.starts_with(name) && file.ends_with(".sqsh")
    };
    let found = fs::read_dir(cache.join("image"))
        .ok()
        .and_then(|entries| entries.map(|entry| entry.unwrap().path()).filter(is_meant).max());
    let Some(squashfs) = found else {
        panic!(
            "cannot find the {name} layer in {}/image; hint: run `make demo` once",
            cache.display()
        );
    };
    let blobs = cache.join("bench");
    fs::create_dir_all(&blobs).unwrap();
    let blob = blobs.join(squashfs.file_name().unwrap()).with_extension("tar.gz");
    if !blob.exists() {
        pack(&squashfs, &blob);
    }
    Layer { name: name.to_owned(), blob }
}

/// Makes the archive that such a layer has in a registry.
fn pack(squashfs: &Path, blob: &Path) {
    let scratch = tempfile::tempdir().unwrap();
    let script = r#"
        unsquashfs -quiet -no-progress -d "$1" "$0" >&2
        tar --format=pax --xattrs --numeric-owner --sort=name -C "$1" -c . | gzip -6 -n > "$2.part"
        mv "$2.part" "$2"
    "#;
    let mut command = Command::new("sh");
    command.args(["-e", "-c", script]).arg(squashfs).arg(scratch.path().join("tree")).arg(blob);
    assert!(command.status().unwrap().success(), "cannot make {}", blob.display());
}
