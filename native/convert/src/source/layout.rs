//! OCI image layouts: `oci-layout`, `index.json`, and blobs by digest.
//!
//! # References
//!
//! OCI image spec, `image-layout.md`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use oci_spec::image as oci;
use serde_json::Value;
use storm_oci_store::{Descriptor, Digest, Platform};

use super::documents::{Document, Documents, Index, resolve};
use super::error::{Part, SourceError, shown};
use super::reference::Choice;
use super::{BlobStream, ImageSource, SourceImage, SourceLayer, file};
use crate::limits::Limits;

/// Names an entry of `index.json`.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// As containerd and Docker write it: the whole reference, where the above is the tag alone.
const IMAGE_NAME: &str = "io.containerd.image.name";
const VERSION: &str = "1.";

/// A layout, and which of its images.
#[derive(Debug)]
pub(super) struct Layout {
    name: String,
    directory: PathBuf,
    choice: Choice,
}

impl Layout {
    pub(super) fn new(name: &str, directory: PathBuf, choice: Choice) -> Self {
        Self { name: name.to_owned(), directory, choice }
    }

    async fn read(&self, part: Part, file: &str, limit: u64) -> Result<Bytes, SourceError> {
        let path = self.directory.join(file);
        file::blocking(move || file::document(&path, file::size_of(part), limit)).await
    }

    fn blob_path(digest: &Digest) -> String {
        format!("blobs/sha256/{}", digest.as_hex())
    }

    fn invalid(&self, problem: String) -> SourceError {
        SourceError::InvalidFile { path: self.directory.clone(), problem }
    }

    /// Refuses a directory that is no layout, or one of a version to come.
    async fn check(&self, limit: u64) -> Result<(), SourceError> {
        let marker = match self.read(Part::Index, "oci-layout", limit).await {
            Err(SourceError::Local { cause, .. })
                if cause.kind() == std::io::ErrorKind::NotFound && self.directory.is_dir() =>
            {
                let problem = "it is not an OCI layout: it has no file oci-layout";
                return Err(self.invalid(problem.to_owned()));
            }
            marker => marker?,
        };
        let marker: Value = serde_json::from_slice(&marker)
            .map_err(|cause| self.invalid(format!("its oci-layout cannot be read: {cause}")))?;
        match marker.get("imageLayoutVersion").and_then(Value::as_str) {
            Some(version) if version.starts_with(VERSION) => Ok(()),
            found => {
                let found = shown(found.unwrap_or("missing"));
                Err(self.invalid(format!("its imageLayoutVersion is {found}, not 1.0.0")))
            }
        }
    }

    /// The entries of `index.json` that the reference is for.
    fn choose(&self, index: &Index) -> Result<Vec<oci::Descriptor>, SourceError> {
        let entries = index.entries();
        let chosen: Vec<_> = match &self.choice {
            Choice::Only if entries.len() > 1 => {
                let existing = names(entries);
                let first = existing.first().cloned().unwrap_or_else(|| "TAG".to_owned());
                return Err(SourceError::Ambiguous {
                    name: self.name.clone(),
                    existing,
                    example: format!("{}:{first}", self.name),
                });
            }
            Choice::Only => entries.to_vec(),
            Choice::Name(name) => {
                let named = |entry: &&oci::Descriptor| names_of(entry).any(|one| one == name);
                entries.iter().filter(named).cloned().collect()
            }
            Choice::Digest(digest) => {
                let digest = digest.to_string();
                let is = |entry: &&oci::Descriptor| entry.digest().as_ref() == digest.as_str();
                entries.iter().find(is).cloned().into_iter().collect()
            }
        };
        if chosen.is_empty() {
            let missing = match &self.choice {
                Choice::Only => "the layout is empty".to_owned(),
                Choice::Name(name) => format!("the layout has no `{}`", shown(name)),
                Choice::Digest(_) => "the layout's index has no such digest".to_owned(),
            };
            let existing = names(entries);
            return Err(SourceError::NotFound { name: self.name.clone(), missing, existing });
        }
        Ok(chosen)
    }
}

/// What an entry is called.
fn names_of(entry: &oci::Descriptor) -> impl Iterator<Item = &String> {
    let annotations = entry.annotations().as_ref();
    [REF_NAME, IMAGE_NAME].into_iter().filter_map(move |key| annotations?.get(key))
}

/// What there is to choose from: the names, or the digest where there is none.
fn names(entries: &[oci::Descriptor]) -> Vec<String> {
    let name = |entry: &oci::Descriptor| {
        names_of(entry).next().cloned().unwrap_or_else(|| format!("@{}", entry.digest()))
    };
    entries.iter().map(name).collect::<BTreeSet<_>>().into_iter().collect()
}

#[async_trait]
impl ImageSource for Layout {
    async fn resolve(
        &self,
        platform: &Platform,
        limits: &Limits,
    ) -> Result<SourceImage, SourceError> {
        let limit = limits.document_bytes;
        self.check(limit).await?;
        let bytes = self.read(Part::Index, "index.json", limit).await?;
        let digest = Digest::of(&bytes);
        let index = Index::parse(&Document { bytes, digest: digest.clone(), media_type: None })?;
        let chosen = self.choose(&index)?;
        // Entries of one name are the image's platforms, as if they were in an index of their own.
        let chosen = Index::of(digest, chosen);
        let only = match chosen.entries() {
            [only] => Some(only),
            _ => None,
        };
        let digest = match (only, chosen.choose(platform)?) {
            (Some(only), _) => chosen.digest_of(only)?,
            (None, Some(digest)) => digest,
            (None, None) => {
                return Err(SourceError::WrongPlatform {
                    name: self.name.clone(),
                    platform: platform.clone(),
                    existing: chosen.platforms().collect(),
                });
            }
        };
        let mut root = self.manifest(&digest, limit).await?;
        super::documents::check(Part::Manifest, &self.name, &digest, &root.digest)?;
        root.media_type = only.map(|only| only.media_type().to_string());
        resolve(self, &self.name, root, platform, limits).await
    }

    async fn blob(&self, layer: &SourceLayer) -> Result<BlobStream, SourceError> {
        let path = self.directory.join(Self::blob_path(&layer.digest));
        file::blocking(move || {
            let (file, length) = file::open(&path)?;
            Ok(file::stream(path, file, 0, length))
        })
        .await
    }
}

#[async_trait]
impl Documents for Layout {
    async fn manifest(&self, digest: &Digest, limit: u64) -> Result<Document, SourceError> {
        let bytes = self.read(Part::Manifest, &Self::blob_path(digest), limit).await?;
        let digest = Digest::of(&bytes);
        Ok(Document { bytes, digest, media_type: None })
    }

    async fn config(&self, config: &Descriptor, limit: u64) -> Result<Bytes, SourceError> {
        self.read(Part::Config, &Self::blob_path(&config.digest), limit).await
    }
}
