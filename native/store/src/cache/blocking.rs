//! File system work off the runtime's own threads.

use tokio::task::JoinHandle;
use tracing::Span;

use crate::error::StoreError;

/// Begins `work` where it may block, in the caller's span. It runs to its end even if the caller goes away.
pub(crate) fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
}

/// Waits for work that [`spawn`] begins.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    spawn(work).await.unwrap_or(Err(StoreError::TaskEnded { operation }))
}
