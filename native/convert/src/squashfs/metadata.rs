//! Tables: streams cut into compressed blocks of 8 KiB.

use super::codec::Codec;
use super::output::Output;
use super::{Compression, SquashfsError};

/// Bytes of a block before compression.
pub(super) const BLOCK: usize = 8192;
/// In the two bytes before a block: it is stored as it is.
const UNCOMPRESSED: u16 = 1 << 15;

/// A place in a table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// Where the block begins in the stored table.
    pub(super) block: u32,
    /// Where it is in the block, before compression.
    pub(super) offset: u16,
}

impl Place {
    /// As inodes are referred to.
    pub(super) fn reference(self) -> u64 {
        u64::from(self.block) << 16 | u64::from(self.offset)
    }
}

/// A table that is made in memory.
pub(super) struct Table {
    name: &'static str,
    codec: Codec,
    /// What is not a whole block yet.
    block: Vec<u8>,
    packed: Vec<u8>,
    stored: Vec<u8>,
}

impl Table {
    pub(super) fn new(name: &'static str, compression: Compression) -> Result<Self, SquashfsError> {
        Ok(Self {
            name,
            codec: Codec::new(compression)?,
            block: Vec::with_capacity(BLOCK),
            packed: Vec::new(),
            stored: Vec::new(),
        })
    }

    /// Where the next byte goes.
    pub(super) fn place(&self) -> Result<Place, SquashfsError> {
        let too_long = |_| SquashfsError::TableTooLong { table: self.name, limit: u32::MAX.into() };
        Ok(Place {
            block: u32::try_from(self.stored.len()).map_err(too_long)?,
            // Less than a block.
            offset: u16::try_from(self.block.len()).unwrap_or(u16::MAX),
        })
    }

    pub(super) fn append(&mut self, mut bytes: &[u8]) -> Result<(), SquashfsError> {
        while let Some((first, rest)) = bytes.split_at_checked(BLOCK - self.block.len()) {
            self.block.extend_from_slice(first);
            self.end_block()?;
            bytes = rest;
        }
        self.block.extend_from_slice(bytes);
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), SquashfsError> {
        store(&mut self.codec, &self.block, &mut self.packed, &mut self.stored)?;
        self.block.clear();
        Ok(())
    }

    /// Writes the table. Where it begins.
    pub(super) fn finish(mut self, output: &mut Output) -> Result<u64, SquashfsError> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        let start = output.position();
        output.append(&self.stored)?;
        Ok(start)
    }
}

/// Writes a table that is found through a list of its blocks, and what goes before the list. Where
/// the latter begins.
pub(super) fn write_listed(
    compression: Compression,
    table: &[u8],
    before_list: &[u8],
    output: &mut Output,
) -> Result<u64, SquashfsError> {
    let mut codec = Codec::new(compression)?;
    let mut list = Vec::new();
    let (mut packed, mut stored) = (Vec::new(), Vec::new());
    for block in table.chunks(BLOCK) {
        list.extend_from_slice(&output.position().to_le_bytes());
        stored.clear();
        store(&mut codec, block, &mut packed, &mut stored)?;
        output.append(&stored)?;
    }
    let start = output.position();
    output.append(before_list)?;
    output.append(&list)?;
    Ok(start)
}

/// A block that is stored as it is, with what goes before it.
pub(super) fn uncompressed(block: &[u8]) -> Vec<u8> {
    [(length(block) | UNCOMPRESSED).to_le_bytes().as_slice(), block].concat()
}

fn store(
    codec: &mut Codec,
    block: &[u8],
    packed: &mut Vec<u8>,
    stored: &mut Vec<u8>,
) -> Result<(), SquashfsError> {
    if codec.compress(block, packed)? {
        stored.extend_from_slice(&length(packed).to_le_bytes());
        stored.extend_from_slice(packed);
    } else {
        stored.extend_from_slice(&uncompressed(block));
    }
    Ok(())
}

fn length(block: &[u8]) -> u16 {
    // At most 8 KiB.
    u16::try_from(block.len()).unwrap_or(u16::MAX)
}
