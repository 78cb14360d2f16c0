//! Remote stores: what this crate asks of them, and which scheme is served by which.

mod hdfs;
mod object;
mod temporary;
mod transfer;
mod writing;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;

use crate::error::{ErrorKind, Object, StoreError};
use crate::location::{Location, Scheme};
use crate::settings::RemoteSettings;
use hdfs::HdfsStore;
use object::ObjectBackend;
pub use object::is_object_option;
pub use temporary::is_temporary;
pub use transfer::CHUNK;
pub use writing::{Body, Listed, PUBLISHED_MODE, Upload, WritableStore, body_of, content_of};

/// What a store knows of an object without reading it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stat {
    /// In bytes.
    pub size: u64,
    /// When it was last changed, in milliseconds since the epoch.
    pub modified_millis: i64,
    /// Changes whenever the content does; `None` if the store has no such thing.
    pub version: Option<String>,
}

/// An object in a listing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The last component of its path.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A remote store. An object that is not there is [`StoreError::Remote`] of
/// [`ErrorKind::NotFound`] from every method but [`RemoteStore::list`].
///
/// A store may keep connections between two calls but no reader: a second try never meets what
/// broke the first.
#[async_trait]
pub trait RemoteStore: fmt::Debug + Send + Sync {
    /// Asks for an object's size and version.
    async fn stat(&self, object: &Location) -> Result<Stat, StoreError>;

    /// Reads a part of an object that [`RemoteStore::stat`] described.
    ///
    /// The stream yields exactly the range's bytes, in pieces of at most [`CHUNK`], or ends with
    /// an error: [`StoreError::Changed`] when the object is no longer the described one, as far as
    /// the store can tell, and any error for a range beyond the object's end. Nothing is asked of
    /// the store before the first poll, nor for an empty range. Dropping it ends the transfer.
    fn stream(
        &self,
        object: &Location,
        stat: &Stat,
        range: Range<u64>,
    ) -> BoxStream<'static, Result<Bytes, StoreError>>;

    /// The whole of a [`RemoteStore::stream`]. For what fits in memory.
    async fn read(
        &self,
        object: &Location,
        stat: &Stat,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        let mut whole = BytesMut::new();
        let mut pieces = self.stream(object, stat, range);
        while let Some(piece) = pieces.try_next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// The objects directly in a directory, by name; empty for a missing directory.
    async fn list(&self, directory: &Location) -> Result<Vec<Entry>, StoreError>;

    /// Writes an object that must not exist, visible only when it is complete.
    ///
    /// [`ErrorKind::AlreadyExists`] if it does, and then it is left as it is.
    async fn publish_new(&self, object: &Location, body: Bytes) -> Result<(), StoreError>;

    /// Writes an object over what may be there; readers see the old or the new one, never a mix.
    async fn replace(&self, object: &Location, body: Bytes) -> Result<(), StoreError>;
}

/// The remote stores of one configuration. Meant to be shared: all who ask for the same host or
/// bucket get the same store with its connections.
#[derive(Debug)]
pub struct Remotes {
    settings: RemoteSettings,
    opened: Mutex<HashMap<(Scheme, String), Arc<dyn WritableStore>>>,
}

impl Remotes {
    /// Knows how to reach stores, and reaches none yet.
    #[must_use]
    pub fn new(settings: RemoteSettings) -> Self {
        Self { settings, opened: Mutex::default() }
    }

    /// The store that serves `location` and everything else of its scheme and authority.
    ///
    /// Does not connect: a store that is down shows at the first request.
    ///
    /// # Errors
    ///
    /// Those of a store's own configuration, if it is unusable.
    pub fn open(&self, location: &Location) -> Result<Arc<dyn RemoteStore>, StoreError> {
        Ok(self.open_writable(location)?)
    }

    /// As [`Remotes::open`], to write too.
    ///
    /// # Errors
    ///
    /// Those of [`Remotes::open`].
    pub fn open_writable(&self, location: &Location) -> Result<Arc<dyn WritableStore>, StoreError> {
        let key = (location.scheme(), location.authority().to_owned());
        // The map is whole at every point where a panic could strike.
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = opened.get(&key) {
            return Ok(Arc::clone(store));
        }
        let store: Arc<dyn WritableStore> = match location.scheme() {
            Scheme::Hdfs => Arc::new(HdfsStore::open(&self.settings, location)?),
            Scheme::File
            | Scheme::S3
            | Scheme::Gs
            | Scheme::Azure
            | Scheme::Http
            | Scheme::Https => Arc::new(ObjectBackend::new(location, &self.settings)?),
        };
        opened.insert(key, Arc::clone(&store));
        Ok(store)
    }
}

/// Reads a whole object of at most `limit` bytes. One that is replaced meanwhile is read once more.
///
/// # Errors
///
/// [`StoreError::Missing`], [`StoreError::TooLarge`], and those of [`RemoteStore::read`].
pub async fn read_document(
    store: &dyn RemoteStore,
    object: Object,
    location: &Location,
    limit: u64,
) -> Result<(Stat, Bytes), StoreError> {
    match read_once(store, object, location, limit).await {
        Err(StoreError::Changed { .. }) => read_once(store, object, location, limit).await,
        outcome => outcome,
    }
    .map_err(|error| missing(error, object, location))
}

async fn read_once(
    store: &dyn RemoteStore,
    object: Object,
    location: &Location,
    limit: u64,
) -> Result<(Stat, Bytes), StoreError> {
    let stat = store.stat(location).await?;
    if stat.size > limit {
        let (location, found) = (location.clone(), stat.size);
        return Err(StoreError::TooLarge { object, location, found, limit });
    }
    let bytes = store.read(location, &stat, 0..stat.size).await?;
    Ok((stat, bytes))
}

/// Says what it is that a store does not have.
pub(crate) fn missing(error: StoreError, object: Object, location: &Location) -> StoreError {
    if error.kind() == ErrorKind::NotFound {
        StoreError::Missing { object, location: location.clone() }
    } else {
        error
    }
}
