//! Images of any shape, right or wrong, as an OCI image layout.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cache::hex;
use crate::error::{Doing, TestbedError};
use crate::scratch::{make_dir, write};

/// How a layer's archive is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Packing {
    /// As it is.
    Plain,
    /// In one gzip member.
    Gzip,
    /// In one zstd frame.
    Zstd,
}

/// Whose media types a manifest has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Types {
    /// OCI's.
    Oci,
    /// Docker's version 2, schema 2.
    Docker,
}

/// An OCI image layout that grows. Descriptors are JSON, so that a test can bend them.
///
/// ```no_run
/// # fn main() -> Result<(), storm_oci_test_stores::TestbedError> {
/// # use storm_oci_test_stores::{OciLayout, Packing, Types};
/// let layout = OciLayout::create("/tmp/layout".as_ref())?;
/// let image = layout.image(Types::Oci, "linux/amd64", &[(b"a tar file", Packing::Gzip)])?;
/// layout.tag("1.0", &image)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct OciLayout {
    directory: PathBuf,
}

impl Packing {
    fn pack(self, archive: &[u8]) -> Result<Vec<u8>, TestbedError> {
        match self {
            Self::Plain => Ok(archive.to_vec()),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(archive).and_then(|()| encoder.finish()).doing("compress a layer")
            }
            Self::Zstd => zstd::encode_all(archive, 1).doing("compress a layer"),
        }
    }
}

impl Types {
    /// The media type of a manifest.
    #[must_use]
    pub const fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    /// The media type of an index.
    #[must_use]
    pub const fn index(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.index.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    /// The media type of an image config.
    #[must_use]
    pub const fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    /// The media type of a layer.
    #[must_use]
    pub const fn layer(self, packing: Packing) -> &'static str {
        match (self, packing) {
            (Self::Oci, Packing::Plain) => "application/vnd.oci.image.layer.v1.tar",
            (Self::Oci, Packing::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Self::Oci, Packing::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Self::Docker, Packing::Plain) => "application/vnd.docker.image.rootfs.diff.tar",
            (Self::Docker, Packing::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Self::Docker, Packing::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        }
    }
}

impl OciLayout {
    /// Makes an empty one.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when the directory cannot be written.
    pub fn create(directory: &Path) -> Result<Self, TestbedError> {
        make_dir(&directory.join("blobs/sha256"))?;
        write(&directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let layout = Self { directory: directory.to_owned() };
        layout.write_index(&[])?;
        Ok(layout)
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the blob of a descriptor is.
    ///
    /// # Panics
    ///
    /// If the descriptor has no digest.
    #[must_use]
    pub fn path_of(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().expect("a descriptor has a digest");
        self.directory.join("blobs").join(digest.replace(':', "/"))
    }

    /// The content of a descriptor's blob.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when it is not there.
    pub fn read(&self, descriptor: &Value) -> Result<Vec<u8>, TestbedError> {
        let path = self.path_of(descriptor);
        fs::read(&path).doing(format_args!("read {}", path.display()))
    }

    /// Adds a blob; gives its descriptor.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when it cannot be written.
    pub fn blob(&self, media_type: &str, content: &[u8]) -> Result<Value, TestbedError> {
        let digest = format!("sha256:{}", hex(&Sha256::digest(content)));
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": content.len()});
        write(&self.path_of(&descriptor), content)?;
        Ok(descriptor)
    }

    /// Adds a document; gives its descriptor.
    ///
    /// # Errors
    ///
    /// As [`OciLayout::blob`].
    pub fn document(&self, media_type: &str, document: &Value) -> Result<Value, TestbedError> {
        self.blob(media_type, document.to_string().as_bytes())
    }

    /// Adds an image of these layers, lowest first, for `system/architecture[/variant]`; gives the
    /// descriptor of its manifest, with the platform.
    ///
    /// # Errors
    ///
    /// As [`OciLayout::blob`].
    pub fn image(
        &self,
        types: Types,
        platform: &str,
        layers: &[(&[u8], Packing)],
    ) -> Result<Value, TestbedError> {
        let platform = platform_of(platform);
        let diff_ids: Vec<_> = layers
            .iter()
            .map(|(archive, _)| format!("sha256:{}", hex(&Sha256::digest(archive))))
            .collect();
        let process = json!({"Env": ["PATH=/bin"], "Entrypoint": null});
        let config = with(platform.clone(), "config", process);
        let config = with(config, "rootfs", json!({"type": "layers", "diff_ids": diff_ids}));
        let config = self.document(types.config(), &config)?;
        let layers = layers
            .iter()
            .map(|(archive, packing)| self.blob(types.layer(*packing), &packing.pack(archive)?))
            .collect::<Result<Vec<_>, _>>()?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": types.manifest(), "config": config, "layers": layers,
        });
        Ok(with(self.document(types.manifest(), &manifest)?, "platform", platform))
    }

    /// Adds an index of these manifests; gives its descriptor.
    ///
    /// # Errors
    ///
    /// As [`OciLayout::blob`].
    pub fn index(&self, types: Types, manifests: &[Value]) -> Result<Value, TestbedError> {
        let index = json!({"schemaVersion": 2, "mediaType": types.index(), "manifests": manifests});
        self.document(types.index(), &index)
    }

    /// Gives a manifest or index a name. One of the same name stays beside it.
    ///
    /// # Errors
    ///
    /// As [`OciLayout::blob`].
    pub fn tag(&self, name: &str, descriptor: &Value) -> Result<(), TestbedError> {
        let mut entries = self.entries()?;
        let annotations = json!({"org.opencontainers.image.ref.name": name});
        entries.push(with(descriptor.clone(), "annotations", annotations));
        self.write_index(&entries)
    }

    /// The descriptors of `index.json`.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when it cannot be read.
    pub fn entries(&self) -> Result<Vec<Value>, TestbedError> {
        let path = self.directory.join("index.json");
        let text = fs::read(&path).doing(format_args!("read {}", path.display()))?;
        let index: Value = serde_json::from_slice(&text).doing("read an index")?;
        Ok(index.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    fn write_index(&self, entries: &[Value]) -> Result<(), TestbedError> {
        let index =
            json!({"schemaVersion": 2, "mediaType": Types::Oci.index(), "manifests": entries});
        write(&self.directory.join("index.json"), index.to_string())
    }
}

/// An object with one more member.
fn with(mut object: Value, key: &str, value: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.insert(key.to_owned(), value);
    }
    object
}

/// `linux/arm64/v8` as an index has it.
fn platform_of(text: &str) -> Value {
    let mut parts = text.split('/');
    let (system, architecture) = (parts.next(), parts.next());
    let platform = json!({"os": system, "architecture": architecture});
    match parts.next() {
        Some(variant) => with(platform, "variant", variant.into()),
        None => platform,
    }
}
