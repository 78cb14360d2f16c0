//! What is in a directory: names, each with a reference to an inode.

use super::metadata::{BLOCK, Place, Table};
use super::{SquashfsError, wide};

/// The longest listing: its size stands in 32 bits, three more than it has bytes.
pub(super) const LONGEST: u32 = u32::MAX - 3;
/// Names after one header.
const GROUP: usize = 256;
/// Bytes of a header, and of what goes before a name.
const HEADER: usize = 12;
const BEFORE_NAME: usize = 8;
/// Places an inode has room for in its index.
const MOST_PLACES: usize = 65_535;

/// A name in a directory.
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    /// The inode's number and place.
    pub(super) inode: u32,
    pub(super) place: Place,
    /// The number of the node's kind.
    pub(super) kind: u16,
}

/// A listing in the directory table.
pub(super) struct Listing<'a> {
    pub(super) place: Place,
    /// Bytes before compression.
    pub(super) size: u64,
    /// By which a name is found without reading all those before it. None for what is short.
    pub(super) index: Vec<IndexEntry<'a>>,
}

/// Where a header is, and the first name behind it.
pub(super) struct IndexEntry<'a> {
    /// From the beginning of the listing, before compression.
    pub(super) position: u32,
    pub(super) block: u32,
    pub(super) name: &'a [u8],
}

/// How many bytes a listing of these names cannot exceed.
pub(super) fn bound<'a>(names: impl Iterator<Item = &'a [u8]>) -> u64 {
    names.map(|name| wide(HEADER + BEFORE_NAME + name.len())).sum()
}

/// Writes a listing. The entries are sorted by name, and less than [`LONGEST`] of them by
/// [`bound`].
pub(super) fn write<'a>(
    entries: &[Entry<'a>],
    table: &mut Table,
) -> Result<Listing<'a>, SquashfsError> {
    let place = table.place()?;
    let mut listing = Listing { place, size: 0, index: Vec::new() };
    let mut block = place.block;
    let mut left = entries;
    while let Some(first) = left.first() {
        let header = table.place()?;
        if header.block != block && listing.index.len() < MOST_PLACES {
            block = header.block;
            let position = u32::try_from(listing.size).unwrap_or(u32::MAX);
            listing.index.push(IndexEntry { position, block, name: first.name });
        }
        let (group, rest) = left.split_at(group_length(left, first, header.offset));
        let encoded = encode(group, first);
        table.append(&encoded)?;
        listing.size += wide(encoded.len());
        left = rest;
    }
    if listing.size <= wide(BLOCK) {
        listing.index.clear();
    }
    Ok(listing)
}

/// How many of the entries share a header: those with inodes in the same block of the table and
/// numbers close to the first one's. A header that begins in a new block can be found through the
/// index, so a group ends with the block it is in.
fn group_length(entries: &[Entry<'_>], first: &Entry<'_>, offset: u16) -> usize {
    let mut end = usize::from(offset) + HEADER;
    for (count, entry) in entries.iter().enumerate() {
        let fits = count < GROUP
            && end < BLOCK
            && entry.place.block == first.place.block
            && difference(entry.inode, first.inode).is_some();
        // The first belongs to its own header in any case.
        if count > 0 && !fits {
            return count;
        }
        end += BEFORE_NAME + entry.name.len();
    }
    entries.len()
}

fn difference(inode: u32, base: u32) -> Option<i16> {
    i16::try_from(i64::from(inode) - i64::from(base)).ok()
}

fn encode(group: &[Entry<'_>], first: &Entry<'_>) -> Vec<u8> {
    let less_one = |length: usize| length.saturating_sub(1);
    let count = u32::try_from(less_one(group.len())).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER + group.len() * 24);
    for part in [count, first.place.block, first.inode] {
        bytes.extend_from_slice(&part.to_le_bytes());
    }
    for entry in group {
        let length = u16::try_from(less_one(entry.name.len())).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&entry.place.offset.to_le_bytes());
        bytes.extend_from_slice(&difference(entry.inode, first.inode).unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&entry.kind.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(entry.name);
    }
    bytes
}
