//! Reading and writing whole small files through descriptors that were checked before.

use rustix::fd::AsFd;
use rustix::io::{Errno, read, retry_on_intr, write};

/// Reads to the end of `file`; `None` when there are more than `limit` bytes.
pub(crate) fn read_at_most(file: impl AsFd, limit: usize) -> Result<Option<Vec<u8>>, Errno> {
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        let count = retry_on_intr(|| read(&file, &mut buffer))?;
        let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else {
            return Ok(Some(bytes));
        };
        bytes.extend_from_slice(piece);
        if bytes.len() > limit {
            return Ok(None);
        }
    }
}

/// Writes all of `bytes`.
pub(crate) fn write_all(file: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match retry_on_intr(|| write(&file, bytes))? {
            0 => return Err(Errno::IO),
            count => bytes = bytes.get(count..).unwrap_or_default(),
        }
    }
    Ok(())
}
