//! What the streams of all stores have in common.

use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt, TryStreamExt};

use crate::error::StoreError;
use crate::location::Location;

/// The most that a stream yields at once, in bytes. Large enough to hide the cost of a piece,
/// small enough that many transfers at once stay small.
pub const CHUNK: usize = 512 << 10;

/// A range of an object in chunks, from the stream of pieces that `open` makes: exactly its bytes,
/// or an error at the end. Nothing is opened for an empty range.
///
/// A source that ends early or goes on for longer has another object than was described.
pub(super) fn exactly<S>(
    range: &Range<u64>,
    object: Location,
    open: impl Future<Output = Result<S, StoreError>> + Send + 'static,
) -> BoxStream<'static, Result<Bytes, StoreError>>
where
    S: Stream<Item = Result<Bytes, StoreError>> + Send + 'static,
{
    let length = range.end.saturating_sub(range.start);
    if length == 0 {
        return stream::empty().boxed();
    }
    let state = (stream::once(open).try_flatten().boxed(), Bytes::new(), length);
    stream::try_unfold(state, move |(mut pieces, mut piece, left)| {
        let object = object.clone();
        async move {
            if left == 0 {
                return Ok(None);
            }
            while piece.is_empty() {
                piece = match pieces.try_next().await? {
                    Some(next) => next,
                    None => return Err(StoreError::Changed { location: object }),
                };
            }
            let chunk = piece.split_to(piece.len().min(CHUNK));
            let left = u64::try_from(chunk.len())
                .ok()
                .and_then(|yielded| left.checked_sub(yielded))
                .ok_or(StoreError::Changed { location: object })?;
            Ok(Some((chunk, (pieces, piece, left))))
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use std::future;

    use super::*;

    async fn collected(length: u64, pieces: &[usize]) -> Result<Vec<usize>, StoreError> {
        let pieces: Vec<_> = pieces.iter().map(|size| Ok(Bytes::from(vec![7; *size]))).collect();
        let object = Location::parse("/srv/x").unwrap();
        let open = future::ready(Ok(stream::iter(pieces)));
        let chunks = exactly(&(3..3 + length), object, open);
        chunks.map_ok(|chunk| chunk.len()).try_collect().await
    }

    #[tokio::test]
    async fn a_stream_has_the_length_it_promised_in_chunks() {
        assert_eq!(collected(6, &[1, 0, 5]).await.unwrap(), [1, 5]);
        let large = u64::try_from(CHUNK + 3).unwrap();
        assert_eq!(collected(large, &[CHUNK + 3]).await.unwrap(), [CHUNK, 3]);
        assert_eq!(collected(0, &[9]).await.unwrap(), [0; 0]);
        for pieces in [&[1, 4][..], &[7], &[1, 6], &[]] {
            let error = collected(6, pieces).await.unwrap_err();
            assert!(matches!(error, StoreError::Changed { .. }), "{pieces:?}: {error}");
        }
    }
}
