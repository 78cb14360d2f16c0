//! Reads local files as sources have them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::BlobStream;
use super::error::{Part, SourceError};

/// Few enough for the memory of all blobs that are read at once, enough for the disk.
const CHUNK: usize = 256 << 10;
const CHUNKS_AHEAD: usize = 4;

/// Runs what may block where that hurts nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that ends drops its tasks.
            Err(error) => Err(local(Path::new("the source"), io::Error::other(error))),
        },
    }
}

pub(super) fn local(path: &Path, cause: io::Error) -> SourceError {
    SourceError::Local { path: path.to_owned(), cause }
}

/// Opens a regular file. Anything else could block for ever, or have no end.
pub(super) fn open(path: &Path) -> Result<(File, u64), SourceError> {
    let metadata = path.metadata().map_err(|cause| local(path, cause))?;
    if !metadata.is_file() {
        let problem = "it is not a regular file".to_owned();
        return Err(SourceError::InvalidFile { path: path.to_owned(), problem });
    }
    let file = File::open(path).map_err(|cause| local(path, cause))?;
    Ok((file, metadata.len()))
}

/// A whole document.
pub(super) fn document(path: &Path, part: &'static str, limit: u64) -> Result<Bytes, SourceError> {
    let (file, found) = open(path)?;
    let over = |found| SourceError::OverLimit {
        name: path.display().to_string(),
        what: part,
        found,
        limit,
        option: "",
    };
    if found > limit {
        return Err(over(found));
    }
    let mut bytes = Vec::new();
    let mut reader = file.take(limit.saturating_add(1));
    reader.read_to_end(&mut bytes).map_err(|cause| local(path, cause))?;
    let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if found > limit { Err(over(found)) } else { Ok(bytes.into()) }
}

/// What documents are too large by, for messages.
pub(super) const fn size_of(part: Part) -> &'static str {
    match part {
        Part::Config => "the size of the image config in bytes",
        Part::Manifest | Part::Index | Part::Layer => "the size of the manifest in bytes",
    }
}

/// The bytes of a part of a file, as they are read.
pub(super) fn stream(path: PathBuf, mut file: File, offset: u64, length: u64) -> BlobStream {
    stream_of(path, move || {
        file.seek(SeekFrom::Start(offset))?;
        Ok(file.take(length))
    })
}

/// The bytes of what `open` gives, read on a thread of their own: a file may be slow, and a
/// compressed one takes time.
pub(super) fn stream_of<R: Read>(
    path: PathBuf,
    open: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> BlobStream {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        let read = || -> io::Result<()> {
            let mut reader = open()?;
            loop {
                let mut chunk = Vec::with_capacity(CHUNK);
                let limit = u64::try_from(CHUNK).unwrap_or(u64::MAX);
                reader.by_ref().take(limit).read_to_end(&mut chunk)?;
                // Nobody wants the rest when the receiver is gone.
                if chunk.is_empty() || sender.blocking_send(Ok(chunk.into())).is_err() {
                    return Ok(());
                }
            }
        };
        if let Err(cause) = read() {
            // As above.
            let _ = sender.blocking_send(Err(local(&path, cause)));
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    })
    .boxed()
}
