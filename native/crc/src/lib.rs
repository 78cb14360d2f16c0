//! Stands in for the `crc` crate, of which the HDFS client uses two checksums: that one computes
//! them from tables, which is a third as slow as SHA-256, this one with the processor's own
//! instructions. The workspace's `Cargo.toml` puts it in that crate's place.
//!
//! Only what the client uses is here. It has that crate's names.

use std::fmt;
use std::marker::PhantomData;

use crc_fast::CrcAlgorithm;

/// CRC-32C, Hadoop's default.
pub const CRC_32_ISCSI: Algorithm = Algorithm(CrcAlgorithm::Crc32Iscsi);
/// The CRC-32 of zlib.
pub const CRC_32_ISO_HDLC: Algorithm = Algorithm(CrcAlgorithm::Crc32IsoHdlc);

/// A checksum's definition.
#[derive(Clone, Copy, Debug)]
pub struct Algorithm(CrcAlgorithm);

/// How the other crate computes; here it is a name only.
#[derive(Clone, Copy, Debug)]
pub enum Table<const LANES: usize> {}

/// A checksum of `W`'s width.
#[derive(Clone, Copy)]
pub struct Crc<W, I>(CrcAlgorithm, PhantomData<fn() -> (W, I)>);

impl<I> Crc<u32, I> {
    /// Computes this checksum.
    #[must_use]
    pub const fn new(algorithm: &'static Algorithm) -> Self {
        Self(algorithm.0, PhantomData)
    }

    /// The checksum of `bytes`.
    #[must_use]
    pub fn checksum(&self, bytes: &[u8]) -> u32 {
        low(crc_fast::checksum(self.0, bytes))
    }

    /// The checksum of bytes that come in parts.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(crc_fast::Digest::new(self.0))
    }
}

impl<W, I> fmt::Debug for Crc<W, I> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Crc").field(&self.0).finish()
    }
}

/// A checksum on its way.
#[derive(Clone, Debug)]
pub struct Digest(crc_fast::Digest);

impl Digest {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all that was added.
    #[must_use]
    pub fn finalize(self) -> u32 {
        low(self.0.finalize())
    }
}

/// A checksum of 32 bits is never larger.
fn low(checksum: u64) -> u32 {
    u32::try_from(checksum).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, B.4, and the check values of the two that the catalogue of CRCs has.
    #[test]
    fn checksums_are_those_of_their_standards() {
        let iscsi = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
        let zlib = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);
        assert_eq!(iscsi.checksum(b"123456789"), 0xe306_9283);
        assert_eq!(zlib.checksum(b"123456789"), 0xcbf4_3926);
        assert_eq!(iscsi.checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(iscsi.checksum(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(iscsi.checksum(&rising), 0x46dd_794e);
        assert_eq!((iscsi.checksum(b""), zlib.checksum(b"")), (0, 0));
    }

    /// Longer inputs take other instructions than shorter ones.
    #[test]
    fn parts_of_any_length_make_the_same_checksum() {
        let bytes: Vec<u8> = (0..5000_usize).map(|index| (index % 251).to_le_bytes()[0]).collect();
        for (algorithm, polynomial) in
            [(&CRC_32_ISCSI, 0x82f6_3b78), (&CRC_32_ISO_HDLC, 0xedb8_8320)]
        {
            let crc = Crc::<u32, Table<16>>::new(algorithm);
            for length in (0..700).chain([4095, 4096, 4097, 5000]) {
                let bytes = bytes.get(..length).unwrap_or_default();
                assert_eq!(crc.checksum(bytes), bit_by_bit(bytes, polynomial), "{length}");
                let mut digest = crc.digest();
                for part in bytes.chunks(509) {
                    digest.update(part);
                }
                assert_eq!(digest.finalize(), crc.checksum(bytes), "{length}");
            }
        }
    }

    fn bit_by_bit(bytes: &[u8], polynomial: u32) -> u32 {
        let shifted = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ polynomial } else { crc >> 1 };
        !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), shifted))
    }
}
