//! Where contents are in the file, and which of them are the same.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sha2::{Digest, Sha256};

use super::codec::Codec;
use super::output::Output;
use super::{SquashfsError, wide};

/// In the size of a stored block: it is not compressed.
const UNCOMPRESSED: u32 = 1 << 24;
/// In an element of [`Content::blocks`]: the rest counts blocks of zeros. No size is so large.
pub(super) const ZEROS: u32 = 1 << 31;

/// A block, compressed if that made it smaller. Its buffers serve again.
#[derive(Default)]
pub(super) struct Block {
    raw: Vec<u8>,
    packed: Vec<u8>,
    form: Form,
    /// Of what is stored: that is the smaller, and says as much.
    digest: [u8; 32],
}

#[derive(Default)]
enum Form {
    #[default]
    Zeros,
    Raw,
    Packed,
}

impl Block {
    /// Where the block's bytes are put.
    pub(super) fn raw(&mut self) -> &mut Vec<u8> {
        &mut self.raw
    }

    pub(super) fn pack(&mut self, codec: &mut Codec) -> Result<(), SquashfsError> {
        if are_zeros(&self.raw) {
            self.form = Form::Zeros;
            return Ok(());
        }
        let smaller = codec.compress(&self.raw, &mut self.packed)?;
        self.form = if smaller { Form::Packed } else { Form::Raw };
        self.digest = Sha256::digest(self.stored()).into();
        Ok(())
    }

    fn stored(&self) -> &[u8] {
        match self.form {
            Form::Zeros => &[],
            Form::Raw => &self.raw,
            Form::Packed => &self.packed,
        }
    }

    /// The size as it stands in the tables.
    fn size(&self) -> u32 {
        let length = u32::try_from(self.stored().len()).unwrap_or(0);
        if matches!(self.form, Form::Raw) { length | UNCOMPRESSED } else { length }
    }
}

pub(super) fn are_zeros(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| ZEROS.starts_with(chunk))
}

/// The end of a file that is no whole block: a part of a fragment block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Tail {
    pub(super) fragment: u32,
    pub(super) offset: u32,
}

/// What a file's inode tells of its content.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) size: u64,
    /// Where the first block is in the file.
    pub(super) start: u64,
    /// Sizes of the stored blocks, and runs of [`ZEROS`].
    pub(super) blocks: Box<[u32]>,
    /// How many bytes of zeros are not stored.
    pub(super) sparse: u64,
    pub(super) tail: Option<Tail>,
}

/// A fragment block in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment {
    pub(super) start: u64,
    pub(super) size: u32,
}

/// Takes blocks in the order in which they came, and writes them.
pub(super) struct Contents {
    output: Output,
    block_size: u32,
    contents: Vec<Content>,
    fragments: Vec<Fragment>,
    /// Where the blocks of contents are, by a digest of them all.
    known: HashMap<[u8; 32], u64>,
    /// Of the content that is being written.
    start: u64,
    blocks: Vec<u32>,
    digest: Sha256,
}

impl Contents {
    pub(super) fn new(output: Output, block_size: u32) -> Self {
        Self {
            start: output.position(),
            output,
            block_size,
            contents: Vec::new(),
            fragments: Vec::new(),
            known: HashMap::new(),
            blocks: Vec::new(),
            digest: Sha256::new(),
        }
    }

    /// The next block of the content.
    pub(super) fn block(&mut self, block: &Block) -> Result<(), SquashfsError> {
        if matches!(block.form, Form::Zeros) {
            self.zeros(1);
            return Ok(());
        }
        self.output.append(block.stored())?;
        self.digest.update(block.digest);
        self.blocks.push(block.size());
        Ok(())
    }

    /// The next blocks of the content have nothing but zeros.
    pub(super) fn zeros(&mut self, count: u32) {
        match self.blocks.last_mut() {
            // A file has fewer blocks than would reach the mark.
            Some(last) if *last & ZEROS != 0 => *last += count,
            _ => self.blocks.push(ZEROS | count),
        }
    }

    /// Ends the content. If its blocks are in the file already, these are taken back.
    pub(super) fn end(&mut self, size: u64, tail: Option<Tail>) {
        let blocks: Box<[u32]> = self.blocks.drain(..).collect();
        let zeros: u64 = blocks.iter().map(|block| u64::from(zeros_in(*block))).sum();
        let mut sparse = zeros * u64::from(self.block_size);
        if blocks.last().is_some_and(|last| zeros_in(*last) > 0) && tail.is_none() {
            // The last block may be a part of one.
            sparse -= size.next_multiple_of(self.block_size.into()) - size;
        }
        let mut digest = std::mem::take(&mut self.digest);
        blocks.iter().for_each(|block| digest.update(block.to_le_bytes()));
        // So no digest of a block can be taken for sizes.
        digest.update(wide(blocks.len()).to_le_bytes());
        let written = self.output.position() > self.start;
        let start = match self.known.entry(digest.finalize().into()) {
            _ if !written => 0,
            Entry::Occupied(known) => {
                self.output.take_back(self.start);
                *known.get()
            }
            Entry::Vacant(unknown) => *unknown.insert(self.start),
        };
        self.contents.push(Content { size, start, blocks, sparse, tail });
        self.start = self.output.position();
    }

    /// The next fragment block, between two contents.
    pub(super) fn fragment(&mut self, block: &Block) -> Result<(), SquashfsError> {
        let fragment = Fragment { start: self.output.position(), size: block.size() };
        self.output.append(block.stored())?;
        self.fragments.push(fragment);
        self.start = self.output.position();
        Ok(())
    }

    /// All contents, all fragments, and the file, which goes on behind them.
    pub(super) fn finish(self) -> (Vec<Content>, Vec<Fragment>, Output) {
        (self.contents, self.fragments, self.output)
    }
}

/// How many blocks of zeros an element of [`Content::blocks`] stands for.
pub(super) fn zeros_in(block: u32) -> u32 {
    if block & ZEROS == 0 { 0 } else { block & !ZEROS }
}
