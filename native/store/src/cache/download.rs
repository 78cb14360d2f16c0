//! From a remote store into a file, hashed on the way.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::cache::blocking;
use crate::cache::partial::Partial;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::location::Location;
use crate::remote::{RemoteStore, Stat};

/// How much is asked for at once. Large enough to hide a round trip, small enough that a
/// supervisor fetching many layers at once stays small.
const CHUNK: u64 = 4 << 20;
/// The chunks that wait for the disk. Together with the one being read and the one being written
/// a fetch holds at most four.
const QUEUE: usize = 2;

/// A file as it came, not yet compared with anything.
pub(crate) struct Received {
    pub(crate) file: File,
    pub(crate) digest: Digest,
}

/// Reads the object into a new partial file. Reading goes on while earlier bytes are hashed and
/// written.
pub(crate) async fn download(
    store: &dyn RemoteStore,
    object: &Location,
    stat: &Stat,
    partial: &Arc<Partial>,
) -> Result<Received, StoreError> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    // The writer keeps `partial`, so that nobody else starts on the name before it has ended.
    let (size, held) = (stat.size, Arc::clone(partial));
    let writer = blocking("write a layer", move || write(&held, size, receiver));
    let writer = tokio::spawn(writer);

    let read = read_all(store, object, stat, sender).await;
    let written = writer.await.unwrap_or(Err(StoreError::TaskEnded { operation: "write a layer" }));
    // A writer that failed is why the reader could not go on.
    let received = written?;
    read?;
    Ok(received)
}

async fn read_all(
    store: &dyn RemoteStore,
    object: &Location,
    stat: &Stat,
    sender: mpsc::Sender<Bytes>,
) -> Result<(), StoreError> {
    let mut position = 0;
    while position < stat.size {
        let end = position.saturating_add(CHUNK).min(stat.size);
        let bytes = store.read(object, stat, position..end).await?;
        if sender.send(bytes).await.is_err() {
            break;
        }
        position = end;
    }
    Ok(())
}

fn write(
    partial: &Partial,
    size: u64,
    mut receiver: mpsc::Receiver<Bytes>,
) -> Result<Received, StoreError> {
    let failed = |operation, cause| StoreError::local(operation, partial.path(), cause);
    let mut file = partial.create()?;
    // A full disk shows before the first byte travels.
    match fallocate(&file, FallocateFlags::KEEP_SIZE, 0, size) {
        // An empty file needs no room; some file systems cannot reserve any.
        Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(error) => return Err(failed("reserve room for", error.into())),
    }
    let mut hash = Sha256::new();
    while let Some(bytes) = receiver.blocking_recv() {
        hash.update(&bytes);
        file.write_all(&bytes).map_err(|cause| failed("write", cause))?;
    }
    Ok(Received { file, digest: Digest::finish(hash) })
}
