//! An image store in Storm's layout, in a local directory.
//!
//! ```text
//! layers/<digest>.sqsh       and <digest>.sqsh.json, the digest and size of the squashfs file
//! config/<digest>            image configs
//! manifests/<digest>
//! image-tag-to-hash          tag[,tag]:digest[#comment]
//! ```

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{E2eError, files};

/// The media types Storm's own converter writes. It names a squashfs layer after the tar archive
/// it was made from, and keeps that archive's media type.
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// A layer as a manifest names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Layer {
    /// The SHA-256 in its descriptor, in hex.
    pub digest: String,
    /// The size in its descriptor, in bytes.
    pub size: u64,
}

impl Layer {
    /// A squashfs layer, as Storm's converter names it.
    #[must_use]
    pub const fn squashfs(digest: String, size: u64) -> Self {
        Self { digest, size }
    }
}

/// A store that can be written to.
#[derive(Debug)]
pub struct ImageStore {
    root: PathBuf,
}

impl ImageStore {
    /// Makes an empty store.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn create(root: &Path) -> Result<Self, E2eError> {
        for directory in ["layers", "config", "manifests"] {
            files::make_dir(&root.join(directory))?;
        }
        let store = Self { root: root.to_owned() };
        files::write(&store.tag_map(), "# tag[,tag]:digest of the manifest[#comment]\n")?;
        Ok(store)
    }

    /// The tag map's file.
    #[must_use]
    pub fn tag_map(&self) -> PathBuf {
        self.root.join("image-tag-to-hash")
    }

    /// Where a layer of this digest lies.
    #[must_use]
    pub fn layer_path(&self, digest: &str) -> PathBuf {
        self.root.join("layers").join(format!("{digest}.sqsh"))
    }

    fn side_file(&self, digest: &str) -> PathBuf {
        self.root.join("layers").join(format!("{digest}.sqsh.json"))
    }

    /// Adds a squashfs file under its own digest.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn add_layer(&self, file: &Path) -> Result<Layer, E2eError> {
        let (digest, size) = files::digest(file)?;
        let path = self.layer_path(&digest);
        files::remove(&path)?;
        files::link_or_copy(file, &path)?;
        self.write_side_file(&digest, &digest, size)?;
        Ok(Layer::squashfs(digest, size))
    }

    /// Adds or replaces a layer under a digest that need not be its own. With `expected`, its side
    /// file says that the squashfs file has that digest; without, there is no side file.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn put_layer(
        &self,
        digest: &str,
        content: &[u8],
        expected: Option<&str>,
    ) -> Result<Layer, E2eError> {
        let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
        match expected {
            Some(expected) => self.write_side_file(digest, expected, size)?,
            None => files::remove(&self.side_file(digest))?,
        }
        files::replace(&self.layer_path(digest), content)?;
        Ok(Layer::squashfs(digest.to_owned(), size))
    }

    fn write_side_file(&self, digest: &str, content: &str, size: u64) -> Result<(), E2eError> {
        files::replace(
            &self.side_file(digest),
            json!({ "sha256": content, "size": size }).to_string(),
        )
    }

    /// Adds an image of these layers, lowest first; gives its manifest's digest.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn add_image(&self, tags: &[&str], layers: &[Layer]) -> Result<String, E2eError> {
        let digests: Vec<String> =
            layers.iter().map(|layer| format!("sha256:{}", layer.digest)).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "created": "2023-11-14T22:13:20Z",
            "config": {
                "Env": [
                    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "LANG=C.UTF-8",
                ],
                "Entrypoint": null,
                "Cmd": ["/bin/bash"],
            },
            "rootfs": { "type": "layers", "diff_ids": digests },
        })
        .to_string();
        let config_digest = files::digest_of(&config);
        files::write(&self.root.join("config").join(&config_digest), &config)?;
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| json!({
                "mediaType": LAYER, "size": layer.size, "digest": format!("sha256:{}", layer.digest),
            }))
            .collect();
        self.add_manifest(
            tags,
            &json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {
                    "mediaType": CONFIG,
                    "size": config.len(),
                    "digest": format!("sha256:{config_digest}"),
                },
                "layers": layers,
            }),
        )
    }

    /// Adds any manifest; gives its digest.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn add_manifest(&self, tags: &[&str], manifest: &Value) -> Result<String, E2eError> {
        let manifest = manifest.to_string();
        let digest = files::digest_of(&manifest);
        files::write(&self.root.join("manifests").join(&digest), &manifest)?;
        self.add_tag_line(&format!(
            "{}:{digest}#made by the {} demo",
            tags.join(","),
            "storm-oci"
        ))?;
        Ok(digest)
    }

    /// Adds an image of these layers under a tag that another image had.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn replace_image(&self, tag: &str, layers: &[Layer]) -> Result<String, E2eError> {
        let of_tag = format!("{tag}:");
        let lines = files::read(&self.tag_map())?;
        let kept = lines.lines().filter(|line| !line.starts_with(&of_tag));
        files::replace(&self.tag_map(), kept.map(|line| format!("{line}\n")).collect::<String>())?;
        self.add_image(&[tag], layers)
    }

    /// Adds any line to the tag map.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn add_tag_line(&self, line: &str) -> Result<(), E2eError> {
        let lines = files::read(&self.tag_map())?;
        files::replace(&self.tag_map(), format!("{lines}{line}\n"))
    }
}
