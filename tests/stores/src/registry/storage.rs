//! The files of a registry, as its file system driver keeps them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Registry;
use crate::cache::hex;
use crate::error::{Doing, TestbedError};
use crate::oci_layout::OciLayout;
use crate::scratch::{make_dir, write};

impl Registry {
    /// Puts an image into the registry: a manifest or index of `layout`, and all it names there,
    /// as `repository[:tag]`.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when the registry's files cannot be written.
    pub fn push(
        &self,
        layout: &OciLayout,
        descriptor: &Value,
        name: &str,
    ) -> Result<(), TestbedError> {
        let (repository, tag) = match name.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (name, None),
        };
        let document = layout.read(descriptor)?;
        self.put_manifest(repository, tag, &document)?;
        let Ok(document) = serde_json::from_slice::<Value>(&document) else { return Ok(()) };
        let each = |field: &str| {
            document.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
        };
        for manifest in each("manifests") {
            if layout.path_of(&manifest).exists() {
                self.push(layout, &manifest, repository)?;
            }
        }
        let config = document.get("config").cloned();
        for blob in each("layers").into_iter().chain(config) {
            if layout.path_of(&blob).exists() {
                self.put_blob(repository, &layout.read(&blob)?)?;
            }
        }
        Ok(())
    }

    /// Puts a manifest or index into the registry, whatever it is. The one that has the tag loses
    /// it.
    ///
    /// # Errors
    ///
    /// As [`Registry::push`].
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        document: &[u8],
    ) -> Result<(), TestbedError> {
        let digest = self.put(document)?;
        let manifests = self.repository(repository).join("_manifests");
        link(&manifests.join("revisions"), &digest)?;
        if let Some(tag) = tag {
            let tag = manifests.join("tags").join(tag);
            link(&tag.join("index"), &digest)?;
            make_dir(&tag.join("current"))?;
            write(&tag.join("current/link"), format!("sha256:{digest}"))?;
        }
        Ok(())
    }

    /// Puts a blob into a repository.
    ///
    /// # Errors
    ///
    /// As [`Registry::push`].
    pub fn put_blob(&self, repository: &str, content: &[u8]) -> Result<(), TestbedError> {
        let digest = self.put(content)?;
        link(&self.repository(repository).join("_layers"), &digest)
    }

    /// The file of a blob, a manifest or an index, for who wants to spoil it.
    ///
    /// # Panics
    ///
    /// If the descriptor has no digest.
    #[must_use]
    pub fn file_of(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().expect("a descriptor has a digest");
        self.data(digest.trim_start_matches("sha256:"))
    }

    fn put(&self, content: &[u8]) -> Result<String, TestbedError> {
        let digest = hex(&Sha256::digest(content));
        let path = self.data(&digest);
        make_dir(path.parent().unwrap_or(&path))?;
        // Another name first: what is there already may be being read.
        let new = path.with_extension("new");
        write(&new, content)?;
        fs::rename(&new, &path).doing(format_args!("rename {}", new.display()))?;
        Ok(digest)
    }

    fn data(&self, digest: &str) -> PathBuf {
        let first = digest.get(..2).unwrap_or_default();
        self.root().join("blobs/sha256").join(first).join(digest).join("data")
    }

    fn repository(&self, name: &str) -> PathBuf {
        self.root().join("repositories").join(name)
    }

    fn root(&self) -> PathBuf {
        self.scratch.path().join("store/docker/registry/v2")
    }
}

fn link(directory: &Path, digest: &str) -> Result<(), TestbedError> {
    let directory = directory.join("sha256").join(digest);
    make_dir(&directory)?;
    write(&directory.join("link"), format!("sha256:{digest}"))
}
