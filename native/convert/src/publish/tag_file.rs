//! The text of a tag map, edited so that what is not understood stays as it is.

use std::collections::BTreeSet;
use std::fmt;

use storm_oci_store::{Digest, Reference};

/// What a tag map without an entry says: readers take an empty file for a torn one.
pub(super) const HEADER: &str = "# tag[,tag...]:<sha256 of the manifest>[#comment]\n";

/// The lines of a tag map, `tag[,tag…]:<digest>[#comment]`.
///
/// Displayed, it is the file: a line that was not touched is the same to the byte.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TagFile {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Line {
    /// As it was read, with its end; `None` once it was changed.
    text: Option<String>,
    entry: Option<Entry>,
    problem: Option<&'static str>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Entry {
    /// As written: those that are no tags stay in their line.
    tags: Vec<String>,
    digest: Digest,
    comments: Vec<String>,
}

/// A line that readers skip, or of which they skip a part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MalformedLine {
    /// Counted from 1.
    pub number: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl TagFile {
    /// Reads a tag map.
    ///
    /// # Errors
    ///
    /// What is wrong with it as a whole: a line that is not understood is kept instead.
    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text")?;
        if text.contains('\0') {
            return Err("it has NUL bytes, which no text has");
        }
        Ok(Self { lines: text.split_inclusive('\n').map(Line::parse).collect() })
    }

    /// The lines that readers cannot use.
    #[must_use]
    pub fn malformed(&self) -> Vec<MalformedLine> {
        let numbered = (1..).zip(&self.lines);
        numbered
            .filter_map(|(number, line)| Some(MalformedLine { number, problem: line.problem? }))
            .collect()
    }

    /// The digest that readers find for a tag: that of its last line.
    #[must_use]
    pub fn digest(&self, tag: &Reference) -> Option<&Digest> {
        self.entries().filter(|entry| entry.has(tag)).last().map(|entry| &entry.digest)
    }

    /// The tags that lead to a manifest, in order.
    #[must_use]
    pub fn tags(&self, digest: &Digest) -> Vec<Reference> {
        let entries = self.entries().filter(|entry| entry.digest == *digest);
        let tags: BTreeSet<_> = entries
            .flat_map(|entry| &entry.tags)
            .filter_map(|tag| usable(tag))
            .filter(|tag| self.digest(tag) == Some(digest))
            .collect();
        tags.into_iter().collect()
    }

    /// All tags, in order.
    #[must_use]
    pub fn all_tags(&self) -> Vec<Reference> {
        let tags: BTreeSet<_> =
            self.entries().flat_map(|entry| &entry.tags).filter_map(|tag| usable(tag)).collect();
        tags.into_iter().collect()
    }

    /// The comments of a manifest's lines, each once.
    #[must_use]
    pub fn comments(&self, digest: &Digest) -> Vec<String> {
        let entries = self.entries().filter(|entry| entry.digest == *digest);
        unique(entries.flat_map(|entry| entry.comments.clone()))
    }

    /// Every digest that a line names outside its comment, also where the line is malformed.
    #[must_use]
    pub fn digests(&self) -> BTreeSet<Digest> {
        let mut digests: BTreeSet<_> = self.entries().map(|entry| entry.digest.clone()).collect();
        for text in self.lines.iter().filter_map(|line| line.text.as_deref()) {
            let before = text.split('#').next().unwrap_or_default();
            digests.extend(hex_digests(before.as_bytes()));
        }
        digests
    }

    /// Lets tags mean this manifest, and takes them from where they were. A comment that its line
    /// has already is not added again.
    pub fn set(&mut self, tags: &[Reference], digest: &Digest, comment: Option<&str>) {
        let comment = comment.map(sanitized).filter(|comment| !comment.is_empty());
        let target = self.lines.iter().rposition(|line| line.is_of(digest));
        for (index, line) in self.lines.iter_mut().enumerate() {
            if Some(index) != target {
                tags.iter().for_each(|tag| line.drop_tag(tag));
            }
        }
        match target.and_then(|index| self.lines.get_mut(index)) {
            Some(line) => line.add(tags, comment),
            None => {
                self.end_last_line();
                let mut tags: Vec<_> = tags.iter().map(|tag| tag.as_str().to_owned()).collect();
                tags = unique(tags);
                let comments = comment.into_iter().collect();
                let entry = Some(Entry { tags, digest: digest.clone(), comments });
                self.lines.push(Line { text: None, entry, problem: None });
            }
        }
        self.lines.retain(|line| !line.is_empty_entry());
    }

    /// Takes a tag away, and its line with the last one of it.
    ///
    /// Returns what it meant.
    pub fn remove_tag(&mut self, tag: &Reference) -> Option<Digest> {
        let digest = self.digest(tag).cloned()?;
        self.lines.iter_mut().for_each(|line| line.drop_tag(tag));
        self.lines.retain(|line| !line.is_empty_entry());
        Some(digest)
    }

    /// Takes all lines of a manifest away.
    pub fn remove_digest(&mut self, digest: &Digest) {
        self.lines.retain(|line| !line.is_of(digest));
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.lines.iter().filter_map(|line| line.entry.as_ref())
    }

    /// A line after one that has no end would be a part of it.
    fn end_last_line(&mut self) {
        if let Some(text) = self.lines.last_mut().and_then(|line| line.text.as_mut())
            && !text.ends_with('\n')
        {
            text.push('\n');
        }
    }
}

impl fmt::Display for TagFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self
            .lines
            .iter()
            .all(|line| line.text.as_deref().is_some_and(|text| text.trim().is_empty()))
        {
            formatter.write_str(HEADER)?;
        }
        self.lines.iter().try_for_each(|line| line.fmt(formatter))
    }
}

impl Line {
    fn parse(text: &str) -> Self {
        let (entry, problem) = match Entry::parse(text.trim_start_matches('\u{feff}')) {
            Ok(entry) => (entry, None),
            Err((entry, problem)) => (entry, Some(problem)),
        };
        Self { text: Some(text.to_owned()), entry, problem }
    }

    fn is_of(&self, digest: &Digest) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.digest == *digest)
    }

    fn is_empty_entry(&self) -> bool {
        self.text.is_none() && self.entry.as_ref().is_some_and(|entry| entry.tags.is_empty())
    }

    fn drop_tag(&mut self, tag: &Reference) {
        if let Some(entry) = &mut self.entry
            && entry.has(tag)
        {
            entry.tags.retain(|name| name != tag.as_str());
            self.text = None;
        }
    }

    fn add(&mut self, tags: &[Reference], comment: Option<String>) {
        let Some(entry) = &mut self.entry else { return };
        for tag in tags {
            if !entry.has(tag) {
                entry.tags.push(tag.as_str().to_owned());
                self.text = None;
            }
        }
        if let Some(comment) = comment
            && !entry.comments.contains(&comment)
        {
            entry.comments.push(comment);
            self.text = None;
        }
    }

    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.text, &self.entry) {
            (Some(text), _) => formatter.write_str(text),
            (None, Some(entry)) => writeln!(formatter, "{entry}"),
            (None, None) => Ok(()),
        }
    }
}

impl Entry {
    /// Reads a line. `Ok(None)` for a blank one and for a comment; what is wrong with others comes
    /// with as much as can be used.
    fn parse(line: &str) -> Result<Option<Self>, (Option<Self>, &'static str)> {
        let (entry, comment) = line.split_once('#').unwrap_or((line, ""));
        let entry = entry.trim();
        if entry.is_empty() {
            return Ok(None);
        }
        // Tags have colons of their own; digests have none.
        let (tags, hex) =
            entry.rsplit_once(':').ok_or((None, "it has no `:` before the digest"))?;
        let digest = Digest::parse_hex(hex.trim())
            .map_err(|_| (None, "the digest is not 64 lower-case hex digits"))?;
        let tags = unique(
            tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(ToOwned::to_owned),
        );
        let comments = unique(
            comment
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(ToOwned::to_owned),
        );
        let malformed = tags.iter().any(|tag| usable(tag).is_none());
        let empty = tags.is_empty();
        let entry = Self { tags, digest, comments };
        match (empty, malformed) {
            (true, _) => Err((None, "it has no tag")),
            (_, true) => Err((Some(entry), "it has a malformed tag")),
            _ => Ok(Some(entry)),
        }
    }

    fn has(&self, tag: &Reference) -> bool {
        self.tags.iter().any(|name| name == tag.as_str())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.tags.join(","), self.digest.as_hex())?;
        if !self.comments.is_empty() {
            write!(formatter, "#{}", self.comments.join(", "))?;
        }
        Ok(())
    }
}

/// A tag that readers take.
fn usable(tag: &str) -> Option<Reference> {
    Reference::parse(tag).ok().filter(|tag| tag.digest().is_none())
}

/// A comment that stays in its line and is one of its parts.
fn sanitized(comment: &str) -> String {
    let spaced =
        comment.chars().map(|char| if char.is_control() || char == ',' { ' ' } else { char });
    spaced.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn unique<T: Ord + Clone>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    values.into_iter().filter(|value| seen.insert(value.clone())).collect()
}

/// Whatever could be a digest in a text, wherever it stands.
pub(super) fn hex_digests(text: &[u8]) -> BTreeSet<Digest> {
    text.split(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        .filter_map(|word| Digest::parse_hex(str::from_utf8(word).ok()?).ok())
        .collect()
}

#[cfg(test)]
mod tests;
