//! Stores that the `object_store` library serves.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};

use super::{Entry, RemoteStore, Stat};
use crate::error::{ErrorKind, RemoteCause, StoreError};
use crate::location::Location;

/// One store of the library.
pub(super) struct ObjectBackend {
    store: Box<dyn ObjectStore>,
}

impl ObjectBackend {
    /// The directories of this host. Its writes are on disk when they return.
    pub(super) fn local() -> Self {
        Self { store: Box::new(LocalFileSystem::new().with_fsync(true)) }
    }

    async fn put(
        &self,
        operation: &'static str,
        object: &Location,
        body: Bytes,
        mode: PutMode,
    ) -> Result<(), StoreError> {
        let path = path(operation, object)?;
        let options = PutOptions { mode, ..PutOptions::default() };
        self.store
            .put_opts(&path, PutPayload::from_bytes(body), options)
            .await
            .map(|_| ())
            .map_err(|error| failed(operation, object, error))
    }
}

impl fmt::Debug for ObjectBackend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ObjectBackend({})", self.store)
    }
}

#[async_trait]
impl RemoteStore for ObjectBackend {
    async fn stat(&self, object: &Location) -> Result<Stat, StoreError> {
        let path = path("stat", object)?;
        let meta = self.store.head(&path).await.map_err(|error| failed("stat", object, error))?;
        Ok(Stat {
            size: meta.size,
            modified_millis: meta.last_modified.timestamp_millis(),
            version: meta.e_tag,
        })
    }

    async fn read(
        &self,
        object: &Location,
        stat: &Stat,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        let length = range.end.saturating_sub(range.start);
        if length == 0 {
            // Stores refuse an empty range.
            return Ok(Bytes::new());
        }
        let path = path("read", object)?;
        let options = GetOptions {
            if_match: stat.version.clone(),
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let result = self.store.get_opts(&path, options).await;
        let bytes = match result {
            Ok(result) => result.bytes().await,
            Err(error) => Err(error),
        }
        .map_err(|error| failed("read", object, error))?;
        // A range is cut at the object's end.
        if u64::try_from(bytes.len()).is_ok_and(|found| found == length) {
            Ok(bytes)
        } else {
            Err(StoreError::Changed { location: object.clone() })
        }
    }

    async fn list(&self, directory: &Location) -> Result<Vec<Entry>, StoreError> {
        let path = path("list", directory)?;
        let listing = self.store.list_with_delimiter(Some(&path)).await;
        let listing = match listing {
            Ok(listing) => listing.objects,
            Err(Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(failed("list", directory, error)),
        };
        let mut entries: Vec<_> = listing
            .into_iter()
            .filter_map(|meta| {
                let name = meta.location.filename()?.to_owned();
                Some(Entry { name, size: meta.size })
            })
            .collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    async fn publish_new(&self, object: &Location, body: Bytes) -> Result<(), StoreError> {
        self.put("publish", object, body, PutMode::Create).await
    }

    async fn replace(&self, object: &Location, body: Bytes) -> Result<(), StoreError> {
        self.put("replace", object, body, PutMode::Overwrite).await
    }
}

/// The library's form of a path. `parse` takes it literally, where its other constructors encode.
fn path(operation: &'static str, location: &Location) -> Result<Path, StoreError> {
    Path::parse(location.path()).map_err(|error| failed(operation, location, error.into()))
}

fn failed(operation: &'static str, location: &Location, error: Error) -> StoreError {
    let location = location.clone();
    let kind = match &error {
        Error::NotFound { .. } => ErrorKind::NotFound,
        Error::AlreadyExists { .. } => ErrorKind::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => ErrorKind::Denied,
        Error::Precondition { .. } | Error::NotModified { .. } => {
            return StoreError::Changed { location };
        }
        Error::NotSupported { .. } | Error::NotImplemented { .. } => ErrorKind::Unsupported,
        Error::InvalidPath { .. } => ErrorKind::Malformed,
        Error::JoinError { .. } => ErrorKind::Internal,
        _ => ErrorKind::Unreachable,
    };
    let cause = RemoteCause::new(error);
    let kind = match (kind, cause.io_kind()) {
        // A broken mount or disk (EIO, ESTALE, ENOTCONN) is a store that does not answer.
        (ErrorKind::Unreachable, None | Some(ErrorKind::Internal)) => ErrorKind::Unreachable,
        (ErrorKind::Unreachable, Some(of_system)) => of_system,
        (kind, _) => kind,
    };
    StoreError::Remote { operation, location, kind, cause }
}
