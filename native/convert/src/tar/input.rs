//! An archive's bytes, in blocks and in pieces.

use std::io::{self, Read};

use super::error::TarError;

/// Everything in an archive is a multiple of it long.
pub(super) const BLOCK: usize = 512;
/// How many bytes are asked for at once; large, since each asks a decoder.
const BUFFER: usize = 256 << 10;

/// Reads ahead, counts, and knows when it is too much.
pub(super) struct Input<R> {
    reader: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    offset: u64,
    limit: u64,
}

impl<R> Input<R> {
    pub(super) fn new(reader: R, limit: u64) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { reader, buffer, start: 0, end: 0, offset: 0, limit }
    }

    /// How many bytes were taken.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn get_ref(&self) -> &R {
        &self.reader
    }

    pub(super) fn get_mut(&mut self) -> &mut R {
        &mut self.reader
    }
}

impl<R: Read> Input<R> {
    /// At most `most` bytes, and at least one unless `most` is 0 or the archive is at its end.
    pub(super) fn take(&mut self, most: u64) -> Result<&[u8], TarError> {
        if self.start == self.end {
            self.fill()?;
        }
        let there = self.end - self.start;
        let length = usize::try_from(most).map_or(there, |most| most.min(there));
        let taken = self.buffer.get(self.start..self.start + length).unwrap_or_default();
        self.start += length;
        self.offset += count(length);
        if self.offset > self.limit {
            return Err(TarError::TooLong { limit: self.limit });
        }
        Ok(taken)
    }

    /// Whether what was taken is within the limit, with so many bytes that were left out of it.
    pub(super) fn check(&self, left_out: u64) -> Result<(), TarError> {
        if self.offset.saturating_add(left_out) > self.limit {
            return Err(TarError::TooLong { limit: self.limit });
        }
        Ok(())
    }

    /// As [`Input::take`], where the archive must go on.
    pub(super) fn piece(&mut self, most: u64) -> Result<&[u8], TarError> {
        let offset = self.offset;
        let piece = self.take(most)?;
        if piece.is_empty() && most > 0 {
            return Err(TarError::Truncated { offset });
        }
        Ok(piece)
    }

    /// The next block. `None` at the end of the archive.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        match self.partial_block()? {
            (_, 0) => Ok(None),
            (block, BLOCK) => Ok(Some(block)),
            _ => Err(TarError::Truncated { offset: self.offset }),
        }
    }

    /// The next block, and how much of it there is; zeros stand for the rest.
    pub(super) fn partial_block(&mut self) -> Result<([u8; BLOCK], usize), TarError> {
        let mut block = [0; BLOCK];
        let mut rest = block.as_mut_slice();
        while !rest.is_empty() {
            let taken = self.take(count(rest.len()))?;
            if taken.is_empty() {
                break;
            }
            let (filled, unfilled) = rest.split_at_mut(taken.len());
            filled.copy_from_slice(taken);
            rest = unfilled;
        }
        let missing = rest.len();
        Ok((block, BLOCK - missing))
    }

    pub(super) fn skip(&mut self, mut bytes: u64) -> Result<(), TarError> {
        while bytes > 0 {
            bytes -= count(self.piece(bytes)?.len());
        }
        Ok(())
    }

    /// The next bytes at once: for what was compared with a limit.
    pub(super) fn all(&mut self, bytes: u64) -> Result<Vec<u8>, TarError> {
        let mut all = Vec::new();
        let mut rest = bytes;
        while rest > 0 {
            let piece = self.piece(rest)?;
            all.extend_from_slice(piece);
            rest -= count(piece.len());
        }
        Ok(all)
    }

    fn fill(&mut self) -> Result<(), TarError> {
        (self.start, self.end) = (0, 0);
        loop {
            match self.reader.read(&mut self.buffer) {
                Ok(length) => {
                    self.end = length.min(self.buffer.len());
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        }
    }
}

/// A length as archives have it.
pub(super) fn count(length: usize) -> u64 {
    u64::try_from(length).expect("a usize has 64 bits or fewer")
}

/// What follows content of this size, up to the next block.
pub(super) fn padding(size: u64) -> u64 {
    let block = count(BLOCK);
    (block - size % block) % block
}
