//! Digests and sizes of what passes by.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};
use storm_oci_store::{Content, Digest};

/// Reads on, and notes what came.
pub(super) struct Measured<R> {
    reader: R,
    hash: Sha256,
    size: u64,
    limit: u64,
    /// The reader failed, rather than what reads from here.
    pub(super) has_failed: bool,
}

impl<R> Measured<R> {
    /// Stops with an error beyond `limit` bytes.
    pub(super) fn new(reader: R, limit: u64) -> Self {
        Self { reader, hash: Sha256::new(), size: 0, limit, has_failed: false }
    }

    /// What came until now.
    pub(super) fn content(&self) -> Content {
        Content { sha256: Digest::finish(self.hash.clone()), size: self.size }
    }

    pub(super) fn is_too_long(&self) -> bool {
        self.size > self.limit
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn get_ref(&self) -> &R {
        &self.reader
    }

    pub(super) fn get_mut(&mut self) -> &mut R {
        &mut self.reader
    }
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_too_long() {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let length = match self.reader.read(buffer) {
            Ok(length) => length,
            Err(error) => {
                self.has_failed |= error.kind() != io::ErrorKind::Interrupted;
                return Err(error);
            }
        };
        self.hash.update(buffer.get(..length).unwrap_or_default());
        self.size += u64::try_from(length).unwrap_or_default();
        if self.is_too_long() {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        Ok(length)
    }
}
