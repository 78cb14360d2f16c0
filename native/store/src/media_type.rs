//! Which media types can be run, Docker's and OCI's.
//!
//! # References
//!
//! OCI image spec, `media-types.md`; Docker image manifest version 2, schema 2.

use oci_spec::image::{MediaType, ToDockerV2S2};

use crate::layer_file::LayerFormat;

/// The media types of a manifest.
pub(crate) const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.oci.image.manifest.v1+json";
/// The media types of a manifest and of an index.
pub(crate) const MANIFESTS: &str = "application/vnd.docker.distribution.manifest[.list].v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
/// The media types of an image config.
pub(crate) const CONFIGS: &str =
    "application/vnd.docker.container.image.v1+json, application/vnd.oci.image.config.v1+json";
/// The media types of a layer.
pub(crate) const LAYERS: &str = "application/vnd.docker.image.rootfs.diff.tar[.gzip|.zstd], \
     application/vnd.docker.image.rootfs.foreign.diff.tar[.gzip], \
     application/vnd.oci.image.layer.v1.tar[+gzip|+zstd], \
     application/vnd.oci.image.layer.nondistributable.v1.tar[+gzip|+zstd], \
     application/vnd.squashfs, application/vnd.erofs.layer.v1";

/// What a layer's descriptor describes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LayerMediaType {
    /// The tar archive that the squashfs file was made from: digest and size say nothing about
    /// the squashfs file.
    Archive,
    /// The squashfs file itself.
    Squashfs,
    /// The EROFS file itself.
    Erofs,
}

impl LayerMediaType {
    /// What the store holds for such a layer.
    pub(crate) fn format(self) -> LayerFormat {
        match self {
            Self::Archive | Self::Squashfs => LayerFormat::Squashfs,
            Self::Erofs => LayerFormat::Erofs,
        }
    }
}

/// Whether `found` is `wanted`, or what Docker calls it.
fn is(found: &MediaType, wanted: &MediaType) -> bool {
    found == wanted || wanted.to_docker_v2s2().is_ok_and(|docker| found.as_ref() == docker)
}

pub(crate) fn is_manifest(found: &MediaType) -> bool {
    is(found, &MediaType::ImageManifest)
}

pub(crate) fn is_index(found: &MediaType) -> bool {
    is(found, &MediaType::ImageIndex)
}

pub(crate) fn is_config(found: &MediaType) -> bool {
    is(found, &MediaType::ImageConfig)
}

/// What a layer of this media type is; `None` if it cannot be run.
///
/// Layers that registries may not distribute (Docker's "foreign" ones) are as good as others: the
/// store either has the squashfs file or it has not.
pub(crate) fn layer(found: &MediaType) -> Option<LayerMediaType> {
    match found {
        MediaType::ImageLayer
        | MediaType::ImageLayerGzip
        | MediaType::ImageLayerZstd
        | MediaType::ImageLayerNonDistributable
        | MediaType::ImageLayerNonDistributableGzip
        | MediaType::ImageLayerNonDistributableZstd => Some(LayerMediaType::Archive),
        MediaType::Other(name) => match name.as_str() {
            "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => {
                Some(LayerMediaType::Archive)
            }
            "application/vnd.squashfs" => Some(LayerMediaType::Squashfs),
            "application/vnd.erofs.layer.v1" => Some(LayerMediaType::Erofs),
            _ => None,
        },
        _ => None,
    }
}
