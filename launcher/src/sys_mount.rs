//! System calls around mounts and loop devices that no crate of ours wraps.
//!
//! Each function is as small as the call it wraps, and safe to call with any arguments.
#![expect(
    unsafe_code,
    reason = "mount_setattr, unshare and the loop driver's ioctls have no safe wrapper"
)]

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// Gives this process a mount namespace of its own, a copy of the present one.
///
/// # References
///
/// `unshare(2)`
pub(crate) fn unshare_mounts() -> Result<(), Errno> {
    // SAFETY: no pointers; with one thread only, nobody else's view changes.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }.into())
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

const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_config` of `linux/loop.h`, with `struct loop_info64` in it.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// The number of a loop device that is free now; somebody else may take it first.
///
/// # References
///
/// `loop(4)`
pub(crate) fn free_loop_number(control: impl AsFd) -> Result<u32, Errno> {
    // SAFETY: the request takes no argument.
    let number = unsafe { libc::ioctl(control.as_fd().as_raw_fd(), LOOP_CTL_GET_FREE) };
    check(number.into())?;
    u32::try_from(number).map_err(|_| Errno::INVAL)
}

/// Attaches `backing` to a loop device, read-only and cleared with its last user.
///
/// # References
///
/// `loop(4)`; `LOOP_CONFIGURE` is Linux 5.8's
pub(crate) fn configure_loop(device: impl AsFd, backing: impl AsFd) -> Result<(), Errno> {
    let config = LoopConfig {
        fd: u32::try_from(backing.as_fd().as_raw_fd()).map_err(|_| Errno::BADF)?,
        block_size: 0,
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: a valid structure of the layout the request expects, alive for the whole call.
    let result =
        unsafe { libc::ioctl(device.as_fd().as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    check(result.into())
}

fn check(result: i64) -> Result<(), Errno> {
    if result >= 0 {
        return Ok(());
    }
    let raw = std::io::Error::last_os_error().raw_os_error();
    Err(raw.map_or(Errno::INVAL, Errno::from_raw_os_error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_structure_has_the_kernels_size() {
        assert_eq!(size_of::<LoopConfig>(), 304);
    }
}
