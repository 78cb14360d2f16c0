//! What contents are pushed into.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::sync::mpsc::Receiver;

use sha2::{Digest, Sha256};

use super::codec::{self, Codec};
use super::contents::{Block, Contents, Tail, are_zeros};
use super::metadata;
use super::output::Output;
use super::pool::Pool;
use super::superblock::Superblock;
use super::{SquashfsError, SquashfsOptions, tables, wide};
use crate::tree::{ContentId, Tree};

/// Bytes of the longest file: what Linux' documentation promises.
const LONGEST: u64 = 2 << 40;
/// Blocks that wait for a thread, are worked on, or wait to be written, for each thread.
const IN_FLIGHT: usize = 4;

/// A finished squashfs file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SquashfsFile {
    /// Bytes of the file.
    pub size: u64,
    /// The digest of all of it.
    pub sha256: [u8; 32],
}

/// Writes one squashfs file: contents first, one after another, then the tree that they are in.
///
/// After an error the file is of no use, and every further call fails.
pub struct SquashfsWriter {
    options: SquashfsOptions,
    pool: Pool<Block, Result<Block, SquashfsError>>,
    /// In the order in which it goes to the file.
    pending: VecDeque<Pending>,
    /// How many of those are with the pool.
    in_flight: usize,
    spare: Vec<Block>,
    contents: Contents,
    /// The size of the open content so far.
    open: Option<u64>,
    /// Of the open content, what is not a whole block yet.
    block: Block,
    /// Tails that are not a whole block yet.
    fragment: Block,
    fragments: u32,
    tails: HashMap<[u8; 32], Tail>,
    ended: u32,
    /// No call has failed.
    sound: bool,
}

enum Pending {
    Block(Receiver<Result<Block, SquashfsError>>),
    Zeros(u32),
    End { size: u64, tail: Option<Tail> },
    Fragment(Receiver<Result<Block, SquashfsError>>),
}

impl std::fmt::Debug for SquashfsWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SquashfsWriter")
            .field("options", &self.options)
            .field("ended", &self.ended)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl SquashfsWriter {
    /// Begins a file. It must be empty, and open for reading and for writing.
    ///
    /// # Errors
    ///
    /// [`SquashfsError`] when the options contradict the format, the file cannot be written, or the
    /// system gives no threads.
    pub fn create(file: File, options: SquashfsOptions) -> Result<Self, SquashfsError> {
        options.check()?;
        let compression = options.compression;
        let mut output = Output::new(file, Superblock::LENGTH);
        let described = codec::options(compression);
        if !described.is_empty() {
            output.append(&metadata::uncompressed(&described))?;
        }
        let pool = Pool::start(options.threads, || {
            let mut codec = Codec::new(compression)?;
            Ok(move |mut block: Block| block.pack(&mut codec).map(|()| block))
        })?;
        Ok(Self {
            pool,
            pending: VecDeque::new(),
            in_flight: 0,
            spare: Vec::new(),
            contents: Contents::new(output, options.block_size),
            open: None,
            block: Block::default(),
            fragment: Block::default(),
            fragments: 0,
            tails: HashMap::new(),
            ended: 0,
            sound: true,
            options,
        })
    }

    /// Begins the content of a regular file.
    ///
    /// # Errors
    ///
    /// [`SquashfsError::Order`] within another content.
    pub fn begin_content(&mut self) -> Result<(), SquashfsError> {
        if !self.sound || self.open.is_some() {
            return Err(SquashfsError::Order { call: "begin a content" });
        }
        self.open = Some(0);
        Ok(())
    }

    /// Takes the next bytes of the content.
    ///
    /// # Errors
    ///
    /// [`SquashfsError`] when the file cannot be written or becomes too long, or when no content
    /// was begun.
    pub fn write(&mut self, data: &[u8]) -> Result<(), SquashfsError> {
        self.lengthen(wide(data.len()), "write to a content")?;
        self.guarded(|writer| {
            let mut left = data;
            while let Some((first, rest)) = left.split_at_checked(writer.room()) {
                writer.block.raw().extend_from_slice(first);
                writer.end_block()?;
                left = rest;
            }
            writer.block.raw().extend_from_slice(left);
            Ok(())
        })
    }

    /// Takes zeros as the next bytes of the content. They take neither memory nor, as far as they
    /// make whole blocks, any of the file.
    ///
    /// # Errors
    ///
    /// As [`SquashfsWriter::write`].
    pub fn write_hole(&mut self, length: u64) -> Result<(), SquashfsError> {
        self.lengthen(length, "write to a content")?;
        self.guarded(|writer| {
            let room = writer.room();
            let first = usize::try_from(length).unwrap_or(usize::MAX);
            let mut left = length;
            if !writer.block.raw().is_empty() {
                let first = first.min(room);
                writer.fill(first)?;
                left -= wide(first);
            }
            let size = u64::from(writer.options.block_size);
            // A file's length is limited, and with it the number of its blocks.
            let whole = u32::try_from(left / size).unwrap_or(u32::MAX);
            if whole > 0 {
                writer.pending.push_back(Pending::Zeros(whole));
            }
            writer.fill(usize::try_from(left % size).unwrap_or(0))
        })
    }

    /// Ends the content.
    ///
    /// # Errors
    ///
    /// As [`SquashfsWriter::write`].
    pub fn end_content(&mut self) -> Result<ContentId, SquashfsError> {
        let Some(size) = self.open.take().filter(|_| self.sound) else {
            return Err(SquashfsError::Order { call: "end a content" });
        };
        let id = ContentId(self.ended);
        self.guarded(|writer| {
            writer.ended = writer
                .ended
                .checked_add(1)
                .ok_or(SquashfsError::TableTooLong { table: "inode", limit: u32::MAX.into() })?;
            let mut full = None;
            let mut tail = None;
            if are_zeros(writer.block.raw()) {
                if !writer.block.raw().is_empty() {
                    writer.pending.push_back(Pending::Zeros(1));
                    writer.block.raw().clear();
                }
            } else {
                (tail, full) = writer.keep_tail();
            }
            writer.pending.push_back(Pending::End { size, tail });
            writer.settle_known()?;
            // Behind the content: the blocks of one are side by side.
            full.map_or(Ok(()), |full| writer.submit(full, Pending::Fragment))
        })?;
        Ok(id)
    }

    /// Writes the tables of a tree with these contents, and ends the file. Contents that no node
    /// has stay in the file, where nothing leads to them. The file is not synced.
    ///
    /// # Errors
    ///
    /// [`SquashfsError`] when the file cannot be written, or squashfs cannot hold the tree.
    pub fn finish(mut self, tree: &Tree) -> Result<SquashfsFile, SquashfsError> {
        if !self.sound || self.open.is_some() {
            return Err(SquashfsError::Order { call: "finish the file" });
        }
        if !self.fragment.raw().is_empty() {
            let last = std::mem::take(&mut self.fragment);
            self.submit(last, Pending::Fragment)?;
        }
        while !self.pending.is_empty() {
            self.settle_first()?;
        }
        let Self { options, contents, pool, .. } = self;
        drop(pool);
        let (contents, fragments, mut output) = contents.finish();
        let superblock = tables::write(tree, &contents, &fragments, &options, &mut output)?;
        /// Loop devices have blocks of this size at most.
        const UNIT: u64 = 4096;
        let size = output.end(UNIT)?;
        output.write_at(&superblock.encode(), 0)?;
        Ok(SquashfsFile { size, sha256: output.digest(size)? })
    }

    /// A call that fails must be the last.
    fn guarded<T>(
        &mut self,
        call: impl FnOnce(&mut Self) -> Result<T, SquashfsError>,
    ) -> Result<T, SquashfsError> {
        let result = call(self);
        self.sound = result.is_ok();
        result
    }

    fn lengthen(&mut self, by: u64, call: &'static str) -> Result<(), SquashfsError> {
        let Some(size) = self.open.as_mut().filter(|_| self.sound) else {
            return Err(SquashfsError::Order { call });
        };
        match size.checked_add(by).filter(|size| *size <= LONGEST) {
            Some(longer) => *size = longer,
            None => {
                self.sound = false;
                return Err(SquashfsError::FileTooLong { limit: LONGEST });
            }
        }
        Ok(())
    }

    fn block_size(&self) -> usize {
        usize::try_from(self.options.block_size).unwrap_or(usize::MAX)
    }

    /// How much the block can still take: never nothing.
    fn room(&mut self) -> usize {
        self.block_size() - self.block.raw().len()
    }

    /// Puts zeros into the block, no more than there is room for.
    fn fill(&mut self, zeros: usize) -> Result<(), SquashfsError> {
        let length = self.block.raw().len() + zeros;
        self.block.raw().resize(length, 0);
        if length == self.block_size() { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<(), SquashfsError> {
        let next = self.spare();
        let full = std::mem::replace(&mut self.block, next);
        self.submit(full, Pending::Block)
    }

    /// A block to be filled.
    fn spare(&mut self) -> Block {
        let mut block = self.spare.pop().unwrap_or_default();
        block.raw().clear();
        block
    }

    /// Puts what the open block holds with the other tails, unless it is there. Also returns the
    /// fragment block that was full before that.
    fn keep_tail(&mut self) -> (Option<Tail>, Option<Block>) {
        let digest = Sha256::digest(self.block.raw().as_slice()).into();
        if let Some(known) = self.tails.get(&digest) {
            self.block.raw().clear();
            return (Some(*known), None);
        }
        let mut full = None;
        if self.fragment.raw().len() + self.block.raw().len() > self.block_size() {
            let next = self.spare();
            full = Some(std::mem::replace(&mut self.fragment, next));
            self.fragments += 1;
        }
        let offset = u32::try_from(self.fragment.raw().len()).unwrap_or(u32::MAX);
        let tail = Tail { fragment: self.fragments, offset };
        self.fragment.raw().append(self.block.raw());
        self.tails.insert(digest, tail);
        (Some(tail), full)
    }

    fn submit(
        &mut self,
        block: Block,
        pending: impl FnOnce(Receiver<Result<Block, SquashfsError>>) -> Pending,
    ) -> Result<(), SquashfsError> {
        while self.in_flight >= IN_FLIGHT * self.options.threads.get() {
            self.settle_first()?;
        }
        let result = self.pool.submit(block)?;
        self.pending.push_back(pending(result));
        self.in_flight += 1;
        Ok(())
    }

    /// Writes what needs no waiting, so that small files do not pile up.
    fn settle_known(&mut self) -> Result<(), SquashfsError> {
        while let Some(Pending::Zeros(_) | Pending::End { .. }) = self.pending.front() {
            self.settle_first()?;
        }
        Ok(())
    }

    /// Writes what comes next, and waits for it if need be.
    fn settle_first(&mut self) -> Result<(), SquashfsError> {
        let wait = |result: &Receiver<_>| result.recv().map_err(|_| SquashfsError::Panicked)?;
        let block = match self.pending.pop_front() {
            None => return Ok(()),
            Some(Pending::Zeros(count)) => {
                self.contents.zeros(count);
                return Ok(());
            }
            Some(Pending::End { size, tail }) => {
                self.contents.end(size, tail);
                return Ok(());
            }
            Some(Pending::Block(result)) => {
                let block = wait(&result)?;
                self.contents.block(&block)?;
                block
            }
            Some(Pending::Fragment(result)) => {
                let block = wait(&result)?;
                self.contents.fragment(&block)?;
                block
            }
        };
        self.in_flight -= 1;
        self.spare.push(block);
        Ok(())
    }
}
