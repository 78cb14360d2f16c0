//! The archive in a blob.

use std::fmt;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

use super::measure::Measured;

/// How a blob is compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// One gzip member or several.
    Gzip,
    /// One zstd frame or several.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// As much of a blob as tells how it is compressed.
const MAGIC: usize = 6;
/// How much of a blob is read at once.
const BUFFER: usize = 64 << 10;

/// A blob whose first bytes were looked at.
type Blob<R> = BufReader<Chain<Cursor<Vec<u8>>, Measured<R>>>;

/// Reads the archive in a blob.
pub(super) enum Inflate<R: Read> {
    None(Blob<R>),
    Gzip(Box<MultiGzDecoder<Blob<R>>>),
    Zstd(ZstdDecoder<'static, Blob<R>>),
}

/// Why a blob cannot be read at all.
pub(super) enum Unreadable {
    Failed(io::Error),
    TooLong(u64),
    Unsupported(&'static str),
}

impl<R: Read> Inflate<R> {
    /// The blob's compression is known by its first bytes; its media type may be wrong.
    pub(super) fn new(mut blob: Measured<R>) -> Result<Self, Unreadable> {
        let mut magic = Vec::new();
        let limit = u64::try_from(MAGIC).unwrap_or_default();
        if let Err(error) = Read::by_ref(&mut blob).take(limit).read_to_end(&mut magic) {
            let too_long = blob.is_too_long().then(|| Unreadable::TooLong(blob.size()));
            return Err(too_long.unwrap_or(Unreadable::Failed(error)));
        }
        let unsupported = |name| Err(Unreadable::Unsupported(name));
        let start = magic.clone();
        let blob = BufReader::with_capacity(BUFFER, Cursor::new(magic).chain(blob));
        match start.as_slice() {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(blob)))),
            // A frame, or one to be skipped in front of it.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                match ZstdDecoder::with_buffer(blob) {
                    Ok(decoder) => Ok(Self::Zstd(decoder)),
                    Err(_) => unsupported("zstd"),
                }
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0] => unsupported("xz"),
            [b'B', b'Z', b'h', ..] => unsupported("bzip2"),
            _ => Ok(Self::None(blob)),
        }
    }

    pub(super) fn compression(&self) -> Compression {
        match self {
            Self::None(_) => Compression::None,
            Self::Gzip(_) => Compression::Gzip,
            Self::Zstd(_) => Compression::Zstd,
        }
    }

    pub(super) fn blob(&self) -> &Measured<R> {
        let blob = match self {
            Self::None(blob) => blob,
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zstd(decoder) => decoder.get_ref(),
        };
        blob.get_ref().get_ref().1
    }

    /// Reads whatever no decoder asked for, so that all of the blob is measured.
    ///
    /// # Errors
    ///
    /// The blob's.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        let blob = match self {
            Self::None(blob) => blob,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        };
        loop {
            let length = blob.fill_buf()?.len();
            if length == 0 {
                return Ok(());
            }
            blob.consume(length);
        }
    }
}

impl<R: Read> Read for Inflate<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(blob) => blob.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}
