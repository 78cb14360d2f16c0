//! What one run of the program holds: stores with their locks, and who is told how far it is.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use storm_oci_convert::publish::{PublishSettings, Publisher};
use tokio::signal::unix::{SignalKind, signal};

use crate::access::Access;
use crate::failure::CliError;
use crate::progress::Progress;

/// One run.
#[derive(Debug)]
pub(crate) struct Session {
    quiet: bool,
    publishers: Mutex<Vec<Arc<Publisher>>>,
}

/// How a store is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writing {
    /// How many copies HDFS keeps.
    pub(crate) replication: u16,
    /// How long another's lock is waited for.
    pub(crate) lock_wait: Duration,
    /// Whether layers that are there are read again.
    pub(crate) verify_existing: bool,
    /// Whether layers that are there and good are written again.
    pub(crate) force: bool,
}

impl Writing {
    /// As a directory of this host is written.
    pub(crate) const fn local(force: bool) -> Self {
        let lock_wait = Duration::from_secs(120);
        Self { replication: 1, lock_wait, verify_existing: false, force }
    }
}

impl Session {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, publishers: Mutex::default() }
    }

    /// Who is told how far a conversion is.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::new(Progress::new(self.quiet))
    }

    /// A store to read and write. Connects to nothing.
    pub(crate) fn publisher(
        &self,
        access: &Access,
        writing: Writing,
    ) -> Result<Arc<Publisher>, CliError> {
        let (top_level, tag_map) = (access.top_level.clone(), access.tag_map.clone());
        let mut settings = PublishSettings::new(top_level, tag_map, access.remote.clone());
        settings.replication = Some(u32::from(writing.replication));
        settings.lock_patience = writing.lock_wait;
        settings.verify_existing = writing.verify_existing;
        settings.force = writing.force;
        let publisher = Arc::new(Publisher::open(settings)?);
        // The list is whole at every point where a panic could strike.
        let mut publishers = self.publishers.lock().unwrap_or_else(PoisonError::into_inner);
        publishers.push(Arc::clone(&publisher));
        Ok(publisher)
    }

    /// Gives back what was locked when the program was interrupted.
    pub(crate) async fn release_locks(&self) {
        let publishers = {
            let publishers = self.publishers.lock().unwrap_or_else(PoisonError::into_inner);
            publishers.clone()
        };
        for publisher in publishers {
            publisher.release_locks().await;
        }
    }
}

/// Waits for SIGINT, SIGTERM or SIGHUP.
pub(crate) async fn interruption() -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
