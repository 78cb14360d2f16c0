//! Where in an archive its members are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::limits::Limits;
use crate::source::error::{SourceError, shown};
use crate::source::file;
use crate::tar::{EntryKind, TarReader};

/// Links from one member to the next: archives of old have one, from a layer to its equal.
const MAX_LINKS: usize = 8;
const BUFFER: usize = 64 << 10;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// The content of a member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Where it begins, in the archive without its own compression.
    offset: u64,
    /// How long it is there.
    pub(super) size: u64,
    /// Whether the archive itself is compressed.
    in_compressed: bool,
}

#[derive(Debug)]
enum Member {
    File(Place),
    Link(String),
}

/// The members of an archive, by their names.
#[derive(Debug)]
pub(super) struct Contents(BTreeMap<String, Member>);

impl Contents {
    /// Reads the archive to its end.
    pub(super) fn read(path: &Path, limits: &Limits) -> Result<Self, SourceError> {
        let (file, _) = file::open(path)?;
        let invalid = |problem: String| SourceError::InvalidFile { path: path.to_owned(), problem };
        let (reader, in_compressed) =
            decompressed(file).map_err(|cause| file::local(path, cause))?;
        let mut tar = TarReader::new(reader, limits.layer_bytes, limits.header_bytes);
        let mut members = BTreeMap::new();
        let mut count = 0;
        while let Some(entry) = tar.next_entry().map_err(|error| invalid(error.to_string()))? {
            count += 1;
            if count > limits.layer_entries {
                return Err(SourceError::OverLimit {
                    name: path.display().to_string(),
                    what: "the number of members",
                    found: count,
                    limit: limits.layer_entries,
                    option: "",
                });
            }
            let Ok(name) = String::from_utf8(entry.path) else { continue };
            let member = match entry.kind {
                EntryKind::File { size } => {
                    Member::File(Place { offset: tar.offset(), size, in_compressed })
                }
                EntryKind::Symlink(target) | EntryKind::HardLink(target)
                    if String::from_utf8(target.clone()).is_err() =>
                {
                    continue;
                }
                EntryKind::Symlink(target) => {
                    let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
                    let target = String::from_utf8_lossy(&target).into_owned();
                    Member::Link(normal(&format!("{parent}/{target}")))
                }
                EntryKind::HardLink(target) => {
                    Member::Link(normal(&String::from_utf8_lossy(&target)))
                }
                _ => continue,
            };
            members.insert(normal(&name), member);
        }
        Ok(Self(members))
    }

    /// The content of the file of this name.
    pub(super) fn find(&self, name: &str) -> Option<Place> {
        let mut name = normal(name);
        for _ in 0..MAX_LINKS {
            match self.0.get(&name)? {
                Member::File(place) => return Some(*place),
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }
}

/// A name without `.`, `..` and empty parts. It only finds members, so it can lead nowhere else.
fn normal(name: &str) -> String {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

impl Place {
    /// Its bytes, without the compression that some tools save layers with.
    pub(super) fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        decompressed(self.stored(path)?).map(|(reader, _)| reader)
    }

    /// How many bytes [`Place::open`] gives.
    pub(super) fn length(&self, path: &Path, limit: u64) -> Result<u64, SourceError> {
        let count = || -> io::Result<u64> {
            let (reader, is_compressed) = decompressed(self.stored(path)?)?;
            if !is_compressed {
                return Ok(self.size);
            }
            io::copy(&mut reader.take(limit.saturating_add(1)), &mut io::sink())
        };
        let found = count().map_err(|cause| file::local(path, cause))?;
        if found <= limit {
            return Ok(found);
        }
        Err(SourceError::OverLimit {
            name: shown(&path.display().to_string()),
            what: "the size of a layer in bytes",
            found,
            limit,
            option: "",
        })
    }

    fn stored(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(path)?;
        if !self.in_compressed {
            file.seek(SeekFrom::Start(self.offset))?;
            return Ok(Box::new(file.take(self.size)));
        }
        let (mut reader, _) = decompressed(file)?;
        let passed = io::copy(&mut reader.by_ref().take(self.offset), &mut io::sink())?;
        if passed < self.offset {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Box::new(reader.take(self.size)))
    }
}

/// What a file holds, and whether it is compressed, as its first bytes say.
fn decompressed<R: Read + Send + 'static>(
    mut reader: R,
) -> io::Result<(Box<dyn Read + Send>, bool)> {
    let mut magic = Vec::new();
    let length = u64::try_from(ZSTD.len()).unwrap_or_default();
    reader.by_ref().take(length).read_to_end(&mut magic)?;
    let (is_gzip, is_zstd) = (magic.starts_with(GZIP), magic.starts_with(ZSTD));
    let whole = BufReader::with_capacity(BUFFER, Cursor::new(magic).chain(reader));
    Ok(if is_gzip {
        (Box::new(MultiGzDecoder::new(whole)), true)
    } else if is_zstd {
        (Box::new(zstd::stream::read::Decoder::with_buffer(whole)?), true)
    } else {
        (Box::new(whole), false)
    })
}
