//! Threads that work on one job each.

use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::SquashfsError;

/// Each job has a channel of its own for its result. So results are taken in any order, and a
/// thread that panics closes the channel of its job, which nobody then waits for in vain.
pub(super) struct Pool<J, R> {
    /// `None` while it is dropped.
    jobs: Option<Sender<(J, SyncSender<R>)>>,
    threads: Vec<JoinHandle<()>>,
}

impl<J: Send + 'static, R: Send + 'static> Pool<J, R> {
    /// Starts the threads. `worker` makes what each of them does.
    pub(super) fn start<W: FnMut(J) -> R + Send + 'static>(
        threads: NonZeroUsize,
        mut worker: impl FnMut() -> Result<W, SquashfsError>,
    ) -> Result<Self, SquashfsError> {
        let (jobs, queue) = mpsc::channel::<(J, SyncSender<R>)>();
        let queue = Arc::new(Mutex::new(queue));
        let mut pool = Self { jobs: Some(jobs), threads: Vec::with_capacity(threads.get()) };
        for number in 0..threads.get() {
            let queue = Arc::clone(&queue);
            let mut work = worker()?;
            let run = move || {
                while let Some((job, result)) = next(&queue) {
                    // Refused when the writer was dropped meanwhile.
                    let _ = result.send(work(job));
                }
            };
            let thread = Builder::new().name(format!("squashfs-{number}")).spawn(run);
            pool.threads.push(thread.map_err(|source| SquashfsError::Thread { source })?);
        }
        Ok(pool)
    }

    /// Gives a job to the next free thread. Its result comes through the channel.
    pub(super) fn submit(&self, job: J) -> Result<Receiver<R>, SquashfsError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or(SquashfsError::Panicked)?;
        // Nobody takes jobs any more once all threads have panicked.
        jobs.send((job, sender)).map_err(|_| SquashfsError::Panicked)?;
        Ok(receiver)
    }
}

fn next<T>(queue: &Mutex<Receiver<T>>) -> Option<T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

impl<J, R> Drop for Pool<J, R> {
    /// Waits for the threads: there is at most a queue of blocks left to compress.
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic was reported through the channel of the job.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> Pool<u32, u32> {
        let worker = || {
            Ok(|job: u32| {
                assert!(job != 7, "this job panics");
                job * 2
            })
        };
        Pool::start(NonZeroUsize::new(threads).unwrap(), worker).unwrap()
    }

    #[test]
    fn results_are_the_jobs_own() {
        let pool = pool(3);
        let results: Vec<_> = (10..50).map(|job| pool.submit(job).unwrap()).collect();
        for (job, result) in (10..50).zip(results) {
            assert_eq!(result.recv(), Ok(job * 2));
        }
    }

    #[test]
    fn a_panic_ends_the_wait_for_its_job_and_no_other() {
        let pool = pool(2);
        let panicked = pool.submit(7).unwrap();
        let sound = pool.submit(8).unwrap();
        panicked.recv().unwrap_err();
        assert_eq!(sound.recv(), Ok(16));
    }

    #[test]
    fn jobs_are_refused_or_lost_once_all_threads_panicked() {
        let pool = pool(1);
        pool.submit(7).unwrap().recv().unwrap_err();
        // The thread may still be on its way out, and then drops what it never takes.
        if let Ok(result) = pool.submit(8) {
            result.recv().unwrap_err();
        }
    }
}
