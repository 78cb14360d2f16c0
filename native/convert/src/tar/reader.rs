//! Entry after entry, piece after piece.

use std::fmt;
use std::io::Read;
use std::vec;

use super::entry::{Combined, Entry, EntryKind, Extensions};
use super::error::TarError;
use super::header::{Field, Header, text};
use super::input::{BLOCK, Input, count, padding};
use super::pax::Records;
use super::shown;
use super::sparse::{self, Extent, MapReader, Sparseness};

/// BuildKit puts it behind the end of the archive, so that the archive stays what it was.
///
/// # References
///
/// `docs/estargz.md` of containerd's stargz-snapshotter, "TOC, TOCEntries and Footer".
const TABLE_OF_CONTENTS: &[u8] = b"stargz.index.json";

/// A part of a file's content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Piece<'a> {
    /// These bytes.
    Data(&'a [u8]),
    /// So many zeros, which a sparse file's archive leaves out.
    Hole(u64),
}

/// What is left of the content of the entry that was read last.
#[derive(Debug, Default)]
struct Content {
    /// Where in the file the next piece begins.
    position: u64,
    size: u64,
    extents: vec::IntoIter<Extent>,
    current: Option<Extent>,
    /// What the archive still has of it, with the padding after it.
    stored: u64,
}

/// Reads an archive as it comes, in memory that does not grow with it.
///
/// An archive ends with two blocks of zeros, and only zeros may follow, or the table of contents of
/// an eStargz layer. One that merely stops where an entry could begin is accepted too: some writers
/// never end theirs, and GNU tar and Docker read them.
pub struct TarReader<R> {
    input: Input<R>,
    /// The most bytes that long names, PAX records and a sparse map of one entry may take.
    header_limit: u64,
    global: Records,
    content: Content,
    /// The bytes of files that the archive leaves out.
    holes: u64,
    is_over: bool,
}

impl<R: Read> TarReader<R> {
    /// Reads at most `limit` bytes of `reader`, holes of sparse files counted with them, and of one
    /// header at most `header_limit`.
    #[must_use]
    pub fn new(reader: R, limit: u64, header_limit: u64) -> Self {
        Self {
            input: Input::new(reader, limit),
            header_limit,
            global: Records::default(),
            content: Content::default(),
            holes: 0,
            is_over: false,
        }
    }

    /// The next entry; what is left of the content of the one before is passed over. `None` at the
    /// end, when everything was read that the reader had.
    ///
    /// # Errors
    ///
    /// [`TarError`] for whatever is no archive within the limits, and when the reader fails.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        if self.is_over {
            return Ok(None);
        }
        self.input.skip(self.content.stored)?;
        self.content = Content::default();
        let mut extensions = Extensions::default();
        let mut extension_bytes = 0;
        let first = self.input.offset();
        loop {
            let Some(header) = self.header()? else {
                self.is_over = true;
                return if extensions.is_empty() {
                    Ok(None)
                } else {
                    Err(TarError::HeaderWithoutEntry { offset: first })
                };
            };
            match header.typeflag() {
                b'x' | b'g' | b'L' | b'K' => {
                    self.extension(&header, &mut extensions, &mut extension_bytes)?;
                }
                _ => return self.entry(&header, &extensions).map(Some),
            }
        }
    }

    /// The next piece of the content of the entry that was read last. `None` when that was all.
    ///
    /// # Errors
    ///
    /// [`TarError`] as [`TarReader::next_entry`].
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>, TarError> {
        let content = &mut self.content;
        loop {
            let Some(extent) = &mut content.current else {
                content.current = content.extents.next();
                if content.current.is_some() {
                    continue;
                }
                let rest = content.size - content.position;
                content.position = content.size;
                return Ok((rest > 0).then_some(Piece::Hole(rest)));
            };
            if extent.offset > content.position {
                let hole = extent.offset - content.position;
                content.position = extent.offset;
                return Ok(Some(Piece::Hole(hole)));
            }
            if extent.length == 0 {
                content.current = None;
                continue;
            }
            let data = self.input.piece(extent.length)?;
            let length = count(data.len());
            extent.offset += length;
            extent.length -= length;
            content.position += length;
            content.stored -= length;
            return Ok(Some(Piece::Data(data)));
        }
    }

    /// The next header. `None` at the archive's end.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let offset = self.input.offset();
        let Some(block) = self.input.block()? else { return Ok(None) };
        if block != [0; BLOCK] {
            return Header::parse(block, offset).map(Some);
        }
        self.trailer().map(|()| None)
    }

    /// Reads what follows the end-of-archive mark.
    fn trailer(&mut self) -> Result<(), TarError> {
        loop {
            let offset = self.input.offset();
            let (block, length) = self.input.partial_block()?;
            let Some(place) = block.iter().position(|byte| *byte != 0) else {
                if length < BLOCK {
                    return Ok(());
                }
                continue;
            };
            match Header::parse(block, offset) {
                Ok(header) if header.name() == TABLE_OF_CONTENTS && length == BLOCK => {
                    let size = header.number_as(Field::Size)?;
                    self.input.skip(size)?;
                    self.input.skip(padding(size))?;
                }
                _ => return Err(TarError::TrailingGarbage { offset: offset + count(place) }),
            }
        }
    }

    /// Takes a header that says more about those after it.
    fn extension(
        &mut self,
        header: &Header,
        extensions: &mut Extensions,
        taken: &mut u64,
    ) -> Result<(), TarError> {
        let bare =
            Combined { header, extensions: &Extensions::default(), global: &Records::default() };
        let size = bare.stored_size()?;
        let offset = header.offset;
        let too_large = TarError::HeaderTooLarge { offset, limit: self.header_limit };
        *taken = taken.saturating_add(size).saturating_add(count(BLOCK));
        if *taken > self.header_limit {
            return Err(too_large);
        }
        let bytes = self.input.all(size)?;
        self.input.skip(padding(size))?;
        let invalid = |problem| TarError::InvalidPax { offset, problem };
        match header.typeflag() {
            b'x' => extensions.local.parse(&bytes).map_err(invalid)?,
            b'g' => {
                self.global.parse(&bytes).map_err(invalid)?;
                if count(self.global.len()) > self.header_limit {
                    return Err(too_large);
                }
            }
            b'L' => extensions.long_name = Some(text(&bytes).to_vec()),
            _ => extensions.long_link = Some(text(&bytes).to_vec()),
        }
        Ok(())
    }

    fn entry(&mut self, header: &Header, extensions: &Extensions) -> Result<Entry, TarError> {
        let combined = Combined { header, extensions, global: &self.global };
        let mut entry = combined.entry()?;
        let EntryKind::File { size } = &mut entry.kind else { return Ok(entry) };
        let stored = *size;
        let offset = header.offset;
        let path = &entry.path;
        let invalid = |problem| TarError::InvalidSparse { path: shown(path), offset, problem };
        let sparseness = if header.typeflag() == b'S' {
            sparse::of_header(header)
        } else {
            sparse::of_records(&extensions.local)
        };
        let mut data = stored;
        let map = match sparseness.map_err(invalid)? {
            Sparseness::Whole => vec![Extent { offset: 0, length: stored }],
            Sparseness::Mapped { size: real, map } => {
                *size = real;
                map
            }
            Sparseness::MapFollows { size: real } => {
                *size = real;
                let mut reader = MapReader::default();
                loop {
                    let block = count(BLOCK);
                    data = data.checked_sub(block).ok_or(invalid("its map does not end"))?;
                    if stored - data > self.header_limit {
                        return Err(TarError::HeaderTooLarge { offset, limit: self.header_limit });
                    }
                    if let Some(map) = reader.add(&self.input.all(block)?).map_err(invalid)? {
                        break map;
                    }
                }
            }
            Sparseness::InHeader { size: real, mut map, mut goes_on } => {
                *size = real;
                let start = self.input.offset();
                while goes_on {
                    let block = self.input.all(count(BLOCK))?;
                    goes_on = sparse::add_block(&block, &mut map).map_err(invalid)?;
                    if self.input.offset() - start > self.header_limit {
                        return Err(TarError::HeaderTooLarge { offset, limit: self.header_limit });
                    }
                }
                map
            }
        };
        sparse::check(&map, *size, data).map_err(invalid)?;
        self.holes = self.holes.saturating_add(size.saturating_sub(data));
        self.input.check(self.holes)?;
        self.content = Content {
            position: 0,
            size: *size,
            extents: map.into_iter(),
            current: None,
            stored: data.checked_add(padding(stored)).ok_or(invalid("its size is out of range"))?,
        };
        Ok(entry)
    }
}

impl<R> TarReader<R> {
    /// What it reads from.
    pub fn get_ref(&self) -> &R {
        self.input.get_ref()
    }

    /// What it reads from. What is read from it is lost to the archive.
    pub fn get_mut(&mut self) -> &mut R {
        self.input.get_mut()
    }

    /// How many bytes of the archive were taken.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }
}

impl<R> fmt::Debug for TarReader<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TarReader").field("offset", &self.offset()).finish_non_exhaustive()
    }
}
