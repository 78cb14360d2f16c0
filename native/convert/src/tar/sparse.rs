//! Maps of sparse files: which parts of a file the archive has. The rest is zeros.
//!
//! # References
//!
//! GNU tar's manual, "Storing Sparse Files": the old GNU format, and PAX versions 0.0, 0.1 and 1.0.

use super::header::{Field, Header};
use super::number;
use super::pax::Records;

/// Bytes that the archive has, and where they are in the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// How a regular file is stored.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Sparseness {
    /// All of it.
    Whole,
    /// By a map in the PAX header, of versions 0.0 and 0.1.
    Mapped { size: u64, map: Vec<Extent> },
    /// By a map in front of the data, of version 1.0.
    MapFollows { size: u64 },
    /// By a map in the header, and in the blocks after it if there are more.
    InHeader { size: u64, map: Vec<Extent>, goes_on: bool },
}

/// How the file of a PAX archive is stored.
///
/// # Errors
///
/// What is wrong.
pub(super) fn of_records(records: &Records) -> Result<Sparseness, &'static str> {
    let known = |keyword| records.value(keyword).filter(|value| !value.is_empty());
    let number = |keyword| known(keyword).and_then(number::decimal);
    let version = (known("GNU.sparse.major"), known("GNU.sparse.minor"));
    let (first, second) = match version {
        (Some(b"1"), Some(b"0")) => {
            let size = number("GNU.sparse.realsize").ok_or("its size is missing or no number")?;
            return Ok(Sparseness::MapFollows { size });
        }
        (None, None) | (Some(b"0"), Some(b"0" | b"1")) => {
            if let Some(map) = known("GNU.sparse.map") {
                (map.split(|byte| *byte == b',').map(<[u8]>::to_vec).collect::<Vec<_>>(), None)
            } else if known("GNU.sparse.numblocks").is_some() {
                let of = |keyword: &[u8]| -> Vec<Vec<u8>> {
                    let all = records.iter().filter(|(key, _)| *key == keyword);
                    all.map(|(_, value)| value.to_vec()).collect()
                };
                (of(b"GNU.sparse.offset"), Some(of(b"GNU.sparse.numbytes")))
            } else {
                return Ok(Sparseness::Whole);
            }
        }
        _ => return Err("the version of its map is not supported"),
    };
    let size = number("GNU.sparse.size").ok_or("its size is missing or no number")?;
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = match second {
        Some(lengths) if lengths.len() == first.len() => first.into_iter().zip(lengths).collect(),
        None if first.len() % 2 == 0 => {
            let (pairs, _) = first.as_chunks::<2>();
            pairs.iter().cloned().map(|[offset, length]| (offset, length)).collect()
        }
        _ => return Err("its map has an offset without a length"),
    };
    let map = pairs.iter().map(|(offset, length)| extent_of(offset, length)).collect::<Option<_>>();
    Ok(Sparseness::Mapped { size, map: map.ok_or("its map has something that is no number")? })
}

/// How the file of an old GNU archive is stored.
///
/// # Errors
///
/// What is wrong.
pub(super) fn of_header(header: &Header) -> Result<Sparseness, &'static str> {
    let size = header.number_as(Field::RealSize).map_err(|_| "its size is no number")?;
    let mut map = Vec::new();
    add_extents(header.bytes(386..482), &mut map)?;
    let goes_on = header.bytes(482..483) != [0];
    Ok(Sparseness::InHeader { size, map, goes_on })
}

/// Adds what a block after an old GNU header has. Whether another one follows.
///
/// # Errors
///
/// What is wrong.
pub(super) fn add_block(block: &[u8], map: &mut Vec<Extent>) -> Result<bool, &'static str> {
    add_extents(block.get(..504).unwrap_or_default(), map)?;
    Ok(block.get(504).is_some_and(|goes_on| *goes_on != 0))
}

fn add_extents(fields: &[u8], map: &mut Vec<Extent>) -> Result<(), &'static str> {
    for pair in fields.as_chunks::<24>().0 {
        let (offset, length) = pair.split_at(12);
        // The first unused one ends the map.
        if offset.iter().all(|byte| *byte == 0) {
            break;
        }
        let number = |field| number::field(field).and_then(|number| u64::try_from(number).ok());
        let (Some(offset), Some(length)) = (number(offset), number(length)) else {
            return Err("its map has something that is no number");
        };
        map.push(Extent { offset, length });
    }
    Ok(())
}

/// Reads the map in front of the data of version 1.0 line by line.
#[derive(Debug, Default)]
pub(super) struct MapReader {
    line: Vec<u8>,
    expected: Option<u64>,
    offset: Option<u64>,
    map: Vec<Extent>,
}

impl MapReader {
    /// Takes a block of it. The map once it is whole; the rest of that block is padding.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub(super) fn add(&mut self, block: &[u8]) -> Result<Option<Vec<Extent>>, &'static str> {
        for byte in block {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let number = number::decimal(&self.line);
            let number = number.ok_or("its map has something that is no number")?;
            self.line.clear();
            match (self.expected, self.offset.take()) {
                (None, _) => self.expected = Some(number),
                (Some(_), None) => self.offset = Some(number),
                (Some(_), Some(offset)) => self.map.push(Extent { offset, length: number }),
            }
            let have = u64::try_from(self.map.len()).ok();
            if self.offset.is_none() && self.expected == have {
                return Ok(Some(std::mem::take(&mut self.map)));
            }
        }
        Ok(None)
    }
}

/// Whether the extents are in order, within the file, and as long together as what is stored.
///
/// # Errors
///
/// What is wrong.
pub(super) fn check(map: &[Extent], size: u64, stored: u64) -> Result<(), &'static str> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for extent in map {
        if extent.offset < end {
            return Err("its map is not in order");
        }
        end = extent.offset.checked_add(extent.length).ok_or("its map is out of range")?;
        sum = sum.checked_add(extent.length).ok_or("its map is out of range")?;
    }
    if end > size {
        return Err("its map goes beyond its size");
    }
    if sum != stored {
        return Err("its map and the data stored differ in length");
    }
    Ok(())
}

fn extent_of(offset: &[u8], length: &[u8]) -> Option<Extent> {
    Some(Extent { offset: number::decimal(offset)?, length: number::decimal(length)? })
}
