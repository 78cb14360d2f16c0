//! The records of a PAX header.
//!
//! What is accepted is records whose lengths add up to the header's; names and attributes come from
//! records that there are, and none has a NUL.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| storm_oci_fuzz::pax(input));
