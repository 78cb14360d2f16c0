//! The file a layer is written to, in any order, and its digest.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::cache::batch::Batch;
use crate::cache::partial::Partial;
use crate::cache::progress::{Progress, boot_id};
use crate::cache::ranges::Ranges;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::location::Location;
use crate::remote::Stat;

/// How much of the file is read back at once to be hashed: it stays in the processor's own cache.
const READ_BACK: usize = 256 << 10;
/// How much is written before the disk starts on it. Otherwise the kernel waits for gigabytes, and
/// the last sync for the disk.
const SYNC_EVERY: u64 = 32 << 20;

/// A layer on its way. Shared by the transfers that bring its parts.
#[derive(Debug)]
pub(crate) struct Target {
    // Kept, so that nobody else starts on the name before the last writer has ended.
    partial: Arc<Partial>,
    file: File,
    location: Location,
    stat: Stat,
    boot: Option<String>,
    ranges: Mutex<Ranges>,
    hashed: Mutex<Hashed>,
    /// Bytes that are there as the saved progress tells.
    saved: AtomicU64,
    unsynced: AtomicU64,
}

/// The hash of the file's beginning.
#[derive(Debug, Default)]
struct Hashed {
    hash: Sha256,
    position: u64,
    /// For what is read back; made when it is needed.
    buffer: Vec<u8>,
}

impl Target {
    /// Opens the partial file for the object that `stat` describes, with the bytes that an earlier
    /// fetch of it brought. Reserves room for the rest: a full disk shows before a byte travels.
    pub(crate) fn open(
        partial: Arc<Partial>,
        location: Location,
        stat: Stat,
    ) -> Result<Self, StoreError> {
        let boot = boot_id().ok();
        let resumed = boot.as_ref().and_then(|boot| partial.resume(&location, &stat, boot));
        let (file, ranges) = match resumed {
            Some(resumed) => resumed,
            None => {
                let file = partial.create()?;
                match fallocate(&file, FallocateFlags::empty(), 0, stat.size) {
                    // An empty file needs no room; some file systems cannot reserve any.
                    Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {}
                    Err(error) => {
                        return Err(StoreError::local("reserve room for", partial.path(), error));
                    }
                }
                (file, Ranges::default())
            }
        };
        let covered = ranges.covered();
        if covered > 0 {
            tracing::info!(%location, bytes = covered, of = stat.size, "going on with an earlier fetch");
        }
        Ok(Self {
            partial,
            file,
            location,
            stat,
            boot,
            ranges: Mutex::new(ranges),
            hashed: Mutex::default(),
            saved: AtomicU64::new(covered),
            unsynced: AtomicU64::new(0),
        })
    }

    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    pub(crate) fn stat(&self) -> &Stat {
        &self.stat
    }

    pub(crate) fn partial(&self) -> &Partial {
        &self.partial
    }

    /// How many bytes have still to be fetched.
    pub(crate) fn lacks(&self) -> u64 {
        self.stat.size.saturating_sub(self.ranges().covered())
    }

    /// What has still to be fetched, in order and in parts of at most `segment` bytes.
    pub(crate) fn missing(&self, segment: u64) -> Vec<Range<u64>> {
        self.ranges().missing(self.stat.size, segment)
    }

    /// Writes a batch where it belongs, and hashes what then follows on the hashed beginning.
    /// Blocks.
    pub(crate) fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        batch.write_to(&self.file).map_err(|cause| self.failed("write", cause))?;
        self.ranges().insert(batch.start()..batch.end());
        // Whoever hashes already takes this batch as well; if it is just past it, the next does.
        if let Ok(mut hashed) = self.hashed.try_lock() {
            if hashed.position == batch.start() {
                for chunk in batch.chunks() {
                    hashed.hash.update(chunk);
                }
                hashed.position = batch.end();
            }
            self.hash_on(&mut hashed)?;
        }
        self.unsynced.fetch_add(batch.end() - batch.start(), Ordering::Relaxed);
        Ok(())
    }

    /// The digest of the whole file. Blocks.
    pub(crate) fn finish(&self) -> Result<Digest, StoreError> {
        let mut hashed = lock(&self.hashed);
        self.hash_on(&mut hashed)?;
        Ok(Digest::finish(std::mem::take(&mut hashed.hash)))
    }

    /// Gives the complete file its mode and its name, for good when this returns. Blocks.
    pub(crate) fn publish(&self, mode: u32, name: &Path) -> Result<Metadata, StoreError> {
        self.partial.publish(&self.file, mode, name)?;
        self.file.metadata().map_err(|cause| StoreError::local("stat", name, cause))
    }

    /// Saves which bytes are there, so that another try can go on from here. Blocks.
    pub(crate) fn save(&self) {
        let ranges = self.ranges().clone();
        let covered = ranges.covered();
        let Some(boot) = &self.boot else { return };
        // A whole file is about to be published.
        if covered == self.stat.size || self.saved.swap(covered, Ordering::Relaxed) == covered {
            return;
        }
        let saved = self.file.metadata().and_then(|metadata| {
            let progress = Progress::of(&self.location, &self.stat, boot, &metadata, ranges);
            self.partial.save(&progress)
        });
        if let Err(error) = saved {
            // Costs the next try some time, and nothing else.
            tracing::debug!(location = %self.location, "cannot save the progress of a fetch: {error}");
        }
    }

    /// Hashes from the file what is there without a gap.
    fn hash_on(&self, hashed: &mut Hashed) -> Result<(), StoreError> {
        let Hashed { hash, position, buffer } = hashed;
        loop {
            let end = self.ranges().frontier(*position);
            if end == *position {
                return Ok(());
            }
            buffer.resize(READ_BACK, 0);
            while *position < end {
                let wanted = usize::try_from(end - *position).unwrap_or(READ_BACK);
                let part = buffer.get_mut(..wanted.min(READ_BACK)).unwrap_or_default();
                self.file
                    .read_exact_at(part, *position)
                    .map_err(|cause| self.failed("read back", cause))?;
                hash.update(&*part);
                *position += u64::try_from(part.len()).unwrap_or(u64::MAX);
            }
        }
    }

    /// Lets the disk start on what was written, if enough was. Blocks until it is written; an error
    /// shows again at the last sync.
    pub(crate) fn sync_early(&self) {
        if self.unsynced.load(Ordering::Relaxed) < SYNC_EVERY {
            return;
        }
        self.unsynced.store(0, Ordering::Relaxed);
        if let Err(error) = self.file.sync_data() {
            tracing::debug!(location = %self.location, "cannot sync a part of a layer: {error}");
        }
    }

    fn ranges(&self) -> MutexGuard<'_, Ranges> {
        lock(&self.ranges)
    }

    fn failed(&self, operation: &'static str, cause: io::Error) -> StoreError {
        StoreError::local(operation, self.partial.path(), cause)
    }
}

/// What these locks guard is whole at every point where a panic could strike.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
