//! An image index; the last byte of the input chooses the platform.
//!
//! The chosen digest is one of the index, of an entry for that platform; an error stays short; and an
//! index is no manifest.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| storm_oci_fuzz::index(input));
