//! What a source says of an image.

use bytes::Bytes;
use storm_oci_store::{Descriptor, Digest};

/// An image for one platform. Manifest and config are what their digests promise.
#[derive(Clone, Debug)]
pub struct SourceImage {
    /// The image as the user wrote it.
    pub name: String,
    /// The manifest, exactly as the source has it; of an archive of Docker's, which has none, one
    /// of Docker's version 2, schema 2.
    pub manifest: Bytes,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The digest of the outermost index that the manifest was chosen from.
    pub index: Option<Digest>,
    /// What the manifest says of the config.
    pub config: Descriptor,
    /// The image config, exactly as the source has it.
    pub config_json: Bytes,
    /// The layers, lowest first, at least one; a layer may occur twice.
    pub layers: Vec<SourceLayer>,
}

/// A layer of a [`SourceImage`]: an archive, compressed or not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SourceLayer {
    /// The media type as the manifest has it.
    pub media_type: String,
    /// The digest of the layer's bytes in the source.
    pub digest: Digest,
    /// The number of these bytes, as the manifest claims.
    pub size: u64,
    /// The digest of the archive without compression, as the image config claims.
    pub diff_id: Digest,
}
