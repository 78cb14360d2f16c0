//! The tag map: lines of `tag[,tag]:digest[#comment]`.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::reference::Reference;

/// A parsed tag map file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct TagMap {
    digests: BTreeMap<Reference, Digest>,
    /// What could not be used, in the order of the file.
    pub(crate) malformed: Vec<MalformedLine>,
    /// Whether there is anything in the file, be it a comment.
    has_content: bool,
}

/// A line of which at least one tag could not be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct MalformedLine {
    /// Counted from 1.
    pub(crate) number: usize,
    pub(crate) problem: &'static str,
}

impl TagMap {
    /// Reads a tag map. A malformed line costs its own tags only.
    ///
    /// Blank lines and comments are skipped; blanks around tags and digests are not part of them.
    /// A tag that occurs twice means its last digest. Bytes that are not UTF-8 make their line
    /// malformed. So does an end of the file within an entry: a digest that lacks digits is none.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut map = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            if let Err(problem) = map.add(line) {
                map.malformed.push(MalformedLine { number, problem });
            }
            map.has_content |= !line.trim().is_empty();
        }
        map
    }

    fn add(&mut self, line: &str) -> Result<(), &'static str> {
        let entry = line.split_once('#').map_or(line, |(entry, _)| entry).trim();
        if entry.is_empty() {
            return Ok(());
        }
        // Tags have colons of their own; digests have none.
        let (tags, hex) = entry.rsplit_once(':').ok_or("it has no `:` before the digest")?;
        let digest = Digest::parse_hex(hex.trim())
            .map_err(|_| "the digest is not 64 lower-case hex digits")?;
        let (mut used, mut refused) = (0_usize, 0_usize);
        for tag in tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            match Reference::parse(tag) {
                Ok(tag) if tag.digest().is_some() => refused += 1,
                Ok(tag) => {
                    self.digests.insert(tag, digest.clone());
                    used += 1;
                }
                Err(_) => refused += 1,
            }
        }
        match (used, refused) {
            (0, 0) => Err("it has no tag"),
            (_, 0) => Ok(()),
            _ => Err("it has a malformed tag"),
        }
    }

    /// This map after the file changed to what `update` was read from, and how many of its tags
    /// are only kept.
    ///
    /// A whole update takes this map's place. One with malformed lines, or with nothing in it, may
    /// be torn: its tags count at once, and those it does not name are kept as they were.
    pub(crate) fn updated(&self, mut update: Self) -> (Self, usize) {
        if update.malformed.is_empty() && update.has_content {
            return (update, 0);
        }
        let read = update.len();
        for (tag, digest) in &self.digests {
            update.digests.entry(tag.clone()).or_insert_with(|| digest.clone());
        }
        let kept = update.len().saturating_sub(read);
        (update, kept)
    }

    /// All tags, in order.
    pub(crate) fn tags(&self) -> impl Iterator<Item = &Reference> {
        self.digests.keys()
    }

    pub(crate) fn digest(&self, tag: &Reference) -> Option<&Digest> {
        self.digests.get(tag)
    }

    /// How many tags it has.
    pub(crate) fn len(&self) -> usize {
        self.digests.len()
    }
}

// The path for `fuzz/`, which includes this file from elsewhere.
#[cfg(test)]
#[path = "tag_map/tests.rs"]
mod tests;
