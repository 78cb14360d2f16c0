//! Directories of skopeo: `manifest.json`, and blobs by the hex digits of their digests.
//!
//! # References
//!
//! containers-transports(5), "dir".

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use storm_oci_store::{Descriptor, Digest, Platform};

use super::documents::{Document, Documents, resolve};
use super::error::{Part, SourceError};
use super::{BlobStream, ImageSource, SourceImage, SourceLayer, file};
use crate::limits::Limits;

/// One image, or one for each of several platforms.
#[derive(Debug)]
pub(super) struct SkopeoDir {
    name: String,
    directory: PathBuf,
}

impl SkopeoDir {
    pub(super) fn new(name: &str, directory: PathBuf) -> Self {
        Self { name: name.to_owned(), directory }
    }

    async fn read(&self, part: Part, file: &str, limit: u64) -> Result<Bytes, SourceError> {
        let path = self.directory.join(file);
        file::blocking(move || file::document(&path, file::size_of(part), limit)).await
    }
}

#[async_trait]
impl ImageSource for SkopeoDir {
    async fn resolve(
        &self,
        platform: &Platform,
        limits: &Limits,
    ) -> Result<SourceImage, SourceError> {
        let bytes = self.read(Part::Manifest, "manifest.json", limits.document_bytes).await?;
        let digest = Digest::of(&bytes);
        let root = Document { bytes, digest, media_type: None };
        resolve(self, &self.name, root, platform, limits).await
    }

    async fn blob(&self, layer: &SourceLayer) -> Result<BlobStream, SourceError> {
        let path = self.directory.join(layer.digest.as_hex());
        file::blocking(move || {
            let (file, length) = file::open(&path)?;
            Ok(file::stream(path, file, 0, length))
        })
        .await
    }
}

#[async_trait]
impl Documents for SkopeoDir {
    async fn manifest(&self, digest: &Digest, limit: u64) -> Result<Document, SourceError> {
        let file = format!("{}.manifest.json", digest.as_hex());
        let bytes = self.read(Part::Manifest, &file, limit).await?;
        let digest = Digest::of(&bytes);
        Ok(Document { bytes, digest, media_type: None })
    }

    async fn config(&self, config: &Descriptor, limit: u64) -> Result<Bytes, SourceError> {
        self.read(Part::Config, config.digest.as_hex(), limit).await
    }
}
