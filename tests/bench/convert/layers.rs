//! The layers that are converted.

use std::fs;
use std::path::{Path, PathBuf};

use crate::statistics::wanted;

/// A layer as a registry has it.
pub(crate) struct Layer {
    /// What its figures are called.
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    /// Its archive, compressed.
    pub(crate) blob: PathBuf,
}

/// A base system and a JDK, as far as they are wanted.
pub(crate) fn all() -> Vec<Layer> {
    let cache = std::env::var_os("STORM_OCI_CACHE")
        .map_or_else(|| "/var/cache/storm-oci".into(), PathBuf::from);
    let wanted = [("C1", "base"), ("C2", "jdk")].into_iter().filter(|(id, _)| wanted(id));
    wanted.map(|(id, name)| layer(&cache, id, name)).collect()
}

fn layer(cache: &Path, id: &'static str, name: &'static str) -> Layer {
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
    Layer { id, name, blob }
}
