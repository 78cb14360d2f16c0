//! The asynchronous runtime that image calls run on.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};

use crate::error::SupervisorError;

/// How many threads fetch and check layers: the digests are the work, the rest is waiting.
const WORKERS: usize = 2;

/// A small runtime that does not hold up whoever drops it.
#[derive(Debug)]
pub(crate) struct Executor(Option<Runtime>);

impl Executor {
    pub(crate) fn new() -> Result<Self, SupervisorError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("storm-oci-images")
            .enable_all()
            .build()
            .map_err(|source| SupervisorError::Kernel {
                what: "start the threads that fetch images",
                source,
            })?;
        Ok(Self(Some(runtime)))
    }

    /// Runs a future to its end on the calling thread.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.as_ref().expect("the runtime is there until it is dropped").block_on(future)
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // A fetch that hangs in the kernel must not hold up the JVM's exit.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
