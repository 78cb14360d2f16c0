//! A manifest of an image.
//!
//! What is accepted has digests of 64 hex digits, the ones that are in the document, and at most 127
//! layers; and it is no index.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| storm_oci_fuzz::manifest(input));
