//! What a document among a store's manifests is.

use std::sync::Arc;

use oci_spec::image::MediaType;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::digest::Digest;
use crate::error::{Object, StoreError, shown};
use crate::media_type;

/// The only schema version that has configs and layers by digest.
const SCHEMA_VERSION: u32 = 2;

/// A document that can be run, or chosen from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DocumentKind {
    Manifest,
    Index,
}

/// What tells documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    schema_version: Option<u32>,
    media_type: Option<MediaType>,
    manifests: Option<IgnoredAny>,
}

impl DocumentKind {
    /// Looks at a document with this digest.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidDocument`], [`StoreError::WrongMediaType`] and
    /// [`StoreError::WrongSchemaVersion`].
    pub(crate) fn of(document: &[u8], digest: &Digest) -> Result<Self, StoreError> {
        let head: Head =
            serde_json::from_slice(document).map_err(|cause| invalid(digest, cause))?;
        let kind = match &head.media_type {
            Some(found) if media_type::is_manifest(found) => Self::Manifest,
            Some(found) if media_type::is_index(found) => Self::Index,
            Some(found) => {
                return Err(StoreError::WrongMediaType {
                    object: Object::Manifest,
                    name: digest.to_string(),
                    found: shown(found.as_ref()),
                    accepted: media_type::MANIFESTS.to_owned(),
                });
            }
            // OCI lets a document go without its media type; an index then shows by its content.
            None if head.manifests.is_some() => Self::Index,
            None => Self::Manifest,
        };
        match head.schema_version {
            Some(found) if found != SCHEMA_VERSION => {
                Err(StoreError::WrongSchemaVersion { digest: digest.clone(), found })
            }
            _ => Ok(kind),
        }
    }
}

/// The error of a document that is not the JSON it should be.
pub(crate) fn invalid(digest: &Digest, cause: serde_json::Error) -> StoreError {
    StoreError::InvalidDocument {
        object: Object::Manifest,
        name: digest.to_string(),
        cause: Arc::new(cause),
    }
}
