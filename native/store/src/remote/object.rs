//! Stores that the `object_store` library serves.

mod answers;
mod connect;
mod directory;
mod failure;
mod file;
mod tls;
mod writing;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutOptions, PutPayload,
};

use super::transfer::exactly;
use super::{Entry, RemoteStore, Stat};
use crate::error::{ErrorKind, StoreError};
use crate::location::{Location, Scheme};
use crate::settings::RemoteSettings;
pub use connect::is_object_option;

/// One store of the library.
#[derive(Clone)]
pub(super) struct ObjectBackend {
    scheme: Scheme,
    store: Arc<dyn ObjectStore>,
}

impl ObjectBackend {
    /// The store that serves a location. Connects to nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidOptions`].
    pub(super) fn new(location: &Location, settings: &RemoteSettings) -> Result<Self, StoreError> {
        Ok(Self { scheme: location.scheme(), store: connect::connect(location, settings)? })
    }

    /// The bytes of a range as they come.
    async fn pieces(
        self,
        object: Location,
        stat: Stat,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        let path = self.path("read", &object)?;
        let whole = range == (0..stat.size);
        let options = GetOptions {
            // The other sort names content that is alike, and never matches.
            if_match: stat.version.clone().filter(|version| !version.starts_with("W/")),
            // A web server may have no ranges, and still be good for whole objects.
            range: (!whole).then_some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let result = self.store.get_opts(&path, options).await;
        let result = result.map_err(|error| self.failed("read", &object, error))?;
        // A server may know no conditions.
        if !is_described(&stat, &result.meta) {
            return Err(StoreError::Changed { location: object });
        }
        Ok(match result.payload {
            GetResultPayload::File(file, _) => file::pieces(file, result.range, object).boxed(),
            GetResultPayload::Stream(pieces) => {
                pieces.map_err(move |error| self.failed("read", &object, error)).boxed()
            }
        })
    }

    async fn put(
        &self,
        operation: &'static str,
        object: &Location,
        body: Bytes,
        mode: PutMode,
    ) -> Result<(), StoreError> {
        self.must_be_writable(operation, object)?;
        let path = self.path(operation, object)?;
        let options = PutOptions { mode, ..PutOptions::default() };
        self.store
            .put_opts(&path, PutPayload::from_bytes(body), options)
            .await
            .map(|_| ())
            .map_err(|error| self.failed(operation, object, error))
    }

    /// The library would try WebDAV on any web server.
    fn must_be_writable(
        &self,
        operation: &'static str,
        object: &Location,
    ) -> Result<(), StoreError> {
        match self.scheme {
            Scheme::Http | Scheme::Https => Err(failure::read_only(operation, object)),
            Scheme::File | Scheme::Hdfs | Scheme::S3 | Scheme::Gs | Scheme::Azure => Ok(()),
        }
    }

    /// The library's form of a path. `parse` takes it literally, where its other constructors
    /// encode.
    fn path(&self, operation: &'static str, location: &Location) -> Result<Path, StoreError> {
        Path::parse(location.path()).map_err(|error| self.failed(operation, location, error.into()))
    }

    fn failed(&self, operation: &'static str, location: &Location, error: Error) -> StoreError {
        if self.scheme == Scheme::File {
            failure::of_directory(operation, location, error)
        } else {
            failure::of_server(operation, location, &error)
        }
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
        let path = self.path("stat", object)?;
        let meta = self.store.head(&path).await;
        let meta = meta.map_err(|error| self.failed("stat", object, error))?;
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
        let pieces = self.clone().pieces(object.clone(), stat.clone(), range.clone());
        exactly(&range, object.clone(), pieces)
    }

    async fn list(&self, directory: &Location) -> Result<Vec<Entry>, StoreError> {
        self.must_be_writable("list", directory)?;
        let path = self.path("list", directory)?;
        let listing = self.store.list_with_delimiter(Some(&path)).await;
        let listing = match listing.map_err(|error| self.failed("list", directory, error)) {
            Ok(listing) => listing.objects,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
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

/// Whether an answer is about the object that was described, as far as the store tells.
fn is_described(stat: &Stat, meta: &ObjectMeta) -> bool {
    let same_time = || meta.last_modified.timestamp_millis() == stat.modified_millis;
    meta.size == stat.size && meta.e_tag == stat.version && (stat.version.is_some() || same_time())
}
