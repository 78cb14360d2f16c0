//! File system work off the runtime's own threads.

use tracing::Span;

use crate::error::StoreError;

/// Runs `work` where it may block, in the caller's span. It runs to its end even if the caller goes away.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let span = Span::current();
    let task = tokio::task::spawn_blocking(move || span.in_scope(work));
    task.await.unwrap_or(Err(StoreError::TaskEnded { operation }))
}
