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
pub const SUPERBLOCK_BYTES: usize = EROFS_OFFSET + EROFS_BYTES;

/// Checks a layer's first [`SUPERBLOCK_BYTES`] bytes, or all of a smaller file, against the kind
/// of file system the request names and the size of the file.
///
/// # Errors
///
/// The problem in words, what was found and what is allowed.
pub fn check_superblock(kind: LayerMediaType, start: &[u8], file_bytes: u64) -> Result<(), String> {
    let (offset, length) = match kind {
        LayerMediaType::Squashfs => (0, SQUASHFS_BYTES),
        LayerMediaType::Erofs => (EROFS_OFFSET, EROFS_BYTES),
    };
    let header = start.get(offset..).and_then(|rest| rest.get(..length));
    let header = header.ok_or("shorter than a superblock")?;
    // Little-endian numbers at fixed offsets.
    let field = |offset: usize, bytes: usize| {
        let field = header.iter().skip(offset).take(bytes).rev();
        field.fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    match kind {
        LayerMediaType::Squashfs => check_squashfs(field, file_bytes),
        LayerMediaType::Erofs => check_erofs(field, file_bytes),
    }
}

fn must(holds: bool, problem: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem.into()) }
}

fn must_fit(used: u64, file_bytes: u64) -> Result<(), String> {
    let problem = format!("truncated: the file system has {used} bytes, the file {file_bytes}");
    must(used <= file_bytes, problem)
}

const SQUASHFS_BYTES: usize = 96;
const SQUASHFS_MAGIC: u64 = 0x7371_7368;
const SQUASHFS_BLOCKS: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 20;
/// gzip, lzo, xz, lz4 and zstd; lzma is no format of this version.
const SQUASHFS_COMPRESSORS: [u64; 5] = [1, 3, 4, 5, 6];
/// What an absent table has instead of an offset.
const ABSENT: u64 = u64::MAX;
/// The size of a metadata block when unpacked.
const METADATA_BYTES: u64 = 8192;

fn check_squashfs(field: impl Fn(usize, usize) -> u64, file_bytes: u64) -> Result<(), String> {
    must(field(0, 4) == SQUASHFS_MAGIC, "not a squashfs file")?;
    let (major, minor) = (field(28, 2), field(30, 2));
    must((major, minor) == (4, 0), format!("squashfs version {major}.{minor}, must be 4.0"))?;
    let (block_size, logarithm) = (field(12, 4), field(22, 2));
    must(
        SQUASHFS_BLOCKS.contains(&block_size)
            && block_size.is_power_of_two()
            && u64::from(block_size.ilog2()) == logarithm,
        format!(
            "block size {block_size} with logarithm {logarithm}; must be a power of two from 4096 \
             to 1048576"
        ),
    )?;
    let compressor = field(20, 2);
    let known = SQUASHFS_COMPRESSORS.contains(&compressor);
    must(known, format!("compressor {compressor}; must be gzip, lzo, xz, lz4 or zstd"))?;
    let used = field(40, 8);
    must_fit(used, file_bytes)?;
    must(field(4, 4) != 0 && field(26, 2) != 0, "no inodes or no ids")?;
    for (name, offset, optional) in [
        ("id", 48, false),
        ("inode", 64, false),
        ("directory", 72, false),
        ("extended attribute", 56, true),
        ("fragment", 80, true),
        ("export", 88, true),
    ] {
        let start = field(offset, 8);
        let inside = start >= 96 && start < used;
        must(inside || optional && start == ABSENT, format!("{name} table outside of the file"))?;
    }
    let (inodes, directories) = (field(64, 8), field(72, 8));
    must(inodes < directories, "inode table after directory table")?;
    // A reference is the block's distance from the table's start, then the place in the block.
    let (block, place) = (field(34, 6), field(32, 2));
    let inside = inodes.checked_add(block).is_some_and(|block| block < directories);
    must(inside && place < METADATA_BYTES, "root directory outside of the inode table")
}

const EROFS_OFFSET: usize = 1024;
const EROFS_BYTES: usize = 128;
const EROFS_MAGIC: u64 = 0xe0f5_e1e2;
/// No kernel mounts blocks larger than its pages.
const EROFS_BLOCK_BITS: std::ops::RangeInclusive<u64> = 9..=12;
/// LZ4, its configuration with big clusters, chunked files, a second compressor, packed tails,
/// fragments. What later kernels added moves or adds structures that this check does not know.
const EROFS_FEATURES: u64 = 0x3f;
/// The feature that says which compressors are used.
const EROFS_CONFIGURED: u64 = 0x02;
/// LZ4, LZMA, deflate and zstd.
const EROFS_COMPRESSORS: u64 = 0x0f;
const EROFS_INODE_BYTES: u64 = 32;

fn check_erofs(field: impl Fn(usize, usize) -> u64, file_bytes: u64) -> Result<(), String> {
    must(field(0, 4) == EROFS_MAGIC, "not an EROFS file")?;
    let features = field(80, 4);
    let problem = format!("features {features:#x}; must be none beyond {EROFS_FEATURES:#x}");
    must(features & !EROFS_FEATURES == 0, problem)?;
    let (bits, directory_bits, extensions) = (field(12, 1), field(90, 1), field(13, 1));
    must(
        EROFS_BLOCK_BITS.contains(&bits) && directory_bits == 0 && extensions == 0,
        format!(
            "block size 2^{bits}, directories' 2^{directory_bits} times that, {extensions} \
             extensions; must be 2^9 to 2^12, 2^0 and none"
        ),
    )?;
    let compressors = field(84, 2);
    must(
        features & EROFS_CONFIGURED == 0 || compressors & !EROFS_COMPRESSORS == 0,
        format!("compressors {compressors:#x}; must be none beyond LZ4, LZMA, deflate and zstd"),
    )?;
    // Kernels before 6.4 take the names of other devices from the file, and open them as root.
    let devices = field(86, 2);
    must(devices == 0, format!("{devices} extra devices, must be none"))?;
    let used = field(36, 4) << bits;
    must_fit(used, file_bytes)?;
    let metadata = field(40, 4) << bits;
    let inode = |number: u64| number.checked_mul(EROFS_INODE_BYTES)?.checked_add(metadata);
    for (name, start) in [
        ("root directory", inode(field(14, 2))),
        ("inode of the fragments", inode(field(96, 8))),
        ("extended attributes", Some(field(44, 4) << bits)),
    ] {
        let end = start.and_then(|start| start.checked_add(EROFS_INODE_BYTES));
        must(end.is_some_and(|end| end <= used), format!("{name} outside of the file"))?;
    }
    Ok(())
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
