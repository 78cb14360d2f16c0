//! A layer's archive.
//!
//! It reads the same whatever the size of the pieces it comes in, contents are as long as their
//! headers say, and no more than the limits is taken. A tree has only names, links, devices and
//! attributes that a file system can have, each directory once; no whiteout's name is left, and no
//! mark of overlayfs but `opaque` on directories. The same entries make the same tree.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| storm_oci_fuzz::layer(input));
