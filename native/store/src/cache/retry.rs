//! Another try after a failure that may pass.

use std::time::Duration;

use crate::error::{ErrorKind, StoreError};
use crate::location::Location;

/// How many tries in a row may bring nothing. The pauses between them add up to about 20 seconds:
/// enough for a server that is started anew, and short for a slot that waits.
const TRIES: u32 = 8;
/// The pause after the first failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// The failures in a row of one piece of work.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    failures: u32,
}

impl Retries {
    /// Waits until it is time for the next try; gives the error back when there should be none.
    pub(crate) async fn pause(&mut self, error: StoreError) -> Result<(), StoreError> {
        self.failures = self.failures.saturating_add(1);
        if error.kind() != ErrorKind::Unreachable || self.failures >= TRIES {
            return Err(error);
        }
        let pause = pause_after(self.failures).mul_f64(fastrand::f64() / 2.0 + 0.5);
        tracing::warn!(pause_millis = pause.as_millis(), "trying again: {error}");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Some of the work was done: the failures before it do not count any more.
    pub(crate) fn progressed(&mut self) {
        self.failures = 0;
    }
}

/// The longest pause after so many failures.
fn pause_after(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
}

/// Does the work again as long as it fails in a way that may pass. What one try holds is free
/// during the pause after it.
pub(crate) async fn retry<T, W>(mut work: impl FnMut() -> W) -> Result<T, StoreError>
where
    W: Future<Output = Result<T, StoreError>>,
{
    let mut retries = Retries::default();
    loop {
        match work().await {
            Err(error) => retries.pause(error).await?,
            done => return done,
        }
    }
}

/// Bounds what a remote store may take.
pub(crate) async fn within<T>(
    limit: Duration,
    operation: &'static str,
    location: &Location,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(StoreError::NoAnswer { operation, location: location.clone(), limit })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location() -> Location {
        Location::parse("/srv/x").unwrap()
    }

    async fn tries(
        outcomes: impl Fn(u32) -> Result<(), StoreError>,
    ) -> (u32, Result<(), StoreError>) {
        let mut tries = 0;
        let outcome = retry(|| {
            tries += 1;
            std::future::ready(outcomes(tries))
        })
        .await;
        (tries, outcome)
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again_and_nothing_else() {
        let passing = || StoreError::NoAnswer {
            operation: "read",
            location: location(),
            limit: Duration::from_secs(1),
        };
        let (count, outcome) = tries(|_| Ok(())).await;
        assert!(count == 1 && outcome.is_ok());
        let (count, outcome) = tries(|count| if count < 3 { Err(passing()) } else { Ok(()) }).await;
        assert!(count == 3 && outcome.is_ok());
        let (count, outcome) = tries(|_| Err(passing())).await;
        assert_eq!((count, outcome.unwrap_err().kind()), (TRIES, ErrorKind::Unreachable));
        let lasting = || StoreError::Changed { location: location() };
        let (count, outcome) = tries(|_| Err(lasting())).await;
        assert_eq!((count, outcome.unwrap_err().kind()), (1, ErrorKind::Mismatch));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_never_answers_fails_in_bounded_time() {
        let begin = tokio::time::Instant::now();
        let limit = Duration::from_secs(3);
        let location = location();
        let outcome: Result<(), _> =
            retry(|| within(limit, "stat", &location, std::future::pending())).await;
        let message = outcome.unwrap_err().to_string();
        assert_eq!(message, "cannot stat file:///srv/x: no answer for 3 seconds");
        let pauses: Duration = (1..TRIES).map(pause_after).sum();
        assert!(begin.elapsed() <= limit * TRIES + pauses);
        assert!(pauses < Duration::from_secs(30));
    }
}
