//! One fetch at a time for each digest within this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::digest::Digest;
use crate::error::StoreError;

/// How a layer came to be in the cache.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Landed {
    /// The layer's size.
    pub(crate) bytes: u64,
    /// Whether this caller's own fetch brought it.
    pub(crate) fetched: bool,
}

/// `None` while its leader is on the way.
type Outcome = Option<Result<Landed, StoreError>>;

/// The fetches under way.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    running: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<Outcome>>>>,
}

impl Flights {
    /// Runs `fetch`, or waits for the one that runs already and takes its outcome, good or bad.
    ///
    /// If the caller that runs it goes away, the next one in line runs its own.
    pub(crate) async fn join(
        &self,
        digest: &Digest,
        fetch: impl Future<Output = Result<Landed, StoreError>>,
    ) -> Result<Landed, StoreError> {
        let flight = Arc::clone(self.lock().entry(digest.clone()).or_default());
        let mut outcome = flight.lock().await;
        if let Some(landed) = outcome.as_ref() {
            return landed.clone().map(|landed| Landed { fetched: false, ..landed });
        }
        let landed = fetch.await;
        *outcome = Some(landed.clone());
        // From here on new callers look at the disk again.
        self.lock().remove(digest);
        landed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Arc<tokio::sync::Mutex<Outcome>>>> {
        // The map is whole at every point where a panic could strike.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LANDED: Landed = Landed { bytes: 7, fetched: true };

    fn failure() -> StoreError {
        StoreError::NoTagMap
    }

    #[tokio::test]
    async fn waiters_share_the_outcome_and_later_callers_do_not() {
        let (flights, digest) = (Flights::default(), Digest::of(b"x"));
        let runs = AtomicUsize::new(0);
        for outcome in [Ok(LANDED), Err(failure())] {
            let fetch = || async {
                runs.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                outcome.clone()
            };
            let (leader, waiter) =
                tokio::join!(flights.join(&digest, fetch()), flights.join(&digest, fetch()));
            match outcome {
                Ok(_) => {
                    assert_eq!(leader.unwrap(), LANDED);
                    assert_eq!(waiter.unwrap(), Landed { fetched: false, ..LANDED });
                }
                Err(_) => assert!(leader.is_err() && waiter.is_err()),
            }
        }
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn a_waiter_takes_over_from_a_leader_that_goes_away() {
        let (flights, digest) = (Flights::default(), Digest::of(b"x"));
        let mut leader = Box::pin(flights.join(&digest, future::pending()));
        tokio::select! {
            biased;
            _ = &mut leader => unreachable!("its fetch never ends"),
            () = tokio::task::yield_now() => {}
        }
        let mut waiter = Box::pin(flights.join(&digest, future::ready(Ok(LANDED))));
        tokio::select! {
            biased;
            _ = &mut waiter => panic!("it did not wait"),
            () = tokio::task::yield_now() => {}
        }
        drop(leader);
        assert_eq!(waiter.await.unwrap(), LANDED);
    }
}
