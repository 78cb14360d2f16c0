//! One record for each node: the short form where it does, or the extended one.

use super::contents::{Content, ZEROS, zeros_in};
use super::directory::Listing;
use super::metadata::{Place, Table};
use super::{SquashfsError, Unstorable, xattrs};
use crate::tree::Device;

/// Kinds of nodes, as directories and inodes have them.
pub(super) const DIRECTORY: u16 = 1;
pub(super) const FILE: u16 = 2;
pub(super) const SYMLINK: u16 = 3;
pub(super) const BLOCK_DEVICE: u16 = 4;
pub(super) const CHARACTER_DEVICE: u16 = 5;
pub(super) const FIFO: u16 = 6;
pub(super) const SOCKET: u16 = 7;
/// From a kind to its extended form.
const EXTENDED: u16 = 7;

/// The file has no tail.
const NO_FRAGMENT: u32 = u32::MAX;
/// Linux follows no longer symbolic link.
const LONGEST_TARGET: usize = 4095;
/// A listing counts `.` and `..` as this many bytes.
const DOTS: u64 = 3;

/// What every inode begins with.
pub(super) struct Common {
    pub(super) mode: u16,
    pub(super) uid: u16,
    pub(super) gid: u16,
    pub(super) mtime: u32,
    pub(super) number: u32,
    /// How many names it has; of a directory, how many directories are in it, and two.
    pub(super) links: u32,
    /// The number of its set of attributes.
    pub(super) xattrs: u32,
}

/// An inode being put together.
struct Record(Vec<u8>);

impl Record {
    fn begin(kind: u16, common: &Common) -> Self {
        Self(Vec::with_capacity(64))
            .u16(kind)
            .u16(common.mode & 0o7777)
            .u16(common.uid)
            .u16(common.gid)
            .u32(common.mtime)
            .u32(common.number)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn write(&self, table: &mut Table) -> Result<Place, SquashfsError> {
        let place = table.place()?;
        table.append(&self.0)?;
        Ok(place)
    }
}

impl Common {
    fn has_xattrs(&self) -> bool {
        self.xattrs != xattrs::NONE
    }

    /// A file, whose fragment has this number in the table.
    pub(super) fn file(
        &self,
        content: &Content,
        fragment: Option<u32>,
        table: &mut Table,
    ) -> Result<Place, SquashfsError> {
        let tail = (fragment.unwrap_or(NO_FRAGMENT), content.tail.map_or(0, |tail| tail.offset));
        let short = (u32::try_from(content.start), u32::try_from(content.size));
        let plain = self.links == 1 && content.sparse == 0 && !self.has_xattrs();
        let record = match short {
            (Ok(start), Ok(size)) if plain => {
                Record::begin(FILE, self).u32(start).u32(tail.0).u32(tail.1).u32(size)
            }
            _ => Record::begin(FILE + EXTENDED, self)
                .u64(content.start)
                .u64(content.size)
                .u64(content.sparse)
                .u32(self.links)
                .u32(tail.0)
                .u32(tail.1)
                .u32(self.xattrs),
        };
        let place = record.write(table)?;
        for block in &content.blocks {
            match *block {
                size if size & ZEROS == 0 => table.append(&size.to_le_bytes())?,
                zeros => {
                    for _ in 0..zeros_in(zeros) {
                        table.append(&[0; 4])?;
                    }
                }
            }
        }
        Ok(place)
    }

    /// A directory in the directory with that number.
    pub(super) fn directory(
        &self,
        listing: &Listing<'_>,
        parent: u32,
        table: &mut Table,
    ) -> Result<Place, SquashfsError> {
        let Place { block, offset } = listing.place;
        let size = listing.size + DOTS;
        let index = u16::try_from(listing.index.len()).unwrap_or(u16::MAX);
        if let (Ok(size), 0, false) = (u16::try_from(size), index, self.has_xattrs()) {
            return Record::begin(DIRECTORY, self)
                .u32(block)
                .u32(self.links)
                .u16(size)
                .u16(offset)
                .u32(parent)
                .write(table);
        }
        let mut record = Record::begin(DIRECTORY + EXTENDED, self)
            .u32(self.links)
            // The names were measured before.
            .u32(u32::try_from(size).unwrap_or(u32::MAX))
            .u32(block)
            .u32(parent)
            .u16(index)
            .u16(offset)
            .u32(self.xattrs);
        for entry in &listing.index {
            let length = u32::try_from(entry.name.len().saturating_sub(1)).unwrap_or(u32::MAX);
            record = record.u32(entry.position).u32(entry.block).u32(length).bytes(entry.name);
        }
        record.write(table)
    }

    /// A symbolic link.
    pub(super) fn symlink(&self, target: &[u8], table: &mut Table) -> Result<Place, SquashfsError> {
        let length = u32::try_from(target.len()).unwrap_or(u32::MAX);
        let kind = self.kind(SYMLINK);
        let record = Record::begin(kind, self).u32(self.links).u32(length).bytes(target);
        self.with_xattrs(record).write(table)
    }

    /// A device.
    pub(super) fn device(
        &self,
        kind: u16,
        Device { major, minor }: Device,
        table: &mut Table,
    ) -> Result<Place, SquashfsError> {
        let number = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
        let record = Record::begin(self.kind(kind), self).u32(self.links).u32(number);
        self.with_xattrs(record).write(table)
    }

    /// A named pipe or a socket.
    pub(super) fn special(&self, kind: u16, table: &mut Table) -> Result<Place, SquashfsError> {
        let record = Record::begin(self.kind(kind), self).u32(self.links);
        self.with_xattrs(record).write(table)
    }

    fn kind(&self, kind: u16) -> u16 {
        if self.has_xattrs() { kind + EXTENDED } else { kind }
    }

    fn with_xattrs(&self, record: Record) -> Record {
        if self.has_xattrs() { record.u32(self.xattrs) } else { record }
    }
}

/// Whether Linux follows a link to there.
pub(super) fn check_target(target: &[u8]) -> Result<(), Unstorable> {
    if target.is_empty() || target.len() > LONGEST_TARGET {
        let (length, limit) = (target.len(), LONGEST_TARGET);
        return Err(Unstorable::SymlinkLength { length, limit });
    }
    Ok(())
}

/// Whether a device can have this number: 12 bits and 20.
pub(super) fn check_device(Device { major, minor }: Device) -> Result<(), Unstorable> {
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(Unstorable::Device { major, minor });
    }
    Ok(())
}
