//! Writes squashfs 4.0.
