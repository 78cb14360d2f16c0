//! The superblock of an EROFS layer; the last eight bytes of the input are the file's size.
//!
//! An accepted superblock has the kernel's magic, no further devices, no feature that is unknown,
//! and its root directory and tables lie within the bytes it claims, which the file has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use storm_oci_request::{LayerMediaType, check_superblock};

/// Where the superblock begins.
const START: usize = 1024;

fuzz_target!(|input: &[u8]| {
    // The kilobyte before the superblock is no part of it: the input leaves it out.
    let Some((header, size)) = input.split_last_chunk() else {
        return;
    };
    let size = u64::from_le_bytes(*size);
    let file = [&[0; START], header].concat();
    if let Err(problem) = check_superblock(LayerMediaType::Erofs, &file, size) {
        assert!(!problem.is_empty() && problem.len() < 300);
        return;
    }
    let number = |offset: usize, bytes: usize| {
        let piece = header[offset..offset + bytes].iter().rev();
        piece.fold(0_u128, |number, byte| number << 8 | u128::from(*byte))
    };
    assert_eq!(number(0, 4), 0xe0f5_e1e2);
    assert_eq!(number(86, 2), 0, "devices");
    assert_eq!(number(80, 4) & !0x3f, 0, "features");
    let bits = number(12, 1);
    assert!((9..=12).contains(&bits));
    let used = number(36, 4) << bits;
    assert!(used <= u128::from(size));
    let metadata = number(40, 4) << bits;
    for inode in [number(14, 2), number(96, 8)] {
        assert!(metadata + inode * 32 + 32 <= used);
    }
    assert!((number(44, 4) << bits) + 32 <= used);
});
