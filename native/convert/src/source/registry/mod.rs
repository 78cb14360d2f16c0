//! Registries.
//!
//! # References
//!
//! OCI distribution spec, "Pulling manifests" and "Pulling blobs".

mod auth_file;
mod authorization;
mod blob;
mod transfer;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use oci_client::Reference;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use storm_oci_store::{Descriptor, Digest, Platform};

use super::documents::{Document, Documents, check, resolve};
use super::error::{Part, SourceError};
use super::file::size_of;
use super::settings::SourceSettings;
use super::{BlobStream, ImageSource, SourceImage, SourceLayer};
use crate::limits::Limits;
use transfer::{Request, Transfer};

/// What can be read. Without it some registries make a manifest of Docker's first schema.
const ACCEPT: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const DIGEST_HEADER: &str = "docker-content-digest";
/// Tags are only shown.
const MAX_TAGS: u64 = 1 << 20;

/// An image in a registry.
#[derive(Debug)]
pub(super) struct Registry {
    name: String,
    transfer: Arc<Transfer>,
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

impl Registry {
    pub(super) fn new(
        name: &str,
        reference: Reference,
        settings: &SourceSettings,
    ) -> Result<Self, SourceError> {
        let transfer = Arc::new(Transfer::new(reference, settings)?);
        Ok(Self { name: name.to_owned(), transfer })
    }

    /// A manifest or index by tag or digest; `None` if the registry has none.
    async fn document(&self, by: &str, limit: u64) -> Result<Option<Document>, SourceError> {
        let path = format!("manifests/{by}");
        let Some((bytes, answered)) = self.read(path, &ACCEPT, Part::Manifest, limit).await? else {
            return Ok(None);
        };
        let digest = Digest::of(&bytes);
        let header = |name: &str| answered.get(name).and_then(|value| value.to_str().ok());
        // Of another algorithm it says nothing that could be compared.
        if let Some(promised) = header(DIGEST_HEADER).and_then(|text| Digest::parse(text).ok()) {
            check(Part::Manifest, &self.name, &promised, &digest)?;
        }
        let media_type = header(CONTENT_TYPE.as_str()).map(str::to_owned);
        Ok(Some(Document { bytes, digest, media_type }))
    }

    /// A whole document with its headers; `None` if the registry has none.
    async fn read(
        &self,
        path: String,
        accept: &[&str],
        part: Part,
        limit: u64,
    ) -> Result<Option<(Bytes, reqwest::header::HeaderMap)>, SourceError> {
        let request = Request { path, accept, offset: 0 };
        let mut failures = 0;
        loop {
            let response = self.transfer.get(&request).await?;
            if response.status() == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let headers = response.headers().clone();
            match self.transfer.body(response, size_of(part), limit).await {
                Ok(bytes) => return Ok(Some((bytes, headers))),
                Err(SourceError::Transfer { .. })
                    if failures < self.transfer.settings().retries =>
                {
                    failures += 1;
                    self.transfer.wait(failures, None).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The error of an image that is not there, with what there is instead.
    async fn not_found(&self) -> SourceError {
        let reference = self.transfer.reference();
        let repository = format!("{}/{}", reference.registry(), reference.repository());
        let path = "tags/list".to_owned();
        let tags = self.read(path, &[], Part::Manifest, MAX_TAGS).await;
        let missing = match (&tags, reference.digest()) {
            (Ok(None), _) => format!("there is no repository {repository}"),
            (_, Some(digest)) => format!("{repository} has no manifest {digest}"),
            _ => format!("{repository} has no tag `{}`", reference.tag().unwrap_or("latest")),
        };
        let tags = tags.ok().flatten().and_then(|(bytes, _)| serde_json::from_slice(&bytes).ok());
        let mut tags = tags.and_then(|Tags { tags }| tags).unwrap_or_default();
        tags.sort_unstable();
        let existing = if reference.digest().is_none() { tags } else { Vec::new() };
        SourceError::NotFound { name: self.name.clone(), missing, existing }
    }
}

#[async_trait]
impl ImageSource for Registry {
    async fn resolve(
        &self,
        platform: &Platform,
        limits: &Limits,
    ) -> Result<SourceImage, SourceError> {
        let reference = self.transfer.reference();
        let by = reference.digest().or(reference.tag()).unwrap_or("latest");
        let Some(root) = self.document(by, limits.document_bytes).await? else {
            return Err(self.not_found().await);
        };
        if let Some(digest) = reference.digest().and_then(|digest| Digest::parse(digest).ok()) {
            check(Part::Manifest, &self.name, &digest, &root.digest)?;
        }
        resolve(self, &self.name, root, platform, limits).await
    }

    async fn blob(&self, layer: &SourceLayer) -> Result<BlobStream, SourceError> {
        blob::open(Arc::clone(&self.transfer), &self.name, layer).await
    }
}

#[async_trait]
impl Documents for Registry {
    async fn manifest(&self, digest: &Digest, limit: u64) -> Result<Document, SourceError> {
        let document = self.document(&digest.to_string(), limit).await?;
        document.ok_or_else(|| blob::missing(Part::Manifest, digest, &self.name))
    }

    async fn config(&self, config: &Descriptor, limit: u64) -> Result<Bytes, SourceError> {
        let path = format!("blobs/{}", config.digest);
        let read = self.read(path, &[], Part::Config, limit).await?;
        let read = read.map(|(bytes, _)| bytes);
        read.ok_or_else(|| blob::missing(Part::Config, &config.digest, &self.name))
    }
}
