//! Layers as archives, and an OCI image layout of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{ARCHIVE_OPTIONS, EPOCH, mark_as_archive};
use crate::{E2eError, command, files};

/// The tag in the layout.
const TAG: &str = "demo";

/// A layer as builders ship it: a gzipped tar archive, and the digest of the archive without gzip.
#[derive(Clone, Debug)]
pub struct Archive {
    gzipped: PathBuf,
    diff_id: PathBuf,
}

impl Archive {
    /// The archive `<directory>/<name>.tar.gz`.
    #[must_use]
    pub fn at(directory: &Path, name: &str) -> Self {
        Self {
            gzipped: directory.join(format!("{name}.tar.gz")),
            diff_id: directory.join(format!("{name}.diff-id")),
        }
    }

    /// The archive, gzipped.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.gzipped
    }

    /// Whether it has been made.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.gzipped.exists() && self.diff_id.exists()
    }

    /// Makes it of a tree, whose overlay marks become those of an archive. It appears whole or not
    /// at all.
    ///
    /// # Errors
    ///
    /// [`E2eError`] when `tar` or `gzip` fails.
    pub fn make(&self, tree: &Path, log: &Path) -> Result<(), E2eError> {
        mark_as_archive(tree)?;
        let tar = self.gzipped.with_extension("part");
        let mut archive = Command::new("tar");
        archive.args(ARCHIVE_OPTIONS.split_whitespace()).arg(format!("--mtime=@{EPOCH}"));
        archive.arg("--clamp-mtime").arg("-C").arg(tree).arg("-cf").arg(&tar).arg(".");
        command::run("archive a layer", &mut archive, log)?;
        let (digest, _) = files::digest(&tar)?;
        let mut gzip = Command::new("gzip");
        gzip.args(["-n", "-f", "-6", "-S", ".gz"]).arg(&tar);
        command::run("compress a layer", &mut gzip, log)?;
        files::replace(&self.diff_id, digest)?;
        files::rename(&tar.with_extension("part.gz"), &self.gzipped)
    }
}

/// Writes a layout of these layers, lowest first; gives its reference.
pub(super) fn write(directory: &Path, layers: &[Archive]) -> Result<String, E2eError> {
    let blobs = directory.join("blobs/sha256");
    files::make_dir(&blobs)?;
    let (mut descriptors, mut diff_ids) = (Vec::new(), Vec::new());
    for layer in layers {
        let (digest, size) = files::digest(&layer.gzipped)?;
        files::link_or_copy(&layer.gzipped, &blobs.join(&digest))?;
        let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
        descriptors.push(descriptor(media_type, &digest, size));
        diff_ids.push(format!("sha256:{}", files::read(&layer.diff_id)?));
    }
    let config = add(
        &blobs,
        "application/vnd.oci.image.config.v1+json",
        &json!({
            "architecture": "amd64",
            "os": "linux",
            "created": "2023-11-14T22:13:20Z",
            "config": {
                "Env": [
                    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "LANG=C.UTF-8",
                ],
                "Cmd": ["/bin/bash"],
            },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        }),
    )?;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = add(
        &blobs,
        media_type,
        &json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config,
            "layers": descriptors,
        }),
    )?;
    let annotations = json!({ "org.opencontainers.image.ref.name": TAG });
    let manifest = with(manifest, "annotations", annotations);
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    files::write(&directory.join("index.json"), index.to_string())?;
    files::write(&directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(format!("oci:{}:{TAG}", directory.display()))
}

fn add(blobs: &Path, media_type: &str, document: &Value) -> Result<Value, E2eError> {
    let document = document.to_string();
    let digest = files::digest_of(&document);
    files::write(&blobs.join(&digest), &document)?;
    let size = u64::try_from(document.len()).unwrap_or(u64::MAX);
    Ok(descriptor(media_type, &digest, size))
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size })
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
    object
}
