//! The superblock of a squashfs layer; the last eight bytes of the input are the file's size.
//!
//! An accepted superblock has the kernel's magic and version, and all of its tables and its root
//! directory lie behind it and within the bytes it claims, which the file has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use storm_oci_request::{LayerMediaType, check_superblock};

fuzz_target!(|input: &[u8]| {
    let Some((start, size)) = input.split_last_chunk() else {
        return;
    };
    let size = u64::from_le_bytes(*size);
    if let Err(problem) = check_superblock(LayerMediaType::Squashfs, start, size) {
        assert!(!problem.is_empty() && problem.len() < 300);
        return;
    }
    let number = |offset: usize, bytes: usize| {
        let piece = start[offset..offset + bytes].iter().rev();
        piece.fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    assert_eq!(&start[..4], b"hsqs");
    assert_eq!((number(28, 2), number(30, 2)), (4, 0));
    let (block, logarithm) = (number(12, 4), number(22, 2));
    assert!(block == 1 << logarithm && (12..=20).contains(&logarithm));
    assert!(matches!(number(20, 2), 1 | 3..=6));
    let used = number(40, 8);
    assert!(used <= size);
    let inside = |offset: u64| (96..used).contains(&offset);
    for table in [48, 64, 72] {
        assert!(inside(number(table, 8)), "{table}");
    }
    for table in [56, 80, 88] {
        let offset = number(table, 8);
        assert!(inside(offset) || offset == u64::MAX, "{table}");
    }
    let root = number(64, 8) + (number(32, 8) >> 16);
    assert!(inside(root) && root < number(72, 8) && number(32, 8) & 0xffff < 8192);
});
