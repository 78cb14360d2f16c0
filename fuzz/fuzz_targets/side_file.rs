//! A layer's side file.
//!
//! What is accepted is the digest and the size that are in the document.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| storm_oci_fuzz::side_file(input));
