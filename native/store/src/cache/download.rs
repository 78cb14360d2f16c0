//! From a remote store into a file: its parts side by side.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tracing::Instrument as _;

use crate::cache::batch::Batch;
use crate::cache::blocking::{blocking, spawn};
use crate::cache::localization::Localization;
use crate::cache::retry::{Retries, within};
use crate::cache::target::Target;
use crate::cache::transfers::{Transfer, Transfers};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::remote::RemoteStore;

/// What one transfer brings, unless it breaks off. A divisor of HDFS's block sizes, so that a
/// transfer stays within a block.
pub(crate) const SEGMENT: u64 = 64 << 20;
/// What is written at once. While it is hashed and written, a transfer gathers the next one, so
/// that it holds two of them, each longer by at most a piece of the store's.
const BATCH: u64 = 512 << 10;
/// How often the disk is set to work and the progress saved.
const UPKEEP: Duration = Duration::from_millis(100);

/// One object on its way into one file.
#[derive(Debug)]
pub(crate) struct Download {
    pub(crate) store: Arc<dyn RemoteStore>,
    pub(crate) target: Arc<Target>,
    pub(crate) transfers: Transfers,
    /// The most that one transfer brings.
    pub(crate) segment: u64,
    /// How long a store may send nothing.
    pub(crate) request_timeout: Duration,
    pub(crate) localization: Arc<Localization>,
}

impl Download {
    /// Brings what the file lacks; the digest of the whole file, not yet compared with anything.
    ///
    /// If it fails, or its future is dropped, what came is kept for another try.
    pub(crate) async fn run(self) -> Result<Digest, StoreError> {
        let (stop, stopped) = oneshot::channel();
        let upkeep = tokio::spawn(upkeep(Arc::clone(&self.target), stopped).in_current_span());
        let target = Arc::clone(&self.target);
        let outcome = Arc::new(self).receive().await;
        drop(stop);
        let digest = match outcome {
            Ok(()) => blocking("hash a layer", move || target.finish()).await,
            Err(error) => Err(error),
        };
        // It writes beside the partial file, which comes to its end now.
        upkeep.await.map_err(|_| StoreError::TaskEnded { operation: "save a fetch's progress" })?;
        digest
    }

    /// Runs a transfer for each missing part, as many at once as there are turns.
    async fn receive(self: Arc<Self>) -> Result<(), StoreError> {
        let mut missing = self.target.missing(self.segment).into_iter();
        let mut next = missing.next();
        let mut running = JoinSet::new();
        let mut turn = Box::pin(self.transfers.begin());
        while next.is_some() || !running.is_empty() {
            tokio::select! {
                Some(ended) = running.join_next() => {
                    ended.unwrap_or(Err(StoreError::TaskEnded { operation: "fetch a layer" }))?;
                }
                transfer = &mut turn, if next.is_some() => {
                    if let Some(range) = next.take() {
                        let fetch = Arc::clone(&self).fetch(range, transfer);
                        running.spawn(fetch.in_current_span());
                    }
                    next = missing.next();
                    turn.set(self.transfers.begin());
                }
            }
        }
        Ok(())
    }

    /// Brings one part, with as many transfers as it takes.
    async fn fetch(
        self: Arc<Self>,
        range: Range<u64>,
        transfer: Transfer,
    ) -> Result<(), StoreError> {
        let mut position = range.start;
        let mut retries = Retries::default();
        let mut transfer = Some(transfer);
        while position < range.end {
            let turn = match transfer.take() {
                Some(turn) => turn,
                None => self.transfers.begin().await,
            };
            let begin = position;
            let outcome = self.fetch_once(&mut position, range.end).await;
            // Nobody else waits while this one pauses.
            drop(turn);
            if position > begin {
                retries.progressed();
            }
            if let Err(error) = outcome {
                retries.pause(error).await?;
            }
        }
        Ok(())
    }

    /// One transfer from `position` on, which tells how far it came. It reads on while earlier
    /// bytes are hashed and written.
    async fn fetch_once(&self, position: &mut u64, end: u64) -> Result<(), StoreError> {
        let location = self.target.location();
        let mut chunks = self.store.stream(location, self.target.stat(), *position..end);
        let mut batch = Batch::at(*position);
        let mut writing = None;
        let outcome = loop {
            match within(self.request_timeout, "read", location, chunks.try_next()).await {
                Ok(Some(chunk)) => batch.push(chunk),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
            // Up to a multiple, so that no page of the page cache is written in two steps.
            let full = (batch.start() / BATCH).saturating_add(1).saturating_mul(BATCH);
            if let Some(full) = batch.split_to(full) {
                self.written(&mut writing, position).await?;
                writing = Some(self.write(full));
            }
        };
        self.written(&mut writing, position).await?;
        // What came before the failure need not come again.
        writing = Some(self.write(batch));
        self.written(&mut writing, position).await?;
        if outcome.is_ok() && *position != end {
            return Err(StoreError::Changed { location: location.clone() });
        }
        outcome
    }

    fn write(&self, batch: Batch) -> Writing {
        let target = Arc::clone(&self.target);
        spawn(move || target.write(&batch).map(|()| batch.end()))
    }

    /// Waits for a write to end, and tells how far it came.
    async fn written(
        &self,
        writing: &mut Option<Writing>,
        position: &mut u64,
    ) -> Result<(), StoreError> {
        let Some(writing) = writing.take() else { return Ok(()) };
        let end =
            writing.await.unwrap_or(Err(StoreError::TaskEnded { operation: "write a layer" }))?;
        self.localization.received(end.saturating_sub(*position));
        *position = end;
        Ok(())
    }
}

/// A batch on its way to the file; ends with the position after it.
type Writing = JoinHandle<Result<u64, StoreError>>;

/// Keeps the disk at work and the progress saved until `stopped`, and saves it once more.
async fn upkeep(target: Arc<Target>, mut stopped: oneshot::Receiver<Infallible>) {
    let mut is_over = false;
    while !is_over {
        is_over = tokio::time::timeout(UPKEEP, &mut stopped).await.is_ok();
        let target = Arc::clone(&target);
        let kept = blocking("save a fetch's progress", move || {
            target.save();
            if !is_over {
                target.sync_early();
            }
            Ok(())
        });
        if let Err(error) = kept.await {
            tracing::debug!("{error}");
        }
    }
}
