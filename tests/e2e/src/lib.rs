//! The demo and the end-to-end tests on real Storm.
