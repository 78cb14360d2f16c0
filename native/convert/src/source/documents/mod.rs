//! From a first document to one manifest and its config, whatever the source.
//!
//! # References
//!
//! OCI image spec, `manifest.md`, `image-index.md`, `config.md`; Docker image manifest version 2,
//! schema 2.

mod config;
mod index;
pub(super) mod manifest;

use std::collections::{BTreeSet, VecDeque};

use async_trait::async_trait;
use bytes::Bytes;
use storm_oci_store::{Descriptor, Digest, Platform};

use super::error::{Part, SourceError};
use super::{SourceImage, SourceLayer};
use crate::limits::Limits;
pub(super) use config::Config;
pub(super) use index::Index;
use manifest::{Kind, Manifest};

/// Indexes that are looked at for one image, those within others included.
const MAX_INDEXES: usize = 16;

/// A manifest or index as a source has it.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) bytes: Bytes,
    /// The digest of the bytes.
    pub(super) digest: Digest,
    /// What the source says it is, beside the document itself.
    pub(super) media_type: Option<String>,
}

/// Documents by digest.
#[async_trait]
pub(super) trait Documents: Sync {
    /// The manifest or index of this digest, which the caller compares. Longer than `limit` bytes
    /// is an error.
    async fn manifest(&self, digest: &Digest, limit: u64) -> Result<Document, SourceError>;

    /// The config that a manifest names, which the caller compares. Longer than its descriptor
    /// says, or than `limit` bytes, is an error.
    async fn config(&self, config: &Descriptor, limit: u64) -> Result<Bytes, SourceError>;
}

/// Follows `root` to the image for `platform`.
pub(super) async fn resolve(
    source: &dyn Documents,
    name: &str,
    root: Document,
    platform: &Platform,
    limits: &Limits,
) -> Result<SourceImage, SourceError> {
    let root_digest = root.digest.clone();
    let mut documents = VecDeque::from([root]);
    let mut existing = BTreeSet::new();
    let mut seen = 0;
    while let Some(document) = documents.pop_front() {
        if Kind::of(&document)? == Kind::Manifest {
            return image(source, name, document, None, platform, limits).await;
        }
        seen += 1;
        let index = Index::parse(&document)?;
        if let Some(digest) = index.choose(platform)? {
            let manifest = fetch(source, name, &digest, limits).await?;
            Manifest::check_kind(&manifest)?;
            return image(source, name, manifest, Some(root_digest), platform, limits).await;
        }
        existing.extend(index.platforms());
        for digest in index.indexes(platform)? {
            if seen + documents.len() >= MAX_INDEXES {
                return Err(SourceError::OverLimit {
                    name: name.to_owned(),
                    what: "the number of image indexes",
                    found: u64::try_from(seen + documents.len() + 1).unwrap_or(u64::MAX),
                    limit: u64::try_from(MAX_INDEXES).unwrap_or(u64::MAX),
                    option: "",
                });
            }
            let nested = fetch(source, name, &digest, limits).await?;
            Index::check_kind(&nested)?;
            documents.push_back(nested);
        }
    }
    Err(SourceError::WrongPlatform {
        name: name.to_owned(),
        platform: platform.clone(),
        existing: existing.into_iter().collect(),
    })
}

/// The document of this digest, compared with it.
async fn fetch(
    source: &dyn Documents,
    name: &str,
    digest: &Digest,
    limits: &Limits,
) -> Result<Document, SourceError> {
    let document = source.manifest(digest, limits.document_bytes).await?;
    check(Part::Manifest, name, digest, &document.digest)?;
    Ok(document)
}

/// Compares what came with what was asked for.
pub(super) fn check(
    part: Part,
    name: &str,
    expected: &Digest,
    found: &Digest,
) -> Result<(), SourceError> {
    if expected == found {
        return Ok(());
    }
    Err(SourceError::DigestMismatch {
        part,
        name: name.to_owned(),
        expected: expected.clone(),
        found: found.clone(),
    })
}

async fn image(
    source: &dyn Documents,
    name: &str,
    document: Document,
    index: Option<Digest>,
    platform: &Platform,
    limits: &Limits,
) -> Result<SourceImage, SourceError> {
    let manifest = Manifest::parse(&document)?;
    manifest.check_limits(name, limits)?;
    let config = source.config(&manifest.config, limits.document_bytes).await?;
    let found = u64::try_from(config.len()).unwrap_or(u64::MAX);
    if found != manifest.config.size {
        return Err(SourceError::SizeMismatch {
            part: Part::Config,
            name: name.to_owned(),
            expected: manifest.config.size,
            found,
        });
    }
    check(Part::Config, name, &manifest.config.digest, &Digest::of(&config))?;
    let parsed = Config::parse(&config, &manifest.config.digest)?;
    parsed.check_platform(name, platform)?;
    let diff_ids = parsed.diff_ids(manifest.layers.len())?;
    let layers = manifest
        .layers
        .into_iter()
        .zip(diff_ids)
        .map(|(layer, diff_id)| SourceLayer {
            media_type: layer.media_type,
            digest: layer.digest,
            size: layer.size,
            diff_id,
        })
        .collect();
    Ok(SourceImage {
        name: name.to_owned(),
        manifest: document.bytes,
        digest: document.digest,
        index,
        config: manifest.config,
        config_json: config,
        layers,
    })
}
