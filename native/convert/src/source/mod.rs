//! Where images come from: registries, OCI layouts, Docker archives, and skopeo's directories.
//!
//! An image is resolved once, from what the user wrote to one manifest for one platform. All that
//! follows is asked for by digest, so that a tag which moves meanwhile changes nothing. Manifest,
//! index and config are compared with their digests here; a layer's bytes are passed on as they
//! come, and [`crate::layer`] compares them.

mod archive;
mod documents;
mod error;
mod file;
mod image;
mod layout;
mod reference;
mod registry;
mod settings;
mod skopeo_dir;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use storm_oci_store::Platform;

use crate::limits::Limits;
use archive::Archive;
use layout::Layout;
use reference::SourceReference;
use registry::Registry;
use skopeo_dir::SkopeoDir;

pub use error::{Part, SourceError};
pub use image::{SourceImage, SourceLayer};
pub use settings::{Credentials, SourceSettings};

/// A layer's bytes, in order. After an error nothing follows.
pub type BlobStream = BoxStream<'static, Result<Bytes, SourceError>>;

/// An image that somebody can be asked for.
#[async_trait]
pub trait ImageSource: std::fmt::Debug + Send + Sync {
    /// Finds the image's manifest for this platform, and reads it and the image config.
    ///
    /// # Errors
    ///
    /// [`SourceError`] when there is no such image or platform, when it cannot be read or asks for
    /// more than `limits`, and when it is not an image whose layers can be converted.
    async fn resolve(
        &self,
        platform: &Platform,
        limits: &Limits,
    ) -> Result<SourceImage, SourceError>;

    /// The bytes of one layer of an image that this source resolved, from the beginning, exactly
    /// as the source has them. Neither their number nor their digest is checked.
    ///
    /// # Errors
    ///
    /// [`SourceError`] when the source does not have the layer; in the stream, when it breaks off.
    async fn blob(&self, layer: &SourceLayer) -> Result<BlobStream, SourceError>;
}

/// The source of the image that `reference` names. Nothing is read before
/// [`ImageSource::resolve`], except what `settings` names.
///
/// | reference | source |
/// |---|---|
/// | `[docker://]HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]` | a registry; Docker's defaults apply |
/// | `oci:DIRECTORY[:TAG\|@DIGEST]` | an OCI image layout |
/// | `docker-archive:FILE[:REPOSITORY[:TAG]]` | what `docker save` writes, compressed or not |
/// | `dir:DIRECTORY` | what `skopeo copy … dir:` writes |
///
/// # Errors
///
/// [`SourceError::InvalidReference`]; for registries also [`SourceError::InvalidSettings`] and
/// [`SourceError::AuthFile`].
pub fn open(
    reference: &str,
    settings: &SourceSettings,
) -> Result<Box<dyn ImageSource>, SourceError> {
    Ok(match SourceReference::parse(reference)? {
        SourceReference::Layout { directory, choice } => {
            Box::new(Layout::new(reference, directory, choice))
        }
        SourceReference::SkopeoDir { directory } => Box::new(SkopeoDir::new(reference, directory)),
        SourceReference::Registry(image) => Box::new(Registry::new(reference, image, settings)?),
        SourceReference::Archive { file, choice } => {
            Box::new(Archive::new(reference, file, choice))
        }
    })
}
