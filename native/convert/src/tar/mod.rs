//! Reads tar archives: ustar, PAX and GNU.
