//! The check of a layer's superblock before the kernel's parser sees the file.
//!
//! Whoever makes a layer decides every byte of it. What can be told from the superblock alone is
//! checked here: that the file system is of a kind and version that is known, and that nothing the
//! kernel looks up first lies outside of the file.
//!
//! # References
//!
//! `fs/squashfs/squashfs_fs.h`, `struct squashfs_super_block`, and `fs/erofs/erofs_fs.h`,
//! `struct erofs_super_block`, of the kernel

use crate::request::LayerMediaType;

/// How many bytes of a layer's start [`check_superblock`] looks at.
pub const SUPERBLOCK_BYTES: usize = EROFS_OFFSET + 128;

/// Checks a layer's first [`SUPERBLOCK_BYTES`] bytes, or all of a smaller file, against the kind
/// of file system the request names and the size of the file.
///
/// # Errors
///
/// The problem in words, what was found and what is allowed.
pub fn check_superblock(kind: LayerMediaType, start: &[u8], file_bytes: u64) -> Result<(), String> {
    let (offset, length, check): (_, _, Check) = match kind {
        LayerMediaType::Squashfs => (0, SQUASHFS_BYTES, check_squashfs),
        LayerMediaType::Erofs => (EROFS_OFFSET, SUPERBLOCK_BYTES - EROFS_OFFSET, check_erofs),
    };
    let header = start.get(offset..).and_then(|rest| rest.get(..length));
    check(&Header(header.ok_or("shorter than a superblock")?), file_bytes)
}

type Check = fn(&Header<'_>, u64) -> Result<(), String>;

const SQUASHFS_BYTES: usize = 96;
const SQUASHFS_MAGIC: u32 = 0x7371_7368;
const SQUASHFS_VERSION: (u16, u16) = (4, 0);
const SQUASHFS_BLOCKS: std::ops::RangeInclusive<u32> = 4 << 10..=1 << 20;
/// gzip, lzo, xz, lz4 and zstd; lzma is no format of this version.
const SQUASHFS_COMPRESSORS: [u16; 5] = [1, 3, 4, 5, 6];
/// What an absent table has instead of an offset.
const ABSENT: u64 = u64::MAX;
/// The size of a metadata block when unpacked.
const METADATA_BYTES: u64 = 8192;

fn check_squashfs(header: &Header<'_>, file_bytes: u64) -> Result<(), String> {
    if header.u32(0) != SQUASHFS_MAGIC {
        return Err("not a squashfs file".to_owned());
    }
    let version = (header.u16(28), header.u16(30));
    if version != SQUASHFS_VERSION {
        return Err(format!("squashfs version {}.{}, must be 4.0", version.0, version.1));
    }
    let block_size = header.u32(12);
    let logarithm = u32::from(header.u16(22));
    if !SQUASHFS_BLOCKS.contains(&block_size) || 1_u32.checked_shl(logarithm) != Some(block_size) {
        return Err(format!(
            "block size {block_size} with logarithm {logarithm}; must be a power of two from 4096 \
             to 1048576"
        ));
    }
    let compressor = header.u16(20);
    if !SQUASHFS_COMPRESSORS.contains(&compressor) {
        return Err(format!("compressor {compressor}; must be gzip, lzo, xz, lz4 or zstd"));
    }
    let used = header.u64(40);
    if used > file_bytes {
        return Err(truncated(used, file_bytes));
    }
    if header.u32(4) == 0 || header.u16(26) == 0 {
        return Err("no inodes or no ids".to_owned());
    }
    let (inodes, directories) = (header.u64(64), header.u64(72));
    for (name, offset, optional) in [
        ("id", header.u64(48), false),
        ("inode", inodes, false),
        ("directory", directories, false),
        ("extended attribute", header.u64(56), true),
        ("fragment", header.u64(80), true),
        ("export", header.u64(88), true),
    ] {
        let inside = offset >= 96 && offset < used;
        let absent = optional && offset == ABSENT;
        if !inside && !absent {
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

const EROFS_OFFSET: usize = 1024;
const EROFS_MAGIC: u32 = 0xe0f5_e1e2;
/// No kernel mounts blocks larger than its pages.
const EROFS_BLOCK_BITS: std::ops::RangeInclusive<u8> = 9..=12;
/// LZ4, its configuration with big clusters, chunked files, a second compressor, packed tails,
/// fragments. What later kernels added moves or adds structures that this check does not know.
const EROFS_FEATURES: u32 = 0x3f;
/// The feature that says which compressors are used.
const EROFS_CONFIGURED: u32 = 0x02;
/// LZ4, LZMA, deflate and zstd.
const EROFS_COMPRESSORS: u16 = 0x0f;
const EROFS_INODE_BYTES: u64 = 32;

fn check_erofs(header: &Header<'_>, file_bytes: u64) -> Result<(), String> {
    if header.u32(0) != EROFS_MAGIC {
        return Err("not an EROFS file".to_owned());
    }
    let features = header.u32(80);
    if features & !EROFS_FEATURES != 0 {
        return Err(format!("features {features:#x}; must be none beyond {EROFS_FEATURES:#x}"));
    }
    let (bits, directory_bits, extension) = (header.u8(12), header.u8(90), header.u8(13));
    if !EROFS_BLOCK_BITS.contains(&bits) || directory_bits != 0 || extension != 0 {
        return Err(format!(
            "block size 2^{bits}, directories' 2^{directory_bits} times that, {extension} \
             extensions; must be 2^9 to 2^12, 2^0 and none"
        ));
    }
    let compressors = header.u16(84);
    if features & EROFS_CONFIGURED != 0 && compressors & !EROFS_COMPRESSORS != 0 {
        return Err(format!(
            "compressors {compressors:#x}; must be none beyond LZ4, LZMA, deflate and zstd"
        ));
    }
    // Kernels before 6.4 take the names of other devices from the file, and open them as root.
    let devices = header.u16(86);
    if devices != 0 {
        return Err(format!("{devices} extra devices, must be none"));
    }
    let used = u64::from(header.u32(36)) << bits;
    if used > file_bytes {
        return Err(truncated(used, file_bytes));
    }
    let metadata = u64::from(header.u32(40)) << bits;
    let inode = |number: u64| number.checked_mul(EROFS_INODE_BYTES)?.checked_add(metadata);
    let inside = |start: u64| start.checked_add(EROFS_INODE_BYTES).is_some_and(|end| end <= used);
    for (name, offset) in [
        ("root directory", inode(header.u16(14).into())),
        ("inode of the fragments", inode(header.u64(96))),
        ("extended attributes", Some(u64::from(header.u32(44)) << bits)),
    ] {
        if !offset.is_some_and(inside) {
            return Err(format!("{name} outside of the file"));
        }
    }
    Ok(())
}

fn truncated(used: u64, file_bytes: u64) -> String {
    format!("truncated: the file system has {used} bytes, the file {file_bytes}")
}

/// Little-endian numbers at fixed offsets.
struct Header<'a>(&'a [u8]);

impl Header<'_> {
    /// What is beyond the end is 0: [`check_superblock`] sees to it that nothing is.
    fn bytes<const N: usize>(&self, offset: usize) -> [u8; N] {
        let piece = self.0.get(offset..).and_then(<[u8]>::first_chunk);
        piece.copied().unwrap_or([0; N])
    }

    fn u8(&self, offset: usize) -> u8 {
        u8::from_le_bytes(self.bytes(offset))
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

    fn squashfs() -> Vec<u8> {
        let mut header = vec![0; SUPERBLOCK_BYTES];
        for (offset, bytes) in [
            (0, &b"hsqs"[..]),
            (4, &3_u32.to_le_bytes()),
            (12, &131_072_u32.to_le_bytes()),
            (20, &6_u16.to_le_bytes()),
            (22, &17_u16.to_le_bytes()),
            (26, &1_u16.to_le_bytes()),
            (28, &4_u16.to_le_bytes()),
            (32, &64_u64.to_le_bytes()),
            (40, &4000_u64.to_le_bytes()),
            (48, &3900_u64.to_le_bytes()),
            (56, &ABSENT.to_le_bytes()),
            (64, &200_u64.to_le_bytes()),
            (72, &300_u64.to_le_bytes()),
            (80, &400_u64.to_le_bytes()),
            (88, &ABSENT.to_le_bytes()),
        ] {
            header[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        header
    }

    /// As `mkfs.erofs -zlz4hc` makes it.
    fn erofs() -> Vec<u8> {
        let mut header = vec![0; SUPERBLOCK_BYTES];
        for (offset, bytes) in [
            (0, &[0xe2, 0xe1, 0xf5, 0xe0][..]),
            (8, &[3]),
            (12, &[12]),
            (14, &[36]),
            (16, &[5]),
            (36, &[2]),
            (80, &[1]),
            (84, &[0xff, 0xff]),
        ] {
            let offset = EROFS_OFFSET + offset;
            header[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        header
    }

    fn every_lie_is_named(kind: LayerMediaType, start: usize, lies: &[(usize, &[u8], &str)]) {
        let sound = || if start == 0 { squashfs() } else { erofs() };
        for (offset, bytes, expected) in lies {
            let (mut header, offset) = (sound(), start + offset);
            header[offset..offset + bytes.len()].copy_from_slice(bytes);
            let problem = check_superblock(kind, &header, FILE_BYTES).unwrap_err();
            assert!(problem.contains(expected), "{offset}: {problem}");
        }
    }

    #[test]
    fn sound_superblocks_pass() {
        check_superblock(LayerMediaType::Squashfs, &squashfs(), FILE_BYTES).unwrap();
        check_superblock(LayerMediaType::Squashfs, &squashfs(), 4000).unwrap();
        check_superblock(LayerMediaType::Erofs, &erofs(), FILE_BYTES).unwrap();
    }

    #[test]
    fn a_short_file_has_no_superblock() {
        for (kind, header, bytes) in [
            (LayerMediaType::Squashfs, squashfs(), SQUASHFS_BYTES),
            (LayerMediaType::Erofs, erofs(), SUPERBLOCK_BYTES),
        ] {
            for length in [0, bytes / 2, bytes - 1] {
                let problem = check_superblock(kind, &header[..length], FILE_BYTES).unwrap_err();
                assert_eq!(problem, "shorter than a superblock");
            }
        }
    }

    #[test]
    fn one_kind_is_not_taken_for_the_other() {
        assert!(check_superblock(LayerMediaType::Erofs, &squashfs(), FILE_BYTES).is_err());
        assert!(check_superblock(LayerMediaType::Squashfs, &erofs(), FILE_BYTES).is_err());
    }

    #[test]
    fn every_lie_of_a_squashfs_is_named() {
        let lies: [(usize, &[u8], &str); 24] = [
            (0, b"sqsh", "not a squashfs"),
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
            (56, &[0; 8], "extended attribute table"),
            (64, &[95, 0], "inode table outside"),
            (64, &[44, 1], "inode table after"),
            (72, &[0xa0, 0x0f], "directory table"),
            (80, &[1, 0], "fragment table"),
            (88, &[0xff, 0xff, 0, 0, 0, 0, 0, 0], "export table"),
            (32, &[0, 32], "root directory"),
            (34, &[100], "root directory"),
            (34, &[0xff; 6], "root directory"),
        ];
        every_lie_is_named(LayerMediaType::Squashfs, 0, &lies);
    }

    #[test]
    fn every_lie_of_an_erofs_is_named() {
        let lies: [(usize, &[u8], &str); 18] = [
            (0, b"eros", "not an EROFS"),
            (12, &[8], "block size 2^8"),
            (12, &[13], "block size 2^13"),
            (12, &[255], "block size 2^255"),
            (13, &[1], "1 extensions"),
            (14, &[0, 1], "root directory"),
            (14, &[0xff, 0xff], "root directory"),
            (36, &[3], "truncated"),
            (36, &[0xff; 4], "truncated"),
            (36, &[0], "root directory"),
            (40, &[0xff; 4], "root directory"),
            (44, &[2], "extended attributes"),
            (80, &[0x40], "features 0x40"),
            (80, &[1, 0, 0, 0x80], "features 0x80000001"),
            (80, &[2, 0, 0, 0, 0x10, 0], "compressors 0x10"),
            (86, &[1], "1 extra devices"),
            (90, &[1], "directories' 2^1"),
            (96, &[0xff; 8], "inode of the fragments"),
        ];
        every_lie_is_named(LayerMediaType::Erofs, EROFS_OFFSET, &lies);
    }
}
