//! Two threads against each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Calls of the launcher in each race.
pub(crate) const TRIES: u32 = 300;

/// Ends the attack when the race is over, also when it ends with a failed assertion.
pub(crate) struct Stop<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `call` [`TRIES`] times while another thread, in the same mount namespace, runs `attack`
/// over and over.
pub(crate) fn race(attack: impl Fn() + Sync, mut call: impl FnMut()) {
    let (stop, turns) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                attack();
                turns.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _stop = Stop(&stop);
        for _ in 0..TRIES {
            call();
        }
    });
    assert!(turns.into_inner() > 10, "no race took place");
}
