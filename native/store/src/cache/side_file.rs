//! What the store says of a squashfs file itself, in a side file beside it.

use std::sync::Arc;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::digest::Digest;
use crate::error::{Object, StoreError};
use crate::location::Location;
use crate::remote::{self, RemoteStore};

/// What follows a layer's location in that of its side file.
const SIDE_FILE_SUFFIX: &str = ".json";
/// A side file is some hundred bytes.
const SIDE_FILE_LIMIT: u64 = 64 << 10;

/// What a squashfs file must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Content {
    pub(crate) sha256: Digest,
    pub(crate) size: u64,
}

/// The side file: `{"sha256": "<64 hex digits>", "size": <bytes>}` of the squashfs file. Other
/// keys are for later readers.
#[derive(Deserialize)]
struct SideFile {
    #[serde(deserialize_with = "hex_digits")]
    sha256: Digest,
    size: u64,
}

fn hex_digits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    Digest::parse_hex(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// What the side file beside a layer promises, if there is one.
pub(crate) async fn read(
    store: &dyn RemoteStore,
    layer: &Location,
) -> Result<Option<Content>, StoreError> {
    let location = layer.with_suffix(SIDE_FILE_SUFFIX);
    let object = Object::SideFile;
    let bytes = match remote::read_document(store, object, &location, SIDE_FILE_LIMIT).await {
        Ok((_, bytes)) => bytes,
        Err(StoreError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let side_file: SideFile = serde_json::from_slice(&bytes).map_err(|cause| {
        StoreError::InvalidDocument { object, name: location.to_string(), cause: Arc::new(cause) }
    })?;
    let SideFile { sha256, size } = side_file;
    Ok(Some(Content { sha256, size }))
}
