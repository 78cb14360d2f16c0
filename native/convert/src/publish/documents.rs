//! Manifests and image configs.

use bytes::Bytes;
use storm_oci_store::remote::{body_of, read_document};
use storm_oci_store::{Content, Digest, ErrorKind, Location, Object, StoreError};

use super::error::PublishError;
use super::problem::Fault;
use super::publisher::{Publisher, Written};

/// The most that a manifest or an image config has, in bytes.
pub(super) const DOCUMENT_LIMIT: u64 = 16 << 20;

impl Publisher {
    /// Puts an image config into the store.
    ///
    /// # Errors
    ///
    /// [`PublishError::WrongDocument`] if the bytes are not those of the digest;
    /// [`PublishError::Store`].
    pub async fn publish_config(
        &self,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<Written, PublishError> {
        let location = self.config_location(digest);
        self.publish_document(Object::Config, &location, digest, bytes).await
    }

    /// Puts a manifest into the store. All that it names must be there already.
    ///
    /// One that was to be forgotten is brought back: it is readable and not marked any more.
    ///
    /// # Errors
    ///
    /// As [`Publisher::publish_config`].
    pub async fn publish_manifest(
        &self,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<Written, PublishError> {
        let location = self.manifest_location(digest);
        let written = self.publish_document(Object::Manifest, &location, digest, bytes).await?;
        self.unmark(digest).await?;
        Ok(written)
    }

    /// Forgets that a manifest had no tag.
    pub(super) async fn unmark(&self, digest: &Digest) -> Result<(), PublishError> {
        self.store.delete(&self.marker_location(digest)).await?;
        Ok(())
    }

    async fn publish_document(
        &self,
        object: Object,
        location: &Location,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<Written, PublishError> {
        let content = Content::of(&bytes);
        if content.sha256 != *digest {
            let (expected, found) = (digest.clone(), content.sha256);
            return Err(PublishError::WrongDocument { object, expected, found });
        }
        let mut overwrite = false;
        if let Some(listed) = self.found(location).await? {
            let readable = self.make_readable(location, &listed).await?;
            if self.document(object, location, digest).await?.is_ok() {
                return Ok(if readable { Written::Repaired } else { Written::Present });
            }
            tracing::warn!(%location, "replacing a {object} that is not what its name says");
            overwrite = true;
        }
        let how = self.how(object, overwrite);
        match self.store.upload(location, body_of(bytes), &content, how).await {
            Ok(()) if overwrite => Ok(Written::Repaired),
            Ok(()) => Ok(Written::New),
            // Another wrote the same, as only those bytes have the name.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Written::Present),
            Err(error) => Err(error.into()),
        }
    }

    /// A document of the store, or what is wrong with it.
    pub(super) async fn document(
        &self,
        object: Object,
        location: &Location,
        digest: &Digest,
    ) -> Result<Result<Bytes, Fault>, PublishError> {
        let read = read_document(self.store.as_ref(), object, location, DOCUMENT_LIMIT);
        let bytes = match read.await {
            Ok((_, bytes)) => bytes,
            Err(StoreError::Missing { .. }) => return Ok(Err(Fault::Missing)),
            Err(error @ StoreError::TooLarge { .. }) => {
                return Ok(Err(Fault::Unusable(error.to_string())));
            }
            Err(error) => return Err(error.into()),
        };
        let found = Digest::of(&bytes);
        if found != *digest {
            return Ok(Err(Fault::Digest { expected: digest.clone(), found }));
        }
        Ok(Ok(bytes))
    }
}
