//! Manifests and image configs in the cache: small, and checked whenever they are read.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::cache::blocking;
use crate::cache::directories::Directories;
use crate::cache::partial::Partial;
use crate::cache::retry::{retry, within};
use crate::digest::Digest;
use crate::error::{Object, StoreError};
use crate::location::Location;
use crate::remote::{self, Remotes};

/// The most that registries take as a manifest; configs stay well below.
const LIMIT: u64 = 4 << 20;
const DOCUMENT_MODE: u32 = 0o644;

/// The documents of one cache.
#[derive(Debug)]
pub(crate) struct Documents {
    directories: Directories,
    remotes: Arc<Remotes>,
    request_timeout: Duration,
}

impl Documents {
    pub(crate) fn new(
        directories: Directories,
        remotes: Arc<Remotes>,
        request_timeout: Duration,
    ) -> Self {
        Self { directories, remotes, request_timeout }
    }

    /// The manifest with this digest, which the store has at `location`.
    pub(crate) async fn manifest(
        &self,
        digest: &Digest,
        location: &Location,
    ) -> Result<Bytes, StoreError> {
        let path = self.directories.manifest(digest);
        let name = format!("manifest-{}", digest.as_hex());
        self.read(Object::Manifest, digest, location, path, &name).await
    }

    /// The image config with this digest, and the path of its local copy.
    pub(crate) async fn config(
        &self,
        digest: &Digest,
        location: &Location,
    ) -> Result<(Bytes, PathBuf), StoreError> {
        let path = self.directories.config(digest);
        let name = format!("config-{}", digest.as_hex());
        let bytes = self.read(Object::Config, digest, location, path.clone(), &name).await?;
        Ok((bytes, path))
    }

    async fn read(
        &self,
        object: Object,
        digest: &Digest,
        location: &Location,
        path: PathBuf,
        partial_name: &str,
    ) -> Result<Bytes, StoreError> {
        if let Some(bytes) = read_checked(path.clone(), digest).await? {
            return Ok(bytes);
        }
        let bytes = match self.fetch(object, digest, location).await {
            Err(StoreError::DigestMismatch { .. }) => self.fetch(object, digest, location).await,
            outcome => outcome,
        }?;
        let partial = Partial::begin(&self.directories, partial_name).await?;
        let copy = bytes.clone();
        blocking("publish a document", move || partial.publish_bytes(&copy, DOCUMENT_MODE, &path))
            .await?;
        Ok(bytes)
    }

    async fn fetch(
        &self,
        object: Object,
        digest: &Digest,
        location: &Location,
    ) -> Result<Bytes, StoreError> {
        let store = self.remotes.open(location)?;
        let read = || {
            let document = remote::read_document(store.as_ref(), object, location, LIMIT);
            within(self.request_timeout, "read", location, document)
        };
        let (_, bytes) = retry(read).await?;
        let found = Digest::of(&bytes);
        if found == *digest {
            return Ok(bytes);
        }
        let (location, expected) = (location.clone(), digest.clone());
        Err(StoreError::DigestMismatch { object, location, expected, found })
    }
}

/// The local copy, if it still has its digest.
async fn read_checked(path: PathBuf, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
    let digest = digest.clone();
    blocking("read a document", move || {
        let bytes = read_local(&path, LIMIT)?;
        if bytes.as_ref().is_some_and(|bytes| Digest::of(bytes) != digest) {
            tracing::warn!(path = %path.display(), "replacing a damaged local copy");
            return Ok(None);
        }
        Ok(bytes)
    })
    .await
}

/// A local file, at most `limit` bytes of it; `None` if there is none.
fn read_local(path: &Path, limit: u64) -> Result<Option<Bytes>, StoreError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes.into())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(StoreError::local("read", path, cause)),
    }
}
