//! What the store says of a squashfs file itself, in a side file beside it.

use std::sync::Arc;

pub(crate) use crate::content::Content;
use crate::error::{Object, StoreError};
use crate::location::Location;
use crate::remote::{self, RemoteStore};

/// What follows a layer's location in that of its side file.
const SIDE_FILE_SUFFIX: &str = ".json";
/// A side file is some hundred bytes.
const SIDE_FILE_LIMIT: u64 = 64 << 10;

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
    Content::parse(&bytes).map(Some).map_err(|cause| StoreError::InvalidDocument {
        object,
        name: location.to_string(),
        cause: Arc::new(cause),
    })
}
