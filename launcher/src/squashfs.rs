//! The check of a squashfs superblock before the kernel's parser sees the file.
//!
//! # References
//!
//! `fs/squashfs/squashfs_fs.h` of the kernel, `struct squashfs_super_block`

/// The superblock's size.
pub(crate) const HEADER_BYTES: usize = 96;

const MAGIC: u32 = 0x7371_7368;
const VERSION: (u16, u16) = (4, 0);
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 4 << 10..=1 << 20;
/// gzip, lzo, xz, lz4 and zstd; lzma is no format of this version.
const COMPRESSORS: [u16; 5] = [1, 3, 4, 5, 6];
/// What an absent table has instead of an offset.
const ABSENT: u64 = u64::MAX;
/// The size of a metadata block when unpacked.
const METADATA_BYTES: u64 = 8192;

/// Checks a superblock against the size of the file it was read from.
///
/// The error is the problem in words.
pub(crate) fn check(header: &[u8; HEADER_BYTES], file_bytes: u64) -> Result<(), String> {
    let header = Header(header);
    if header.u32(0) != MAGIC {
        return Err("not a squashfs file".to_owned());
    }
    let version = (header.u16(28), header.u16(30));
    if version != VERSION {
        return Err(format!("squashfs version {}.{}, only 4.0 is supported", version.0, version.1));
    }
    let block_size = header.u32(12);
    let logarithm = u32::from(header.u16(22));
    if !BLOCK_SIZES.contains(&block_size) || 1_u32.checked_shl(logarithm) != Some(block_size) {
        return Err(format!("block size {block_size} with logarithm {logarithm}"));
    }
    let compressor = header.u16(20);
    if !COMPRESSORS.contains(&compressor) {
        return Err(format!("unknown compressor {compressor}"));
    }
    let used = header.u64(40);
    if used > file_bytes {
        return Err(format!("truncated: the file system has {used} bytes, the file {file_bytes}"));
    }
    if header.u32(4) == 0 || header.u16(26) == 0 {
        return Err("no inodes or no ids".to_owned());
    }
    check_tables(&header, used)
}

fn check_tables(header: &Header<'_>, used: u64) -> Result<(), String> {
    let lowest = u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX);
    let inside = |offset: u64| (lowest..used).contains(&offset);
    let (inodes, directories) = (header.u64(64), header.u64(72));
    for (name, offset) in [("id", header.u64(48)), ("inode", inodes), ("directory", directories)] {
        if !inside(offset) {
            return Err(format!("{name} table outside of the file"));
        }
    }
    for (name, offset) in [
        ("extended attribute", header.u64(56)),
        ("fragment", header.u64(80)),
        ("export", header.u64(88)),
    ] {
        if offset != ABSENT && !inside(offset) {
            return Err(format!("{name} table outside of the file"));
        }
    }
    if inodes >= directories {
        return Err("inode table after directory table".to_owned());
    }
    // A reference is the block's distance from the table's start, then the place in the block.
    let root = header.u64(32);
    let block = inodes.checked_add(root >> 16);
    if block.is_none_or(|block| block >= directories) || root & 0xffff >= METADATA_BYTES {
        return Err("root directory outside of the inode table".to_owned());
    }
    Ok(())
}

/// Little-endian numbers at fixed offsets.
struct Header<'a>(&'a [u8; HEADER_BYTES]);

impl Header<'_> {
    fn bytes<const N: usize>(&self, offset: usize) -> [u8; N] {
        let piece = self.0.get(offset..).and_then(<[u8]>::first_chunk);
        piece.copied().unwrap_or([0; N])
    }

    fn u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.bytes(offset))
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.bytes(offset))
    }

    fn u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.bytes(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE_BYTES: u64 = 8192;

    fn good() -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let mut put = |offset: usize, bytes: &[u8]| {
            header[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0, b"hsqs");
        put(4, &3_u32.to_le_bytes());
        put(12, &131_072_u32.to_le_bytes());
        put(20, &6_u16.to_le_bytes());
        put(22, &17_u16.to_le_bytes());
        put(26, &1_u16.to_le_bytes());
        put(28, &4_u16.to_le_bytes());
        put(32, &64_u64.to_le_bytes());
        put(40, &4000_u64.to_le_bytes());
        put(48, &3900_u64.to_le_bytes());
        put(56, &ABSENT.to_le_bytes());
        put(64, &200_u64.to_le_bytes());
        put(72, &300_u64.to_le_bytes());
        put(80, &400_u64.to_le_bytes());
        put(88, &ABSENT.to_le_bytes());
        header
    }

    #[test]
    fn a_real_superblock_passes() {
        check(&good(), FILE_BYTES).unwrap();
        check(&good(), 4000).unwrap();
    }

    #[test]
    fn every_lie_is_named() {
        for (offset, bytes, expected) in [
            (0, &b"sqsh"[..], "not a squashfs"),
            (4, &[0; 4], "no inodes"),
            (12, &[0, 0, 0, 1], "block size"),
            (12, &[1, 0, 2, 0], "block size"),
            (22, &[16], "block size"),
            (22, &[255, 255], "block size"),
            (20, &[0], "compressor 0"),
            (20, &[2], "compressor 2"),
            (20, &[7], "compressor 7"),
            (26, &[0], "no ids"),
            (28, &[3], "version 3.0"),
            (30, &[1], "version 4.1"),
            (40, &[0xff, 0xff], "truncated"),
            (48, &[0; 8], "id table"),
            (48, &[0xff; 8], "id table"),
            (56, &[0, 0, 0, 0, 0, 0, 0, 0], "extended attribute table"),
            (64, &[95, 0], "inode table outside"),
            (64, &[44, 1], "inode table after"),
            (72, &[0xa0, 0x0f], "directory table"),
            (80, &[1, 0], "fragment table"),
            (88, &[0xff, 0xff, 0, 0, 0, 0, 0, 0], "export table"),
            (32, &[0, 32], "root directory"),
            (34, &[100], "root directory"),
            (34, &[0xff; 6], "root directory"),
        ] {
            let mut header = good();
            header[offset..offset + bytes.len()].copy_from_slice(bytes);
            let problem = check(&header, FILE_BYTES).unwrap_err();
            assert!(problem.contains(expected), "{offset}: {problem}");
        }
    }
}
