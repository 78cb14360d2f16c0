//! The two compressions.

use std::io;

use libdeflater::{CompressionLvl, Compressor};

use super::{Compression, SquashfsError};

/// Compresses blocks, each for itself. What comes out depends on the block alone, not on those
/// before it.
pub(super) enum Codec {
    Gzip(Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Codec {
    pub(super) fn new(compression: Compression) -> Result<Self, SquashfsError> {
        match compression {
            Compression::Gzip { level } => CompressionLvl::new(i32::from(level))
                .map(|level| Self::Gzip(Compressor::new(level)))
                .map_err(|_| SquashfsError::Level { name: "gzip", level, highest: 9 }),
            Compression::Zstd { level } => zstd::bulk::Compressor::new(i32::from(level))
                .map(Self::Zstd)
                .map_err(|source| SquashfsError::Compress { source }),
        }
    }

    /// Compresses a block. `false` when that makes it no smaller; `packed` is then nothing's.
    pub(super) fn compress(
        &mut self,
        raw: &[u8],
        packed: &mut Vec<u8>,
    ) -> Result<bool, SquashfsError> {
        let failed = |source| SquashfsError::Compress { source };
        match self {
            Self::Gzip(codec) => {
                packed.resize(raw.len(), 0);
                // Its one error is that the result does not fit.
                let Ok(length) = codec.zlib_compress(raw, packed) else { return Ok(false) };
                packed.truncate(length);
            }
            Self::Zstd(codec) => {
                packed.resize(zstd::zstd_safe::compress_bound(raw.len()), 0);
                let length =
                    codec.compress_to_buffer(raw, packed.as_mut_slice()).map_err(failed)?;
                packed.truncate(length);
            }
        }
        if packed.is_empty() {
            return Err(failed(io::Error::other("nothing came out")));
        }
        Ok(packed.len() < raw.len())
    }
}

/// The number that the superblock has for a compression.
pub(super) fn number(compression: Compression) -> u16 {
    match compression {
        Compression::Gzip { .. } => 1,
        Compression::Zstd { .. } => 6,
    }
}

/// What follows the superblock when the level is not the one that the format takes for granted.
pub(super) fn options(compression: Compression) -> Vec<u8> {
    /// zlib's window of 32 KiB.
    const WINDOW_BITS: u16 = 15;
    /// None but zlib's own.
    const STRATEGIES: u16 = 0;
    match compression {
        Compression::Gzip { level: 9 } | Compression::Zstd { level: 15 } => Vec::new(),
        Compression::Gzip { level } => [
            u32::from(level).to_le_bytes().as_slice(),
            &WINDOW_BITS.to_le_bytes(),
            &STRATEGIES.to_le_bytes(),
        ]
        .concat(),
        Compression::Zstd { level } => u32::from(level).to_le_bytes().to_vec(),
    }
}
