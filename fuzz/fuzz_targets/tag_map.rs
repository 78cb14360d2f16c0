//! A tag map and the one before it.
//!
//! Malformed lines are numbered in order and are lines of the file. What a file says counts, and a
//! file with malformed lines takes no tag away. No digest can be given another meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| storm_oci_fuzz::tag_map(input));
