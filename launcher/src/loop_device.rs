//! Loop devices: a file as a block device, read-only, gone with its last user.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::sys_mount::{configure_loop, free_loop_number};

/// How often a number that the kernel called free may turn out to be taken.
const ATTEMPTS: u32 = 1000;

/// An attached loop device. The kernel detaches it when nobody has it open or mounted.
#[derive(Debug)]
pub(crate) struct LoopDevice {
    _device: OwnedFd,
    /// Its path, for the mount.
    pub(crate) path: String,
}

impl LoopDevice {
    /// Attaches `backing`, which must be open for reading.
    pub(crate) fn attach(backing: impl AsFd) -> Result<Self, Errno> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let control = openat(CWD, "/dev/loop-control", flags, Mode::empty())?;
        let mut last = Errno::BUSY;
        for _ in 0..ATTEMPTS {
            let path = format!("/dev/loop{}", free_loop_number(&control)?);
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let opened = openat(CWD, &path, flags, Mode::empty());
            let attached = opened.and_then(|device| {
                configure_loop(&device, &backing)?;
                Ok(device)
            });
            match attached {
                Ok(device) => {
                    return Ok(Self { _device: device, path });
                }
                // Somebody took it, or its node is not there yet.
                Err(source @ (Errno::BUSY | Errno::NXIO | Errno::NOENT)) => last = source,
                Err(source) => return Err(source),
            }
        }
        Err(last)
    }
}
