//! Reading a file of this host: the library does it in small pieces, each on another thread.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use object_store::Error;

use super::super::transfer::CHUNK;
use super::failure;
use crate::cache::blocking;
use crate::error::StoreError;
use crate::location::Location;

/// A range of an open file in chunks.
pub(super) fn pieces(
    file: File,
    range: Range<u64>,
    object: Location,
) -> impl Stream<Item = Result<Bytes, StoreError>> {
    stream::try_unfold((file, range), move |(file, range)| {
        let object = object.clone();
        blocking("read a file", move || {
            let length = range.end.saturating_sub(range.start);
            let length = usize::try_from(length).map_or(CHUNK, |length| length.min(CHUNK));
            let mut chunk = vec![0; length];
            let found = read_at(&file, &mut chunk, range.start).map_err(|cause| {
                let source = Box::new(cause);
                failure::of_directory("read", &object, Error::Generic { store: "file", source })
            })?;
            chunk.truncate(found);
            let next = range.start.saturating_add(u64::try_from(found).unwrap_or(u64::MAX));
            Ok((found > 0).then(|| (Bytes::from(chunk), (file, next..range.end))))
        })
    })
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], start: u64) -> io::Result<usize> {
    let (mut found, mut position) = (0, start);
    while let Some(rest) = buffer.get_mut(found..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, position) {
            Ok(0) => break,
            Ok(read) => {
                found += read;
                position = position.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
