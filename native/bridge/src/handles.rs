//! What Java holds numbers for.
//!
//! A number is never used twice, so that a late call with an old one cannot reach something new.
//! A call keeps what it works on alive; closing only takes the number away and wakes waiters.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use storm_oci_supervisor::{Containers, EventQueue, Images};

use crate::error::BridgeError;
use crate::logs::LogSink;

/// Something Java has opened.
#[derive(Clone, Debug)]
pub(crate) enum Opened {
    Images(Arc<Images>),
    Containers(Arc<Containers>),
}

impl Opened {
    const IMAGES: &str = "images";
    const CONTAINERS: &str = "containers";

    const fn kind(&self) -> &'static str {
        match self {
            Self::Images(_) => Self::IMAGES,
            Self::Containers(_) => Self::CONTAINERS,
        }
    }
}

/// All that is open in this JVM.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: i64,
    open: HashMap<i64, Entry>,
}

impl State {
    /// Why there is nothing with this number.
    fn missing(&self, handle: i64) -> BridgeError {
        if (1..=self.last).contains(&handle) {
            BridgeError::Closed { handle }
        } else {
            BridgeError::NoHandle { handle }
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    opened: Opened,
    events: Arc<LogSink>,
}

impl Handles {
    /// Gives a number to something that was opened.
    pub(crate) fn add(&self, opened: Opened, events: LogSink) -> i64 {
        let mut state = self.lock();
        state.last = state.last.saturating_add(1);
        let handle = state.last;
        let events = Arc::new(events);
        state.open.insert(handle, Entry { opened, events });
        handle
    }

    pub(crate) fn images(&self, handle: i64) -> Result<Arc<Images>, BridgeError> {
        match self.entry(handle)?.opened {
            Opened::Images(images) => Ok(images),
            other @ Opened::Containers(_) => Err(BridgeError::WrongHandle {
                handle,
                found: other.kind(),
                expected: Opened::IMAGES,
            }),
        }
    }

    pub(crate) fn containers(&self, handle: i64) -> Result<Arc<Containers>, BridgeError> {
        match self.entry(handle)?.opened {
            Opened::Containers(containers) => Ok(containers),
            other @ Opened::Images(_) => Err(BridgeError::WrongHandle {
                handle,
                found: other.kind(),
                expected: Opened::CONTAINERS,
            }),
        }
    }

    /// The events of a handle of either kind; `None` when it is closed.
    pub(crate) fn events(&self, handle: i64) -> Result<Option<EventQueue>, BridgeError> {
        match self.entry(handle) {
            Ok(entry) => Ok(Some(entry.events.queue().clone())),
            Err(BridgeError::Closed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes a handle away and wakes who waits for its events. Calls under way go on.
    pub(crate) fn close(&self, handle: i64) -> Result<(), BridgeError> {
        let mut state = self.lock();
        let entry = state.open.remove(&handle);
        let entry = entry.ok_or_else(|| state.missing(handle))?;
        drop(state);
        if let Opened::Containers(containers) = &entry.opened {
            containers.close();
        }
        entry.events.close();
        Ok(())
    }

    fn entry(&self, handle: i64) -> Result<Entry, BridgeError> {
        let state = self.lock();
        let entry = state.open.get(&handle).cloned();
        entry.ok_or_else(|| state.missing(handle))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
