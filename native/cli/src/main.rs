//! `storm-oci`, the operator's command.
#![forbid(unsafe_code)]

fn main() {}
