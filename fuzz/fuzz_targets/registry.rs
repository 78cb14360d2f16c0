//! What a registry sends for a tag: an index or a manifest, what the index names, and a config.
//!
//! What is accepted the store's own reader accepts too, and reads in it the same config and layers;
//! it has no more layers and bytes than the limits, and its config is for the platform. However
//! indexes name each other, few are fetched; and no message is long or has two lines.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| storm_oci_fuzz::registry(input));
