//! Extended attributes: sets of names and values, each stored once however many inodes have it.

use std::collections::HashMap;

use super::metadata::{self, Table};
use super::output::Output;
use super::superblock::ABSENT;
use super::{Compression, SquashfsError, Unstorable};
use crate::tree::Xattr;

/// The inode has none.
pub(super) const NONE: u32 = u32::MAX;

/// In the type of a name: a reference to the value stands in the value's place.
const ELSEWHERE: u16 = 0x100;
/// Shorter values are repeated: a reference has 12 bytes and takes one more read.
const REPEATED: usize = 128;
/// What Linux' calls take.
const LONGEST_NAME: usize = 255;
const LONGEST_VALUE: usize = 65_536;

/// The prefixes that squashfs has, by their number.
const PREFIXES: [(u16, &[u8]); 3] = [(0, b"user."), (1, b"trusted."), (2, b"security.")];

/// All attributes of a tree.
pub(super) struct Xattrs<'a> {
    compression: Compression,
    pairs: Table,
    sets: HashMap<&'a [Xattr], u32>,
    /// Long values, and where they are.
    values: HashMap<&'a [u8], u64>,
    list: Vec<u8>,
}

impl<'a> Xattrs<'a> {
    pub(super) fn new(compression: Compression) -> Result<Self, SquashfsError> {
        Ok(Self {
            compression,
            pairs: Table::new("attribute", compression)?,
            sets: HashMap::new(),
            values: HashMap::new(),
            list: Vec::new(),
        })
    }

    /// What an inode with these attributes has to name.
    pub(super) fn index(
        &mut self,
        set: &'a [Xattr],
    ) -> Result<Result<u32, Unstorable>, SquashfsError> {
        if set.is_empty() {
            return Ok(Ok(NONE));
        }
        if let Some(known) = self.sets.get(set) {
            return Ok(Ok(*known));
        }
        if let Err(unstorable) = set.iter().try_for_each(|xattr| check(xattr).map(drop)) {
            return Ok(Err(unstorable));
        }
        // There are no more sets than nodes, nor more attributes in one than memory has bytes.
        let index = u32::try_from(self.sets.len()).unwrap_or(NONE);
        let count = u32::try_from(set.len()).unwrap_or(u32::MAX);
        let reference = self.pairs.place()?.reference();
        let mut size = 0;
        for xattr in set {
            size += self.append(xattr)?;
        }
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.list.extend_from_slice(&reference.to_le_bytes());
        self.list.extend_from_slice(&count.to_le_bytes());
        self.list.extend_from_slice(&size.to_le_bytes());
        self.sets.insert(set, index);
        Ok(Ok(index))
    }

    /// Stores a name and a value. How many bytes they take.
    fn append(&mut self, xattr: &'a Xattr) -> Result<usize, SquashfsError> {
        let Ok((prefix, name)) = check(xattr) else { return Ok(0) };
        let value: &[u8] = &xattr.value;
        let known = self.values.get(value).copied();
        let kind = if known.is_some() { prefix | ELSEWHERE } else { prefix };
        let key = [&kind.to_le_bytes(), &u16_length(name).to_le_bytes(), name].concat();
        self.pairs.append(&key)?;
        let stored = match known {
            Some(place) => with_length(&place.to_le_bytes()),
            None => {
                if value.len() > REPEATED {
                    self.values.insert(value, self.pairs.place()?.reference());
                }
                with_length(value)
            }
        };
        self.pairs.append(&stored)?;
        Ok(key.len() + stored.len())
    }

    /// Writes the table, if there is one. Where it begins.
    pub(super) fn finish(self, output: &mut Output) -> Result<u64, SquashfsError> {
        if self.sets.is_empty() {
            return Ok(ABSENT);
        }
        let pairs = self.pairs.finish(output)?;
        let sets = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        let head = [pairs.to_le_bytes().as_slice(), &sets.to_le_bytes(), &[0; 4]].concat();
        metadata::write_listed(self.compression, &self.list, &head, output)
    }
}

/// The number of the name's prefix, and the rest of the name.
fn check(xattr: &Xattr) -> Result<(u16, &[u8]), Unstorable> {
    let text = || String::from_utf8_lossy(&xattr.name).into_owned();
    if xattr.value.len() > LONGEST_VALUE {
        return Err(Unstorable::XattrTooLong { name: text(), limit: LONGEST_VALUE });
    }
    PREFIXES
        .iter()
        .find_map(|(number, prefix)| Some((*number, xattr.name.strip_prefix(*prefix)?)))
        .filter(|(_, name)| !name.is_empty() && !name.contains(&0))
        .filter(|_| xattr.name.len() <= LONGEST_NAME)
        .ok_or_else(|| Unstorable::XattrName { name: text() })
}

fn u16_length(name: &[u8]) -> u16 {
    u16::try_from(name.len()).unwrap_or(u16::MAX)
}

fn with_length(value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes(), value].concat()
}
