//! The fetch of one layer: checked, tried again where that helps, published with its record.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::blocking;
use crate::cache::collect::Collector;
use crate::cache::completed::{Completed, Presence};
use crate::cache::directories::Directories;
use crate::cache::download::{Download, SEGMENT};
use crate::cache::flight::Landed;
use crate::cache::layer::LayerSource;
use crate::cache::localization::Localization;
use crate::cache::lookup::{Found, Lookup};
use crate::cache::partial::Partial;
use crate::cache::side_file::Content;
use crate::cache::target::Target;
use crate::cache::transfers::Transfers;
use crate::digest::Digest;
use crate::error::{ErrorKind, Object, StoreError};
use crate::location::Location;
use crate::remote;
use crate::settings::Verification;

/// Nobody needs to write a complete layer, its owner included.
const LAYER_MODE: u32 = 0o444;
const RECORD_MODE: u32 = 0o644;

/// What fetches into one cache.
#[derive(Debug)]
pub(crate) struct LayerFetches {
    pub(crate) directories: Directories,
    pub(crate) collector: Arc<Collector>,
    pub(crate) lookup: Arc<Lookup>,
    pub(crate) transfers: Transfers,
    pub(crate) verification: Verification,
    /// How long a store may send nothing.
    pub(crate) request_timeout: Duration,
}

impl LayerFetches {
    /// The size of the layer's file, if it is complete.
    pub(crate) async fn complete_size(
        &self,
        source: &LayerSource,
    ) -> Result<Option<u64>, StoreError> {
        let layer = self.directories.layer(&source.file);
        let record = self.directories.layer_record(&source.file);
        let content = source.content.clone();
        let is_required = self.verification == Verification::Required;
        blocking("look at a layer", move || {
            Ok(match Presence::look(&layer, &record)? {
                Presence::Absent => None,
                Presence::Complete(completed)
                    if content
                        .is_none_or(|content| content.sha256.as_hex() == completed.sha256) =>
                {
                    (completed.verified || !is_required).then_some(completed.size)
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

    /// Brings the layer here. What broke off is gone on with, later or by another process; what is
    /// wrong leaves nothing.
    pub(crate) async fn fetch(
        &self,
        source: &LayerSource,
        localization: &Arc<Localization>,
    ) -> Result<Landed, StoreError> {
        let partial = Partial::begin(&self.directories, &source.file.to_string()).await?;
        let partial = Arc::new(partial);
        // Another process may have brought it while this one waited.
        if let Some(bytes) = self.complete_size(source).await? {
            return Ok(Landed { bytes, fetched: false });
        }
        let mut segment = SEGMENT;
        let (mut is_second_look, mut is_room_made) = (false, false);
        loop {
            let mut size = 0;
            let outcome = async {
                let found = self.lookup.layer(source).await?;
                size = found.stat.size;
                self.receive(source, &partial, found, segment, localization).await
            };
            let error = match outcome.await {
                Ok(landed) => return Ok(landed),
                Err(error) => error,
            };
            // What is here stays for the next fetch.
            if error.kind() == ErrorKind::Unreachable {
                return Err(error);
            }
            partial.discard()?;
            match error.kind() {
                // A second look may find the store in better shape.
                ErrorKind::Mismatch if !is_second_look => is_second_look = true,
                // A server that cannot send a part of a file.
                ErrorKind::Unsupported if segment != u64::MAX => segment = u64::MAX,
                ErrorKind::Full if !is_room_made => {
                    is_room_made = true;
                    self.make_room(size).await?;
                }
                _ => return Err(error),
            }
            tracing::warn!(location = %source.location, "fetching once more: {error}");
        }
    }

    async fn receive(
        &self,
        source: &LayerSource,
        partial: &Arc<Partial>,
        found: Found,
        segment: u64,
        localization: &Arc<Localization>,
    ) -> Result<Landed, StoreError> {
        let location = &source.location;
        let Found { store, stat, contents } = found;
        for content in &contents {
            check_size(location, content.size, stat.size)?;
        }
        if let Some(landed) = self.accept_present(source, partial, &contents).await? {
            return Ok(landed);
        }
        let target = blocking("open a partial file", {
            let (partial, location, stat) = (Arc::clone(partial), location.clone(), stat.clone());
            move || Target::open(partial, location, stat).map(Arc::new)
        })
        .await?;
        localization.expect(target.lacks());
        let download = Download {
            store,
            target: Arc::clone(&target),
            transfers: self.transfers.clone(),
            segment,
            request_timeout: self.request_timeout,
            localization: Arc::clone(localization),
        };
        let digest = download
            .run()
            .await
            .map_err(|error| remote::missing(error, Object::Layer, location))?;
        for content in &contents {
            check_digest(location, &content.sha256, &digest)?;
        }
        self.publish(source, target, digest, !contents.is_empty()).await?;
        localization.fetched_layer();
        Ok(Landed { bytes: stat.size, fetched: true })
    }

    /// Has room for a layer of `size` bytes on a disk that is full, as far as that can be.
    async fn make_room(&self, size: u64) -> Result<(), StoreError> {
        let (directories, collector) = (self.directories.clone(), Arc::clone(&self.collector));
        blocking("make room", move || {
            let bytes = directories.remove_abandoned_partials()?;
            tracing::info!(bytes, "the disk is full: removed fetches that broke off");
            collector.make_room(size).map(|_| ())
        })
        .await
    }

    /// The file that is there, if it was fetched without a digest and has the one known now.
    async fn accept_present(
        &self,
        source: &LayerSource,
        partial: &Arc<Partial>,
        contents: &[Content],
    ) -> Result<Option<Landed>, StoreError> {
        if contents.is_empty() {
            return Ok(None);
        }
        let layer = self.directories.layer(&source.file);
        let record = self.directories.layer_record(&source.file);
        let (partial, contents) = (Arc::clone(partial), contents.to_vec());
        blocking("look at a layer", move || {
            let Presence::Complete(mut completed) = Presence::look(&layer, &record)? else {
                return Ok(None);
            };
            let is_it = |content: &Content| content.sha256.as_hex() == completed.sha256;
            if !contents.iter().all(is_it) {
                return Ok(None);
            }
            completed.verified = true;
            write_record(&completed, &partial, &record)?;
            Ok(Some(Landed { bytes: completed.size, fetched: false }))
        })
        .await
    }

    /// First the layer, then the record that makes it count.
    async fn publish(
        &self,
        source: &LayerSource,
        target: Arc<Target>,
        digest: Digest,
        verified: bool,
    ) -> Result<(), StoreError> {
        let layer = self.directories.layer(&source.file);
        let record = self.directories.layer_record(&source.file);
        let location = source.location.clone();
        blocking("publish a layer", move || {
            let metadata = target.publish(LAYER_MODE, &layer)?;
            check_size(&location, target.stat().size, metadata.len())?;
            let sha256 = digest.as_hex();
            let completed = Completed::of(sha256, verified, &metadata, &location.to_string());
            write_record(&completed, target.partial(), &record)?;
            let layer = layer.display();
            tracing::info!(%layer, %location, bytes = metadata.len(), %sha256, verified, "fetched");
            Ok(())
        })
        .await
    }
}

fn write_record(completed: &Completed, partial: &Partial, record: &Path) -> Result<(), StoreError> {
    let json = serde_json::to_vec(completed)
        .map_err(|cause| StoreError::local("write", record, io::Error::from(cause)))?;
    partial.publish_bytes(&json, RECORD_MODE, record)
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
