//! Layers in the cache: fetched once, checked, leased while in use.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cache::blocking;
use crate::cache::collect::Collector;
use crate::cache::completed::{Completed, Presence};
use crate::cache::directories::{Directories, remove_if_there};
use crate::cache::download::{Received, download};
use crate::cache::flight::{Flights, Landed};
use crate::cache::lock::{FileLock, LockMode};
use crate::cache::partial::Partial;
use crate::cache::side_file::{self, Content};
use crate::digest::Digest;
use crate::error::{ErrorKind, Object, StoreError};
use crate::layer_file::LayerFile;
use crate::location::Location;
use crate::remote::{self, Remotes, Stat};

/// Nobody needs to write a complete layer, its owner included.
const LAYER_MODE: u32 = 0o444;
const RECORD_MODE: u32 = 0o644;

/// A layer on the local disk.
///
/// As long as this lives, no process of this account removes the file: hold it until the launcher
/// has the layer open.
#[derive(Debug)]
pub struct LocalLayer {
    /// The layer's file.
    pub path: PathBuf,
    /// Its digest and format.
    pub file: LayerFile,
    /// Whether this call fetched it; `false` if it was there or another caller's fetch brought it.
    pub fetched: bool,
    /// Its size.
    pub bytes: u64,
    _lease: FileLock,
}

/// A layer and where to get it.
#[derive(Clone, Debug)]
pub(crate) struct LayerSource {
    /// Names the local file.
    pub(crate) file: LayerFile,
    /// The file in the store.
    pub(crate) location: Location,
    /// What is known of the file itself before asking the store.
    pub(crate) content: Option<Content>,
}

/// The layers of one cache.
#[derive(Debug)]
pub(crate) struct LayerCache {
    directories: Directories,
    remotes: Arc<Remotes>,
    collector: Arc<Collector>,
    flights: Flights,
}

impl LayerCache {
    pub(crate) fn new(
        directories: Directories,
        remotes: Arc<Remotes>,
        collector: Arc<Collector>,
    ) -> Self {
        Self { directories, remotes, collector, flights: Flights::default() }
    }

    /// The layer's local file, fetched if there is none that counts.
    pub(crate) async fn localize(&self, source: &LayerSource) -> Result<LocalLayer, StoreError> {
        // The lease comes first: what is seen under it stays.
        let lease_path = self.directories.lease(&source.file.digest);
        let lease = FileLock::acquire(&lease_path, LockMode::Shared).await?;
        // The order of collection, nothing more.
        if let Err(cause) = lease.touch() {
            tracing::debug!("{}", StoreError::local("touch", &lease_path, cause));
        }
        let landed = match self.complete_size(source).await? {
            Some(bytes) => Landed { bytes, fetched: false },
            None => self.flights.join(&source.file.digest, self.fetch(source)).await?,
        };
        Ok(LocalLayer {
            path: self.directories.layer(&source.file),
            file: source.file.clone(),
            fetched: landed.fetched,
            bytes: landed.bytes,
            _lease: lease,
        })
    }

    /// Makes the next [`LayerCache::localize`] fetch the layer again.
    ///
    /// The file goes too unless somebody holds a lease on it; then it stays until it is replaced,
    /// so that a path which was handed out never points nowhere.
    pub(crate) fn discard(&self, file: &LayerFile) -> Result<(), StoreError> {
        remove_if_there(&self.directories.layer_record(file))?;
        let lease_path = self.directories.lease(&file.digest);
        let lease = FileLock::try_acquire(&lease_path, LockMode::Exclusive)
            .map_err(|cause| StoreError::local("lock", &lease_path, cause))?;
        if lease.is_some() {
            remove_if_there(&self.directories.layer(file))?;
            remove_if_there(&lease_path)?;
        }
        Ok(())
    }

    /// The size of the layer's file, if it is complete.
    async fn complete_size(&self, source: &LayerSource) -> Result<Option<u64>, StoreError> {
        let layer = self.directories.layer(&source.file);
        let record = self.directories.layer_record(&source.file);
        let content = source.content.clone();
        blocking("look at a layer", move || {
            Ok(match Presence::look(&layer, &record)? {
                Presence::Absent => None,
                Presence::Complete(completed)
                    if content
                        .is_none_or(|content| content.sha256.as_hex() == completed.sha256) =>
                {
                    Some(completed.size)
                }
                Presence::Complete(_) | Presence::Unusable => {
                    let layer = layer.display();
                    tracing::warn!(%layer, "replacing a layer that is not as it was fetched");
                    None
                }
            })
        })
        .await
    }

    async fn fetch(&self, source: &LayerSource) -> Result<Landed, StoreError> {
        let partial = Partial::begin(&self.directories, &source.file.to_string()).await?;
        let partial = Arc::new(partial);
        // Another process may have brought it while this one waited.
        if let Some(bytes) = self.complete_size(source).await? {
            return Ok(Landed { bytes, fetched: false });
        }
        let bytes = match self.fetch_once(source, &partial).await {
            Err(error) if is_worth_another_try(&error) => {
                tracing::warn!(location = %source.location, "fetching once more: {error}");
                self.fetch_once(source, &partial).await
            }
            outcome => outcome,
        }?;
        Ok(Landed { bytes, fetched: true })
    }

    async fn fetch_once(
        &self,
        source: &LayerSource,
        partial: &Arc<Partial>,
    ) -> Result<u64, StoreError> {
        let store = self.remotes.open(&source.location)?;
        let location = &source.location;
        let stat = store
            .stat(location)
            .await
            .map_err(|error| remote::missing(error, Object::Layer, location))?;
        let side_file = side_file::read(store.as_ref(), location).await?;
        let contents: Vec<_> = source.content.iter().chain(&side_file).collect();
        for content in &contents {
            check_size(location, content.size, stat.size)?;
        }
        let received = match download(store.as_ref(), location, &stat, partial).await {
            Err(error) if error.kind() == ErrorKind::Full => {
                tracing::warn!("making room in the cache: {error}");
                let (collector, need) = (Arc::clone(&self.collector), stat.size);
                blocking("make room", move || collector.make_room(need)).await?;
                download(store.as_ref(), location, &stat, partial).await
            }
            outcome => outcome,
        }
        .map_err(|error| remote::missing(error, Object::Layer, location))?;
        for content in &contents {
            check_digest(location, &content.sha256, &received.digest)?;
        }
        self.publish(source, &stat, received, partial).await?;
        Ok(stat.size)
    }

    /// First the layer, then the record that makes it count.
    async fn publish(
        &self,
        source: &LayerSource,
        stat: &Stat,
        received: Received,
        partial: &Arc<Partial>,
    ) -> Result<(), StoreError> {
        let partial = Arc::clone(partial);
        let layer = self.directories.layer(&source.file);
        let record = self.directories.layer_record(&source.file);
        let (location, size) = (source.location.clone(), stat.size);
        blocking("publish a layer", move || {
            let Received { file, digest } = received;
            partial.publish(&file, LAYER_MODE, &layer)?;
            let metadata =
                file.metadata().map_err(|cause| StoreError::local("stat", &layer, cause))?;
            check_size(&location, size, metadata.len())?;
            let completed = Completed::of(digest.as_hex(), &metadata, &location.to_string());
            let json = serde_json::to_vec(&completed).map_err(|cause| {
                StoreError::local("write", &record, std::io::Error::from(cause))
            })?;
            partial.publish_bytes(&json, RECORD_MODE, &record)?;
            let layer = layer.display();
            tracing::info!(%layer, %location, bytes = size, sha256 = %digest.as_hex(), "fetched");
            Ok(())
        })
        .await
    }
}

/// Whether a second look at the store may find it in better shape.
fn is_worth_another_try(error: &StoreError) -> bool {
    matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Unreachable)
}

fn check_size(location: &Location, expected: u64, found: u64) -> Result<(), StoreError> {
    if expected == found {
        return Ok(());
    }
    let location = location.clone();
    Err(StoreError::SizeMismatch { object: Object::Layer, location, expected, found })
}

fn check_digest(location: &Location, expected: &Digest, found: &Digest) -> Result<(), StoreError> {
    if expected == found {
        return Ok(());
    }
    Err(StoreError::DigestMismatch {
        object: Object::Layer,
        location: location.clone(),
        expected: expected.clone(),
        found: found.clone(),
    })
}
