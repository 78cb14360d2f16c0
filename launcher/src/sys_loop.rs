//! Loop devices: a file as a block device, read-only, gone with its last user.
#![expect(unsafe_code, reason = "no crate of ours wraps the loop driver's requests")]

use std::os::fd::{AsFd, AsRawFd};

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;

use crate::switches::without;
use crate::sys::check;
use crate::sys_file::open;

/// How often a device that the kernel called free may turn out to be taken.
const ATTEMPTS: u32 = 1000;

/// Attaches `backing`, which must be open for reading, to a free loop device.
///
/// Returns the device and its path. The kernel detaches it when nobody has it open or mounted.
///
/// # References
///
/// `loop(4)`
pub(crate) fn attach_loop(backing: impl AsFd) -> Result<(OwnedFd, String), Errno> {
    let control = open(CWD, "/dev/loop-control", OFlags::RDWR)?;
    let mut last = Errno::BUSY;
    for _ in 0..ATTEMPTS {
        let path = format!("/dev/loop{}", ask(&control, LOOP_CTL_GET_FREE, 0)?);
        let device = open(CWD, &path, OFlags::RDONLY | OFlags::NOFOLLOW);
        match device.and_then(|device| configure(&device, &backing).map(|()| (device, path))) {
            // Somebody took it meanwhile, or its node is not there yet.
            Err(source @ (Errno::BUSY | Errno::NXIO | Errno::NOENT)) => last = source,
            outcome => return outcome,
        }
    }
    Err(last)
}

/// Attaches `backing` read-only, to be detached with the device's last user.
fn configure(device: &OwnedFd, backing: &impl AsFd) -> Result<(), Errno> {
    let backing = backing.as_fd().as_raw_fd();
    let mut config = [0; CONFIG_WORDS];
    config[0] = u32::try_from(backing).map_err(|_| Errno::BADF)?;
    config[INFO + INFO_FLAGS] = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
    if !without("loop-configure") {
        match tell(device, LOOP_CONFIGURE, &config) {
            Err(Errno::INVAL | Errno::NOTTY) => {}
            outcome => return outcome,
        }
    }
    // Before Linux 5.8, in two steps. What was opened for reading is attached read-only.
    ask(device, LOOP_SET_FD, backing)?;
    config = [0; CONFIG_WORDS];
    config[INFO_FLAGS] = LO_FLAGS_AUTOCLEAR;
    tell(device, LOOP_SET_STATUS64, &config).inspect_err(|_| {
        let _failed_already = ask(device, LOOP_CLR_FD, 0);
    })
}

const LOOP_SET_FD: libc::Ioctl = 0x4C00;
const LOOP_CLR_FD: libc::Ioctl = 0x4C01;
const LOOP_SET_STATUS64: libc::Ioctl = 0x4C04;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// The size of `struct loop_config` of `linux/loop.h` in 32-bit words. Its first is the backing
/// file's descriptor; what is not named here is 0.
const CONFIG_WORDS: usize = 76;
/// Where it has a `struct loop_info64`.
const INFO: usize = 2;
/// Where that has its flags.
const INFO_FLAGS: usize = 13;

/// Makes a request whose argument is a number.
fn ask(device: &OwnedFd, request: libc::Ioctl, argument: i32) -> Result<i32, Errno> {
    // SAFETY: no pointers: each request that is passed here takes a number or nothing.
    let answer = unsafe { libc::ioctl(device.as_raw_fd(), request, argument) };
    check(answer).map(|()| answer)
}

/// Makes a request whose argument is a structure of up to [`CONFIG_WORDS`] words.
fn tell(
    device: &OwnedFd,
    request: libc::Ioctl,
    argument: &[u32; CONFIG_WORDS],
) -> Result<(), Errno> {
    // SAFETY: the two requests that are passed here read a structure that is no larger than this
    // one, and write nothing.
    check(unsafe { libc::ioctl(device.as_raw_fd(), request, argument.as_ptr()) })
}
