//! Owners and groups, which inodes name by their place in one table.

use std::collections::HashMap;

use super::Unstorable;

/// The superblock counts them in 16 bits.
const MOST: usize = 65_535;

/// The numbers of owners and groups.
#[derive(Default)]
pub(super) struct Ids {
    known: HashMap<u32, u16>,
    ids: Vec<u32>,
}

impl Ids {
    /// The place of a number in the table.
    pub(super) fn index(&mut self, id: u32) -> Result<u16, Unstorable> {
        if let Some(known) = self.known.get(&id) {
            return Ok(*known);
        }
        let index = u16::try_from(self.ids.len()).ok().filter(|index| usize::from(*index) < MOST);
        let index = index.ok_or(Unstorable::TooManyIds { limit: MOST })?;
        self.known.insert(id, index);
        self.ids.push(id);
        Ok(index)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u16 {
        u16::try_from(self.ids.len()).unwrap_or(u16::MAX)
    }

    /// The table.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.ids.iter().flat_map(|id| id.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_ends_where_its_count_does() {
        let mut ids = Ids::default();
        for id in 0..65_535 {
            assert_eq!(ids.index(id), Ok(u16::try_from(id).unwrap()));
        }
        assert_eq!(ids.index(7), Ok(7));
        assert_eq!(ids.index(65_535), Err(Unstorable::TooManyIds { limit: 65_535 }));
        assert_eq!(ids.count(), 65_535);
        assert_eq!(ids.encode().len(), 65_535 * 4);
    }
}
