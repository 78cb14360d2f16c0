//! The manifest that is published for an image: one that Storm can read.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use storm_oci_store::{Content, Descriptor, Digest, LayerFile, LayerFormat, Manifest};

use super::error::PublishError;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const EROFS_LAYER: &str = "application/vnd.erofs.layer.v1";

/// The annotation with the digest of the manifest that the source has.
pub const SOURCE_MANIFEST: &str = "org.apache.storm.oci.source.manifest";
/// The annotation with the digest of the image index that the source's manifest is from.
pub const SOURCE_INDEX: &str = "org.apache.storm.oci.source.index";
/// The annotation of a layer with the digest of the blob that its file was made from, where the
/// descriptor is the file's.
pub const SOURCE_LAYER: &str = "org.apache.storm.oci.source.layer";
/// The annotation of a layer with the digest of its squashfs file.
pub const SQUASHFS_SHA256: &str = "org.apache.storm.oci.squashfs.sha256";
/// The annotation of a layer with the size of its squashfs file in bytes.
pub const SQUASHFS_SIZE: &str = "org.apache.storm.oci.squashfs.size";

/// A layer as a source describes it, and the file that was made of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublishedLayer {
    /// The digest of the blob.
    pub blob: Digest,
    /// The size of the blob in bytes.
    pub blob_size: u64,
    /// The file in the store.
    pub file: LayerFile,
    /// What the file is.
    pub content: Content,
}

/// A manifest with exactly the keys that Storm's `ImageManifest` has: it refuses any other.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StormManifest {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    config: StormBlob,
    layers: Vec<StormBlob>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StormBlob {
    media_type: String,
    size: u64,
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    urls: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
}

/// The manifest to publish, and its digest: `source` itself where Storm can read it, so that an
/// image keeps the digest by which registries know it. Else a manifest of Docker's version 2,
/// schema 2, with the source's digests and sizes, whose annotations say what it was made of.
///
/// `layers` are those of the image in the manifest's order, lowest first, `config` is its config.
///
/// # Errors
///
/// [`PublishError::UnfitManifest`] if a layer's file does not belong to its blob.
pub fn publishable_manifest(
    source: &[u8],
    digest: &Digest,
    index: Option<&Digest>,
    config: &Descriptor,
    layers: &[PublishedLayer],
) -> Result<(Bytes, Digest), PublishError> {
    let unfit = |problem: String| PublishError::UnfitManifest { digest: digest.clone(), problem };
    for layer in layers {
        let named_by = match layer.file.format {
            LayerFormat::Squashfs => &layer.blob,
            LayerFormat::Erofs => &layer.content.sha256,
        };
        if *named_by != layer.file.digest {
            return Err(unfit(format!("{} is not the file of layer {}", layer.file, layer.blob)));
        }
    }
    if layers.is_empty() {
        return Err(unfit("it has no layers".to_owned()));
    }
    if storm_reads(source, config, layers) {
        return Ok((Bytes::copy_from_slice(source), Digest::of(source)));
    }
    let mut annotations = BTreeMap::from([(SOURCE_MANIFEST.to_owned(), digest.to_string())]);
    if let Some(index) = index {
        annotations.insert(SOURCE_INDEX.to_owned(), index.to_string());
    }
    let manifest = StormManifest {
        schema_version: 2,
        media_type: Some(MANIFEST.to_owned()),
        config: StormBlob {
            media_type: CONFIG.to_owned(),
            size: config.size,
            digest: config.digest.to_string(),
            urls: None,
            annotations: None,
        },
        layers: layers.iter().map(described).collect(),
        annotations: Some(annotations),
    };
    let bytes = serde_json::to_vec(&manifest).map_err(|error| unfit(error.to_string()))?;
    let digest = Digest::of(&bytes);
    Ok((bytes.into(), digest))
}

fn described(layer: &PublishedLayer) -> StormBlob {
    let annotation = |name: &str, value: String| (name.to_owned(), value);
    let (media_type, size, digest, annotations) = match layer.file.format {
        LayerFormat::Squashfs => (
            LAYER,
            layer.blob_size,
            &layer.blob,
            BTreeMap::from([
                annotation(SQUASHFS_SHA256, layer.content.sha256.as_hex().to_owned()),
                annotation(SQUASHFS_SIZE, layer.content.size.to_string()),
            ]),
        ),
        LayerFormat::Erofs => (
            EROFS_LAYER,
            layer.content.size,
            &layer.content.sha256,
            BTreeMap::from([annotation(SOURCE_LAYER, layer.blob.to_string())]),
        ),
    };
    StormBlob {
        media_type: media_type.to_owned(),
        size,
        digest: digest.to_string(),
        urls: None,
        annotations: Some(annotations),
    }
}

/// Whether Storm's own plugins take this manifest for these layers.
fn storm_reads(source: &[u8], config: &Descriptor, layers: &[PublishedLayer]) -> bool {
    let Ok(manifest) = serde_json::from_slice::<StormManifest>(source) else { return false };
    let named = manifest.layers.iter().map(|layer| layer.digest.clone());
    manifest.schema_version == 2
        && manifest.config.media_type == CONFIG
        && manifest.config.digest == config.digest.to_string()
        && manifest.layers.iter().all(|layer| layer.media_type == LAYER)
        && layers.iter().all(|layer| layer.file.format == LayerFormat::Squashfs)
        && named.eq(layers.iter().map(|layer| layer.blob.to_string()))
        // What this project reads is a little less: `mediaType` must be a manifest's.
        && Manifest::parse(source).is_ok()
}

#[cfg(test)]
mod tests;
