//! Stores that the `object_store` library serves.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, GetResultPayload, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload,
};

use super::transfer::{CHUNK, exactly};
use super::{Entry, RemoteStore, Stat};
use crate::cache::blocking;
use crate::error::{ErrorKind, RemoteCause, StoreError};
use crate::location::Location;

/// One store of the library.
pub(super) struct ObjectBackend {
    store: Arc<dyn ObjectStore>,
}

impl ObjectBackend {
    /// The directories of this host. Its writes are on disk when they return.
    pub(super) fn local() -> Self {
        Self { store: Arc::new(LocalFileSystem::new().with_fsync(true)) }
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

    fn stream(
        &self,
        object: &Location,
        stat: &Stat,
        range: Range<u64>,
    ) -> BoxStream<'static, Result<Bytes, StoreError>> {
        let length = range.end.saturating_sub(range.start);
        let (store, object) = (Arc::clone(&self.store), object.clone());
        let version = stat.version.clone();
        let pieces = stream::once(pieces(store, object.clone(), version, range)).try_flatten();
        exactly(length, object, pieces)
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

/// The bytes of a range as they come.
async fn pieces(
    store: Arc<dyn ObjectStore>,
    object: Location,
    version: Option<String>,
    range: Range<u64>,
) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
    let path = path("read", &object)?;
    let options = GetOptions {
        if_match: version,
        range: Some(GetRange::Bounded(range)),
        ..GetOptions::default()
    };
    let result =
        store.get_opts(&path, options).await.map_err(|error| failed("read", &object, error))?;
    // The library reads files in small pieces, each on another thread.
    Ok(match result.payload {
        GetResultPayload::File(file, _) => file_pieces(file, result.range, object).boxed(),
        GetResultPayload::Stream(pieces) => {
            pieces.map_err(move |error| failed("read", &object, error)).boxed()
        }
    })
}

/// A range of an open file in chunks.
fn file_pieces(
    file: File,
    range: Range<u64>,
    object: Location,
) -> impl futures_util::Stream<Item = Result<Bytes, StoreError>> {
    stream::try_unfold((file, range), move |(file, range)| {
        let object = object.clone();
        blocking("read a file", move || {
            let length = range.end.saturating_sub(range.start);
            let length = usize::try_from(length).map_or(CHUNK, |length| length.min(CHUNK));
            let mut chunk = vec![0; length];
            let found = read_at(&file, &mut chunk, range.start).map_err(|cause| {
                let source = Box::new(cause);
                failed("read", &object, Error::Generic { store: "file", source })
            })?;
            chunk.truncate(found);
            let next = range.start.saturating_add(u64::try_from(found).unwrap_or(u64::MAX));
            Ok((found > 0).then(|| (Bytes::from(chunk), (file, next..range.end))))
        })
    })
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], start: u64) -> io::Result<usize> {
    let (mut found, mut position) = (0, start);
    while let Some(rest) = buffer.get_mut(found..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, position) {
            Ok(0) => break,
            Ok(read) => {
                found += read;
                position = position.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
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
