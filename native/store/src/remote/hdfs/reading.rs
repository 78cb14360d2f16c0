//! The bytes of a file in HDFS.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use hdfs_native::HdfsError;
use hdfs_native::file::FileReader;
use tokio::time::timeout;

use super::failure::{Problem, of_datanode};
use super::session::{Link, Request, Session, panicked};
use super::version;
use crate::error::StoreError;
use crate::location::Location;
use crate::remote::Stat;

/// How much is asked of a datanode at once. The client reads all of it ahead, however slow its
/// caller is, up to 6.4 MB: this bounds what it holds.
const WINDOW: u64 = 4 << 20;

/// A range of a file, from a reader of its own: a reader never forgets a datanode that failed
/// once, nor asks anew where the blocks are.
pub(super) async fn pieces(
    session: Arc<Session>,
    object: Location,
    stat: Stat,
    range: Range<u64>,
) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
    let path = object.path().to_owned();
    let ((reader, status), link) = session
        .call("read", &object, Request::Ask, move |client| {
            let path = path.clone();
            Box::pin(async move {
                // In this order: the blocks are those of a file that is still the same afterwards.
                let reader = client.read(&path).await?;
                Ok((reader, client.get_file_info(&path).await?))
            })
        })
        .await?;
    let length = u64::try_from(reader.file_length()).ok();
    let same = length == Some(stat.size) && Some(version(&status)) == stat.version;
    // The client panics when asked for what is beyond the end.
    if !same || range.end > stat.size {
        return Err(StoreError::Changed { location: object });
    }
    let reading = Reading { session, link, object, reader, left: range, window: None };
    let pieces = stream::try_unfold(reading, |mut reading| async move {
        Ok(reading.next().await?.map(|piece| (piece, reading)))
    });
    Ok(pieces.boxed())
}

struct Reading {
    session: Arc<Session>,
    link: Arc<Link>,
    object: Location,
    reader: FileReader,
    /// What no window was asked for yet.
    left: Range<u64>,
    window: Option<BoxStream<'static, Result<Bytes, HdfsError>>>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let limit = self.session.patience();
        loop {
            let Some(window) = &mut self.window else {
                if self.left.is_empty() {
                    return Ok(None);
                }
                self.window = Some(self.next_window()?);
                continue;
            };
            let piece = timeout(limit, AssertUnwindSafe(window.next()).catch_unwind()).await;
            let problem = match piece {
                Ok(Ok(Some(Ok(piece)))) => return Ok(Some(piece)),
                Ok(Ok(None)) => {
                    self.window = None;
                    continue;
                }
                Ok(Ok(Some(Err(error)))) => of_datanode(&error, &self.link.cluster),
                Ok(Err(_)) => panicked(),
                Err(_) => {
                    let seconds = limit.as_secs_f32();
                    Problem::unreachable(format!("no byte from a datanode in {seconds} s"))
                }
            };
            return Err(problem.at("read", &self.object));
        }
    }

    fn next_window(&mut self) -> Result<BoxStream<'static, Result<Bytes, HdfsError>>, StoreError> {
        let start = self.left.start;
        let end = start.saturating_add(WINDOW).min(self.left.end);
        self.left.start = end;
        match (usize::try_from(start), usize::try_from(end - start)) {
            (Ok(start), Ok(length)) => Ok(self.reader.read_range_stream(start, length).boxed()),
            _ => Err(panicked().at("read", &self.object)),
        }
    }
}
