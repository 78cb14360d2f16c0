//! A blob that comes over the network, for a thread that reads it.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use storm_oci_store::Digest;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{Event, Observer};
use crate::ConvertError;
use crate::source::{BlobStream, ImageSource, SourceError, SourceLayer};

/// How many pieces wait for the reader; a piece has at most 256 KiB.
const PIECES: usize = 16;

/// Reads a blob's pieces as they come. Ends with an error if the transfer does not end well.
#[derive(Debug)]
pub(super) struct Blob {
    pieces: mpsc::Receiver<Bytes>,
    current: Bytes,
    /// Whether the last piece was the last.
    whole: bool,
}

/// Reads a layer's blob on a thread of its own.
pub(super) async fn read<T: Send + 'static>(
    source: &dyn ImageSource,
    layer: &SourceLayer,
    observer: Option<Arc<dyn Observer>>,
    work: impl FnOnce(Blob) -> Result<T, ConvertError> + Send + 'static,
) -> Result<T, ConvertError> {
    let (blob, transfer) = begin(source.blob(layer).await?, layer.digest.clone(), observer);
    let ended = ConvertError::TaskEnded { operation: "convert a layer" };
    match spawn_blocking(move || work(blob)).await.map_err(|_| ended)? {
        Ok(done) => Ok(done),
        // A transfer that broke says more than that it ended early.
        Err(error) => Err(transfer.failure().await.map_or(error, ConvertError::from)),
    }
}

/// The transfer of a blob.
#[derive(Debug)]
struct Transfer(JoinHandle<Result<(), SourceError>>);

/// Begins a transfer. Dropping the reader ends it.
fn begin(
    mut stream: BlobStream,
    layer: Digest,
    observer: Option<Arc<dyn Observer>>,
) -> (Blob, Transfer) {
    let (sender, pieces) = mpsc::channel(PIECES);
    let transfer = tokio::spawn(async move {
        while let Some(piece) = stream.next().await {
            let piece = piece?;
            if piece.is_empty() {
                continue;
            }
            if let Some(observer) = &observer {
                let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                observer.told(Event::Read { layer: &layer, bytes });
            }
            if sender.send(piece).await.is_err() {
                // The reader has seen enough.
                return Ok(());
            }
        }
        // An empty piece is the end; without it the reader knows that the transfer broke.
        let _ = sender.send(Bytes::new()).await;
        Ok(())
    });
    (Blob { pieces, current: Bytes::new(), whole: false }, Transfer(transfer))
}

impl Transfer {
    /// Why it broke, if it did. The reader must be gone.
    async fn failure(self) -> Option<SourceError> {
        // A transfer panics only if the source does, and then the reader's error says enough.
        self.0.await.ok().and_then(Result::err)
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() && !self.whole {
            let piece = self.pieces.blocking_recv();
            let early = io::ErrorKind::UnexpectedEof;
            self.current =
                piece.ok_or_else(|| io::Error::new(early, "the transfer ended early"))?;
            self.whole = self.current.is_empty();
        }
        let count = self.current.len().min(buffer.len());
        if let Some(buffer) = buffer.get_mut(..count) {
            self.current.copy_to_slice(buffer);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn read_all(
        pieces: Vec<Result<Bytes, SourceError>>,
    ) -> (io::Result<Vec<u8>>, Option<SourceError>) {
        let (mut blob, transfer) = begin(stream::iter(pieces).boxed(), Digest::of(b""), None);
        let read = spawn_blocking(move || {
            let mut whole = Vec::new();
            blob.read_to_end(&mut whole).map(|_| whole)
        });
        (read.await.unwrap(), transfer.failure().await)
    }

    #[tokio::test]
    async fn a_transfer_that_breaks_is_no_end() {
        let pieces = || vec![Ok(Bytes::from_static(b"ab")), Ok(Bytes::new()), Ok("c".into())];
        let (whole, failure) = read_all(pieces()).await;
        assert_eq!(whole.unwrap(), b"abc");
        assert!(failure.is_none());

        let mut broken = pieces();
        broken.push(Err(SourceError::InvalidSettings {
            setting: "x".to_owned(),
            problem: "y".to_owned(),
        }));
        let (whole, failure) = read_all(broken).await;
        assert_eq!(whole.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(matches!(failure, Some(SourceError::InvalidSettings { .. })));
    }
}
