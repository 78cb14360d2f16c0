//! System calls around mounts that no crate of ours wraps.
//!
//! Each function is as small as the call it wraps, and safe to call with any arguments.
#![expect(unsafe_code, reason = "mount_setattr and unshare have no safe wrapper")]

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::sys::check;

/// Gives this process a mount namespace of its own, a copy of the present one.
///
/// # References
///
/// `unshare(2)`
pub(crate) fn unshare_mounts() -> Result<(), Errno> {
    // SAFETY: no pointers; with one thread only, nobody else's view changes.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })
}

/// Whether this kernel has `mount_setattr`: without a structure it says what is wrong instead.
///
/// # References
///
/// `mount_setattr(2)`
pub(crate) fn has_mount_setattr() -> bool {
    let nothing = std::ptr::null::<libc::mount_attr>();
    // SAFETY: the kernel refuses a size of 0 before it looks at the structure.
    let result = unsafe {
        libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, c"".as_ptr(), 0, nothing, 0)
    };
    check(result) != Err(Errno::NOSYS)
}

/// The number of the mount that a file was opened on; `None` where its file system does not tell.
///
/// # References
///
/// `name_to_handle_at(2)`
pub(crate) fn mount_id(file: impl AsFd) -> Option<i32> {
    let mut handle = libc::file_handle { handle_bytes: 0, handle_type: 0, f_handle: [] };
    let mut id = 0;
    // SAFETY: an empty NUL-terminated path, a handle without room, and a valid pointer for the id.
    let result = unsafe {
        libc::name_to_handle_at(
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            &raw mut handle,
            &raw mut id,
            libc::AT_EMPTY_PATH,
        )
    };
    // The handle does not fit, which is said after the id was written.
    (check(result) == Err(Errno::OVERFLOW)).then_some(id)
}

/// Makes a mount, and with `recursive` all below it, private, `nosuid` and `nodev`, and with
/// `read_only` read-only too.
///
/// # References
///
/// `mount_setattr(2)`
pub(crate) fn restrict_mount(
    mount: impl AsFd,
    read_only: bool,
    recursive: bool,
) -> Result<(), Errno> {
    let mut set = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    if read_only {
        set |= libc::MOUNT_ATTR_RDONLY;
    }
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    let flags =
        if recursive { libc::AT_EMPTY_PATH | libc::AT_RECURSIVE } else { libc::AT_EMPTY_PATH };
    // SAFETY: an empty NUL-terminated path, and a valid structure of the size that is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
}
