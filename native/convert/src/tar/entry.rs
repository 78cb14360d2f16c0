//! What an archive says of one file.

use std::collections::BTreeMap;

use super::error::TarError;
use super::header::{Field, Header};
use super::number;
use super::pax::Records;
use super::shown;

/// An entry as the archive has it: nothing about its names is checked but that they hold no NUL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The name, as written: perhaps absolute, with `..`, with `/` at its end.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permissions, set-id bits and the sticky bit: `07777`.
    pub mode: u16,
    /// The owner's number. Its name is not looked at.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The modification time, in seconds since the epoch, rounded down.
    pub mtime: i64,
    /// Extended attributes: names and values.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What an entry is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EntryKind {
    /// A regular file; its content follows.
    File {
        /// How long it is, in bytes, with the holes of a sparse one.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link and where it leads.
    Symlink(Vec<u8>),
    /// Another name of the file of this name.
    HardLink(Vec<u8>),
    /// A character device, by its major and minor number.
    CharacterDevice(u32, u32),
    /// A block device, by its major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// What came before an entry's own header.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) local: Records,
    pub(super) long_name: Option<Vec<u8>>,
    pub(super) long_link: Option<Vec<u8>>,
}

impl Extensions {
    pub(super) fn is_empty(&self) -> bool {
        self.local.is_empty() && self.long_name.is_none() && self.long_link.is_none()
    }
}

/// A header with everything that changes it.
pub(super) struct Combined<'a> {
    pub(super) header: &'a Header,
    pub(super) extensions: &'a Extensions,
    pub(super) global: &'a Records,
}

impl Combined<'_> {
    /// The PAX record that counts; an empty one gives the header its say back.
    fn record(&self, keyword: &str) -> Option<&[u8]> {
        let local = self.extensions.local.value(keyword);
        local.or_else(|| self.global.value(keyword)).filter(|value| !value.is_empty())
    }

    fn name(&self) -> Vec<u8> {
        let record = self.record("GNU.sparse.name").or_else(|| self.record("path"));
        record
            .or(self.extensions.long_name.as_deref())
            .map_or_else(|| self.header.name(), <[u8]>::to_vec)
    }

    fn link_name(&self) -> Vec<u8> {
        let record = self.record("linkpath").or(self.extensions.long_link.as_deref());
        record.map_or_else(|| self.header.link_name(), <[u8]>::to_vec)
    }

    fn id(&self, keyword: &'static str, field: Field) -> Result<u32, TarError> {
        let id = match self.record(keyword) {
            None => self.header.number_as(field)?,
            Some(text) => number::decimal(text)
                .and_then(|id| u32::try_from(id).ok())
                .ok_or(self.invalid(keyword))?,
        };
        // `chown(2)` takes it for "as it is".
        if id == u32::MAX { Err(self.invalid(keyword)) } else { Ok(id) }
    }

    fn mtime(&self) -> Result<i64, TarError> {
        match self.record("mtime") {
            None => self.header.number(Field::Mtime),
            Some(text) => number::time(text).ok_or(self.invalid("mtime")),
        }
    }

    /// How many bytes of content the archive has.
    pub(super) fn stored_size(&self) -> Result<u64, TarError> {
        match self.record("size") {
            None => self.header.number_as(Field::Size),
            Some(text) => number::decimal(text).ok_or(self.invalid("size")),
        }
    }

    fn xattrs(&self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, TarError> {
        let invalid = |problem| TarError::InvalidPax { offset: self.header.offset, problem };
        let mut xattrs = self.global.xattrs().map_err(invalid)?;
        xattrs.extend(self.extensions.local.xattrs().map_err(invalid)?);
        Ok(xattrs)
    }

    fn device(&self) -> Result<(u32, u32), TarError> {
        let number = |field| self.header.number_as(field);
        Ok((number(Field::DeviceMajor)?, number(Field::DeviceMinor)?))
    }

    fn kind(&self, path: &[u8]) -> Result<EntryKind, TarError> {
        Ok(match self.header.typeflag() {
            // Seventh Edition's tar had no type for directories.
            0 | b'0' | b'7' if path.ends_with(b"/") => match self.stored_size()? {
                0 => EntryKind::Directory,
                _ => return Err(self.invalid("size")),
            },
            0 | b'0' | b'7' | b'S' => EntryKind::File { size: self.stored_size()? },
            b'1' => EntryKind::HardLink(self.link_name()),
            b'2' => EntryKind::Symlink(self.link_name()),
            b'3' => self.device().map(|(major, minor)| EntryKind::CharacterDevice(major, minor))?,
            b'4' => self.device().map(|(major, minor)| EntryKind::BlockDevice(major, minor))?,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            typeflag => {
                let (path, offset) = (shown(path), self.header.offset);
                return Err(TarError::UnsupportedType { path, offset, typeflag });
            }
        })
    }

    /// # Errors
    ///
    /// [`TarError`] for a field that cannot be what it says, and for an unknown type.
    pub(super) fn entry(&self) -> Result<Entry, TarError> {
        let path = self.name();
        let kind = self.kind(&path)?;
        if path.contains(&0) {
            return Err(self.invalid("path"));
        }
        if let EntryKind::Symlink(target) | EntryKind::HardLink(target) = &kind
            && target.contains(&0)
        {
            return Err(self.invalid("linkpath"));
        }
        let mode: u32 = self.header.number_as(Field::Mode)?;
        Ok(Entry {
            kind,
            mode: u16::try_from(mode & 0o7777).map_err(|_| self.invalid("mode"))?,
            uid: self.id("uid", Field::Uid)?,
            gid: self.id("gid", Field::Gid)?,
            mtime: self.mtime()?,
            xattrs: self.xattrs()?,
            path,
        })
    }

    fn invalid(&self, field: &'static str) -> TarError {
        TarError::InvalidField { offset: self.header.offset, field }
    }
}
