//! Calls that must not come too soon.

use std::future::poll_fn;
use std::mem;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::sleep;

/// Reports of datanodes arrive within a few milliseconds.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs a future that goes on only a moment after what it waits for has come.
///
/// Right after the last acknowledgement of a datanode, the client asks the namenode to complete the
/// file. The datanode's report of the block is then still on its way, more often than not; the
/// namenode says no, and the client waits for half a second before it asks again.
pub(super) async fn unhurried<T>(mut future: BoxFuture<'static, T>) -> T {
    loop {
        if let Poll::Ready(value) =
            poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
        {
            return value;
        }
        let mut is_woken = false;
        poll_fn(
            |_| if mem::replace(&mut is_woken, true) { Poll::Ready(()) } else { Poll::Pending },
        )
        .await;
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_step_comes_a_moment_late() {
        assert_eq!(unhurried(Box::pin(async { 7 })).await, 7);
        let (sender, receiver) = oneshot::channel();
        let start = Instant::now();
        let (asked, ()) = tokio::join!(
            unhurried(Box::pin(async {
                receiver.await.unwrap();
                Instant::now()
            })),
            async {
                sleep(Duration::from_secs(1)).await;
                sender.send(()).unwrap();
            }
        );
        assert_eq!(asked - start, Duration::from_secs(1) + PAUSE);
    }
}
