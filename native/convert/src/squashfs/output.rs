//! The file, from its beginning to its end.

use std::fs::File;
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use super::{SquashfsError, wide};

/// A file and where it is written next.
pub(super) struct Output {
    file: File,
    position: u64,
}

impl Output {
    pub(super) fn new(file: File, position: u64) -> Self {
        Self { file, position }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), SquashfsError> {
        self.write_at(bytes, self.position)?;
        self.position += wide(bytes.len());
        Ok(())
    }

    pub(super) fn write_at(&self, bytes: &[u8], position: u64) -> Result<(), SquashfsError> {
        let written = self.file.write_all_at(bytes, position);
        written.map_err(|source| SquashfsError::Write { source })
    }

    /// Goes back; what was written from there on is written over.
    pub(super) fn take_back(&mut self, position: u64) {
        self.position = position;
    }

    /// Ends the file here, after zeros up to a multiple of `unit`. Its size.
    pub(super) fn end(&self, unit: u64) -> Result<u64, SquashfsError> {
        let size = self.position.next_multiple_of(unit);
        // To here first: what was taken back may lie beyond.
        let cut = self.file.set_len(self.position).and_then(|()| self.file.set_len(size));
        cut.map_err(|source| SquashfsError::Write { source })?;
        Ok(size)
    }

    /// The SHA-256 of the whole file. Its beginning is written last, so this is a read of its own.
    pub(super) fn digest(&self, size: u64) -> Result<[u8; 32], SquashfsError> {
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        let mut position = 0;
        while position < size {
            let left = usize::try_from(size - position).unwrap_or(usize::MAX);
            let part = buffer.len().min(left);
            let part = buffer.get_mut(..part).unwrap_or_default();
            let read = self.file.read_exact_at(part, position);
            read.map_err(|source| SquashfsError::Read { source })?;
            digest.update(&*part);
            position += wide(part.len());
        }
        Ok(digest.finalize().into())
    }
}
