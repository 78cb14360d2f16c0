//! Ports for daemons that must be told one before they start.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

use crate::error::TestbedError;

/// Below the range that the kernel gives to clients' connections (32768 and up): a port from here
/// cannot be taken by one between this choice and the daemon's start, or while it is restarted.
const FIRST: u16 = 18_000;
const COUNT: u16 = 14_000;
const TRIES: u64 = 200;

/// A port that is free on all these addresses.
pub(crate) fn free(addresses: &[Ipv4Addr]) -> Result<u16, TestbedError> {
    let random = RandomState::new();
    for attempt in 0..TRIES {
        let offset = random.hash_one(attempt) % u64::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap_or_default();
        let held: Result<Vec<_>, _> =
            addresses.iter().map(|address| TcpListener::bind((*address, port))).collect();
        if held.is_ok() {
            return Ok(port);
        }
    }
    Err(TestbedError::new("find a free port", format_args!("none of {TRIES} was free")))
}

/// A port that is free on `127.0.0.1`.
pub(crate) fn free_local() -> Result<u16, TestbedError> {
    free(&[Ipv4Addr::LOCALHOST])
}
