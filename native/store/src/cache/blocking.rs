//! File system work off the runtime's own threads.

use crate::error::StoreError;

/// Runs `work` where it may block. It runs to its end even if the caller goes away.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::TaskEnded { operation }))
}
