//! Bytes on their way into a file.

use std::fs::File;
use std::io::{self, IoSlice};

use bytes::Bytes;

/// What one system call writes, up to a multiple of it: the page cache takes that as one page.
/// Less of it, or across a multiple, costs nearly twice the time in the kernel; for larger pages
/// the kernel first moves memory together where little is free.
const WRITE: u64 = 64 << 10;

/// Bytes in a row of the object, as they came.
#[derive(Debug)]
pub(crate) struct Batch {
    start: u64,
    length: u64,
    chunks: Vec<Bytes>,
}

impl Batch {
    /// None yet, from `start` on.
    pub(crate) fn at(start: u64) -> Self {
        Self { start, length: 0, chunks: Vec::new() }
    }

    pub(crate) fn push(&mut self, chunk: Bytes) {
        self.length = self.length.saturating_add(length(&chunk));
        self.chunks.push(chunk);
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }

    pub(crate) fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// Cuts off what is before `position`, if it reaches that far.
    pub(crate) fn split_to(&mut self, position: u64) -> Option<Self> {
        if self.end() < position {
            return None;
        }
        let mut first = Self::at(self.start);
        let mut rest = Self::at(position);
        for mut chunk in self.chunks.drain(..) {
            let room = usize::try_from(position.saturating_sub(first.end())).unwrap_or(usize::MAX);
            let part = chunk.split_to(chunk.len().min(room));
            for (batch, part) in [(&mut first, part), (&mut rest, chunk)] {
                if !part.is_empty() {
                    batch.push(part);
                }
            }
        }
        *self = rest;
        Some(first)
    }

    /// Writes it where it belongs. Blocks.
    pub(crate) fn write_to(&self, file: &File) -> io::Result<()> {
        let mut position = self.start;
        let mut chunks = self.chunks.iter();
        let mut rest: &[u8] = &[];
        while position < self.end() {
            let mut room = WRITE - position % WRITE;
            let mut slices = Vec::new();
            let next = position.saturating_add(room).min(self.end());
            while room > 0 {
                if rest.is_empty() {
                    let Some(chunk) = chunks.next() else { break };
                    rest = chunk;
                }
                let wanted = usize::try_from(room).unwrap_or(usize::MAX);
                let (part, after) = rest.split_at(rest.len().min(wanted));
                slices.push(IoSlice::new(part));
                rest = after;
                room = room.saturating_sub(length(part));
            }
            write_all_at(file, &mut slices, position)?;
            position = next;
        }
        Ok(())
    }
}

fn write_all_at(file: &File, mut slices: &mut [IoSlice<'_>], mut position: u64) -> io::Result<()> {
    while slices.iter().any(|slice| !slice.is_empty()) {
        let written = match rustix::io::pwritev(file, slices, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        IoSlice::advance_slices(&mut slices, written);
        position = position.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
    }
    Ok(())
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_byte_gets_to_its_place(
            start in 0..3 * WRITE,
            sizes in prop::collection::vec(0..100_000_usize, 0..8),
            cut in 0..8 * WRITE,
        ) {
            let total: usize = sizes.iter().sum();
            let bytes: Bytes = (0..total).map(|index| (index % 251).to_le_bytes()[0]).collect();
            let mut batch = Batch::at(start);
            let mut left = bytes.clone();
            for size in sizes {
                batch.push(left.split_to(size));
            }
            let position = start + cut;
            let reaches = position <= batch.end();
            let file = tempfile::NamedTempFile::new().unwrap();
            match batch.split_to(position) {
                Some(first) => {
                    prop_assert!(reaches);
                    prop_assert_eq!((first.start(), first.end()), (start, position));
                    prop_assert_eq!(batch.start(), position);
                    first.write_to(file.as_file()).unwrap();
                }
                None => prop_assert!(!reaches),
            }
            batch.write_to(file.as_file()).unwrap();
            let written = fs::read(file.path()).unwrap();
            let gap = usize::try_from(start).unwrap();
            prop_assert!(written.get(gap..).unwrap_or_default() == bytes);
        }
    }
}
