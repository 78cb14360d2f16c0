//! Waits for containers to end: one thread for all of them, asleep until something happens.
//!
//! A container's end is the end of its first process, seen through a pidfd. Its monitor then
//! writes how it ended, usually at once; but this account may have killed the monitor, so nobody
//! waits for it longer than [`MONITOR_GRACE`].

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;
use storm_oci_request::{ContainerId, LaunchRecord, ProcessRecord, WorkerId};
use tracing::{error, warn};

use crate::end::{End, Known};
use crate::ends::Ends;
use crate::error::SupervisorError;
use crate::process;
use crate::records::ExitFile;
use crate::scope;

/// How long the end of a container's monitor is waited for. One that was killed is not: only one
/// that is stopped, or that a busy host does not let run, takes this long.
pub(crate) const MONITOR_GRACE: Duration = Duration::from_secs(5);

/// The epoll mark of the fd that wakes the thread.
const WAKE: u64 = 0;

/// What an epoll mark is made of: the number of the container, shifted, and this bit for its
/// monitor.
const MONITOR_BIT: u64 = 1;

/// Watches containers and tells how they ended.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A container to watch, its processes opened.
#[derive(Debug)]
pub(crate) struct Watched {
    container: ContainerId,
    /// `None` when it has ended already.
    init: Option<OwnedFd>,
    monitor: Option<OwnedFd>,
    exit: Option<ExitFile>,
    known: Known,
}

impl Watched {
    /// Opens the processes that a container's record names, if they still are what it says.
    pub(crate) fn new(record: &LaunchRecord, exit: Option<ExitFile>, known: Known) -> Self {
        let open = |process: Option<ProcessRecord>, cgroup| {
            process.and_then(|process| process::open(process, cgroup))
        };
        Self {
            container: record.container_id.clone(),
            init: open(record.init, Some(&record.cgroup)),
            // The monitor is not in the container's cgroup.
            monitor: open(record.monitor, None),
            exit,
            known,
        }
    }
}

#[derive(Debug)]
struct Shared {
    epoll: OwnedFd,
    wake: OwnedFd,
    state: Mutex<State>,
    ends: Arc<Ends>,
    monitor_grace: Duration,
}

#[derive(Debug, Default)]
struct State {
    containers: HashMap<u64, Entry>,
    last_number: u64,
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    container: ContainerId,
    init: Option<OwnedFd>,
    monitor: Option<OwnedFd>,
    exit: Option<ExitFile>,
    known: Known,
    requested: bool,
    /// Set once the container has ended: until when its monitor is waited for.
    deadline: Option<Instant>,
}

impl Watch {
    /// Starts the thread, which tells `ends` of each end and waits for a monitor this long at most.
    pub(crate) fn start(ends: Arc<Ends>, monitor_grace: Duration) -> Result<Self, SupervisorError> {
        let kernel = |source: Errno| SupervisorError::Kernel {
            what: "make an epoll instance",
            source: source.into(),
        };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(kernel)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(kernel)?;
        let mark = epoll::EventData::new_u64(WAKE);
        epoll::add(&epoll, &wake, mark, epoll::EventFlags::IN).map_err(kernel)?;
        let shared = Arc::new(Shared { epoll, wake, state: Mutex::default(), ends, monitor_grace });
        let thread = std::thread::Builder::new()
            .name("storm-oci-watch".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.run()
            })
            .map_err(|source| SupervisorError::Kernel { what: "start the watch thread", source })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Watches a container from now on. One that has ended already is reported at once.
    pub(crate) fn add(&self, watched: Watched) {
        let mut state = self.shared.lock();
        let known = |entry: &Entry| entry.container == watched.container;
        if state.closed || state.containers.values().any(known) {
            return;
        }
        state.last_number = state.last_number.saturating_add(1);
        let number = state.last_number;
        let entry = Entry {
            container: watched.container,
            init: watched.init,
            monitor: watched.monitor,
            exit: watched.exit,
            known: watched.known,
            requested: false,
            deadline: None,
        };
        let watching =
            entry.init.as_ref().is_some_and(|init| self.shared.watch(init, mark(number, 0)));
        state.containers.insert(number, entry);
        if watching {
            self.shared.ends.begun();
        } else {
            self.shared.container_ended(&mut state, number);
            self.shared.wake();
        }
    }

    /// Notes that a worker's end was asked for.
    pub(crate) fn request_end(&self, worker: &WorkerId) {
        let mut state = self.shared.lock();
        for entry in state.containers.values_mut() {
            if entry.container.worker_id() == *worker {
                entry.requested = true;
            }
        }
    }

    /// Ends the thread. Containers go on.
    pub(crate) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.wake();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The thread never waits for anything but epoll; if it panicked, there is nothing to end.
        if let Some(Err(_)) = thread.map(JoinHandle::join) {
            error!(target: "storm_oci.watch", "the watch thread had panicked");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.close();
    }
}

const fn mark(number: u64, bit: u64) -> u64 {
    number << 1 | bit
}

impl Shared {
    fn run(&self) {
        let mut ready = Vec::with_capacity(64);
        loop {
            let timeout = self.next_deadline().and_then(|left| Timespec::try_from(left).ok());
            match epoll::wait(&self.epoll, spare_capacity(&mut ready), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    let error = io::Error::from(error);
                    error!(target: "storm_oci.watch", "cannot wait for containers: {error}");
                    return;
                }
            }
            let mut state = self.lock();
            if state.closed {
                return;
            }
            for event in ready.drain(..) {
                self.handle(&mut state, event.data.u64());
            }
            self.end_overdue(&mut state);
        }
    }

    fn handle(&self, state: &mut State, mark: u64) {
        if mark == WAKE {
            // Only resets the count; that it was woken is all there is to know.
            let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
        } else if mark & MONITOR_BIT == MONITOR_BIT {
            self.finish(state, mark >> 1);
        } else {
            self.container_ended(state, mark >> 1);
        }
    }

    /// The container has ended: now its monitor.
    fn container_ended(&self, state: &mut State, number: u64) {
        let Some(entry) = state.containers.get_mut(&number) else {
            return;
        };
        let _scope = scope::container(&entry.container).entered();
        // Now, since the note is removed once the worker is cleaned up after.
        entry.requested |= self.ends.was_requested(&entry.container.worker_id());
        if let Some(init) = entry.init.take() {
            // Closing the last fd of a pidfd removes it too; an error changes nothing.
            let _ = epoll::delete(&self.epoll, &init);
            self.ends.over();
        }
        let waiting = entry
            .monitor
            .as_ref()
            .is_some_and(|monitor| self.watch(monitor, mark(number, MONITOR_BIT)));
        if waiting {
            entry.deadline = Some(Instant::now() + self.monitor_grace);
        } else {
            self.finish(state, number);
        }
    }

    fn end_overdue(&self, state: &mut State) {
        let now = Instant::now();
        let overdue = |entry: &Entry| entry.deadline.is_some_and(|deadline| deadline <= now);
        let numbers: Vec<u64> = state
            .containers
            .iter()
            .filter_map(|(number, entry)| overdue(entry).then_some(*number))
            .collect();
        for number in numbers {
            self.finish(state, number);
        }
    }

    /// Tells how a container ended and forgets it.
    fn finish(&self, state: &mut State, number: u64) {
        let Some(entry) = state.containers.remove(&number) else {
            return;
        };
        let _scope = scope::container(&entry.container).entered();
        let record = match entry.exit.as_ref().map(ExitFile::read).transpose() {
            Ok(record) => record.flatten(),
            Err(error) => {
                warn!(target: "storm_oci.watch", "{}", error.report());
                None
            }
        };
        let Entry { container, requested, known, .. } = entry;
        self.ends.ended(End { container, record, requested, known, shortage: None });
    }

    fn watch(&self, fd: &OwnedFd, mark: u64) -> bool {
        let data = epoll::EventData::new_u64(mark);
        match epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN) {
            Ok(()) => true,
            Err(error) => {
                let error = io::Error::from(error);
                error!(target: "storm_oci.watch", "cannot watch a process: {error}");
                false
            }
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let state = self.lock();
        let earliest = state.containers.values().filter_map(|entry| entry.deadline).min()?;
        Some(earliest.saturating_duration_since(Instant::now()))
    }

    fn wake(&self) {
        // The count cannot overflow: the thread resets it at each wake-up.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one insert, remove or assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
