//! A file in somebody's memory, which only an unsafe call can put there.
#![allow(unsafe_code, reason = "mapping a file has no safe wrapper")]

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::path::Path;

/// One writable page of a file, without any descriptor of it.
pub(crate) struct Mapping(*mut libc::c_void);

const BYTES: usize = 4096;

/// Maps the first page of a file for writing, and closes the file.
pub(crate) fn writable(path: &Path) -> Mapping {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("open for writing");
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at a place of the kernel's choice, which nobody reads or writes.
    let page = unsafe {
        libc::mmap(std::ptr::null_mut(), BYTES, access, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    assert_ne!(page, libc::MAP_FAILED, "map a file");
    Mapping(page)
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping made above, which nobody refers to.
        unsafe { libc::munmap(self.0, BYTES) };
    }
}
