//! The layers that are converted.

use std::fs;
use std::path::{Path, PathBuf};

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
        file.starts_with(name) && file.ends_with(".tar.gz")
    };
    let found = fs::read_dir(cache.join("image"))
        .ok()
        .and_then(|entries| entries.map(|entry| entry.unwrap().path()).filter(is_meant).max());
    let Some(blob) = found else {
        panic!(
            "cannot find the {name} layer in {}/image; hint: run `make demo` once",
            cache.display()
        );
    };
    Layer { name: name.to_owned(), blob }
}
