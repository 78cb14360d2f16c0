//! A header block.
//!
//! # References
//!
//! `tar(5)` of libarchive; POSIX.1-2017, `pax`, "ustar Interchange Format"; GNU tar's manual,
//! "Basic Tar Format".

use std::ops::Range;

use super::error::TarError;
use super::input::BLOCK;
use super::number;

const CHECKSUM: Range<usize> = 148..156;
const TYPEFLAG: usize = 156;
const MAGIC: Range<usize> = 257..263;
const PREFIX: Range<usize> = 345..500;
/// `star` keeps times where ustar's prefix has its end.
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_MAGIC: Range<usize> = 508..512;

/// A field that holds a number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    Mode,
    Uid,
    Gid,
    Size,
    Mtime,
    DeviceMajor,
    DeviceMinor,
    RealSize,
}

impl Field {
    fn place(self) -> (Range<usize>, &'static str) {
        match self {
            Self::Mode => (100..108, "mode"),
            Self::Uid => (108..116, "uid"),
            Self::Gid => (116..124, "gid"),
            Self::Size => (124..136, "size"),
            Self::Mtime => (136..148, "mtime"),
            Self::DeviceMajor => (329..337, "devmajor"),
            Self::DeviceMinor => (337..345, "devminor"),
            Self::RealSize => (483..495, "realsize"),
        }
    }
}

/// A header whose checksum is right.
pub(super) struct Header {
    block: [u8; BLOCK],
    /// Where it is in the archive.
    pub(super) offset: u64,
}

impl Header {
    /// # Errors
    ///
    /// [`TarError::WrongChecksum`].
    pub(super) fn parse(block: [u8; BLOCK], offset: u64) -> Result<Self, TarError> {
        let header = Self { block, offset };
        if header.has_right_checksum() {
            Ok(header)
        } else {
            Err(TarError::WrongChecksum { offset })
        }
    }

    pub(super) fn typeflag(&self) -> u8 {
        self.block.get(TYPEFLAG).copied().unwrap_or_default()
    }

    /// The name, with ustar's prefix.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(self.bytes(0..100));
        let prefix = if self.bytes(MAGIC) != b"ustar\0" {
            // GNU has other things there, V7 has nothing.
            &[]
        } else if self.bytes(STAR_MAGIC) == b"tar\0" {
            text(self.bytes(STAR_PREFIX))
        } else {
            text(self.bytes(PREFIX))
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, name].join(&b'/') }
    }

    pub(super) fn link_name(&self) -> Vec<u8> {
        text(self.bytes(157..257)).to_vec()
    }

    /// # Errors
    ///
    /// [`TarError::InvalidField`] when it holds no number.
    pub(super) fn number(&self, field: Field) -> Result<i64, TarError> {
        let (place, _) = field.place();
        number::field(self.bytes(place)).ok_or_else(|| self.invalid(field))
    }

    /// # Errors
    ///
    /// [`TarError::InvalidField`] when it holds no number, or one that `T` has no room for.
    pub(super) fn number_as<T: TryFrom<i64>>(&self, field: Field) -> Result<T, TarError> {
        T::try_from(self.number(field)?).map_err(|_| self.invalid(field))
    }

    pub(super) fn bytes(&self, place: Range<usize>) -> &[u8] {
        self.block.get(place).unwrap_or_default()
    }

    fn invalid(&self, field: Field) -> TarError {
        TarError::InvalidField { offset: self.offset, field: field.place().1 }
    }

    /// The sum of all bytes, with spaces for the checksum itself. Some old writers summed signed ones.
    fn has_right_checksum(&self) -> bool {
        let Some(expected) = number::field(self.bytes(CHECKSUM)) else { return false };
        let counted = self
            .block
            .iter()
            .enumerate()
            .map(|(place, byte)| if CHECKSUM.contains(&place) { b' ' } else { *byte });
        let unsigned: i64 = counted.clone().map(i64::from).sum();
        let signed: i64 = counted.map(|byte| i64::from(byte.cast_signed())).sum();
        expected == unsigned || expected == signed
    }
}

/// A text field ends at its first NUL, or is full.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}
