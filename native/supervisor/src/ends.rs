//! What follows from a container's end, or from one that never started: a line in the log, the
//! moment at which Storm is told, and a record in the worker's artifacts.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use storm_oci_request::{HostPath, WorkerId};
use tracing::{debug, error, info, warn};

use crate::documents::LaunchDocument;
use crate::end::{End, UNKNOWN_CODE};
use crate::error::SupervisorError;
use crate::events::{EventQueue, ExitEvent};
use crate::exit_note::{ExitNote, LastOutput};
use crate::heartbeat;
use crate::hierarchy::Hierarchies;
use crate::metrics::{ExitCause, Metrics};
use crate::relaunch::{Failure, Relaunch};
use crate::requested::RequestedEnds;
use crate::scope;
use crate::text::shown;
use crate::worker::Worker;

/// The code an exit event carries when there never was a container.
const NEVER_STARTED: i32 = -1;

/// Deals with ends.
#[derive(Debug)]
pub(crate) struct Ends {
    events: EventQueue,
    workers_root: PathBuf,
    requested: RequestedEnds,
    hierarchies: Arc<Hierarchies>,
    relaunch: Mutex<Relaunch>,
    metrics: Arc<Metrics>,
}

impl Ends {
    /// Tells Storm through `events`; of what did not start, `longest_pause` after its end at the
    /// latest.
    pub(crate) fn new(
        events: EventQueue,
        workers_root: &HostPath,
        requested: RequestedEnds,
        hierarchies: Arc<Hierarchies>,
        longest_pause: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let workers_root = PathBuf::from(workers_root.as_str());
        Self {
            events,
            workers_root,
            requested,
            hierarchies,
            relaunch: Mutex::new(Relaunch::new(longest_pause)),
            metrics,
        }
    }

    /// Whether any process of this account asked a worker to end.
    pub(crate) fn was_requested(&self, worker: &WorkerId) -> bool {
        self.requested.contains(worker)
    }

    /// A container has ended.
    pub(crate) fn ended(&self, mut end: End) {
        end.look_up_shortage(&self.hierarchies);
        let end = &end;
        let before_heartbeat = !self.has_heartbeat(&end.container.worker_id());
        let container = &end.container;
        let out_of = end.shortage.map(|shortage| shortage.of);
        self.metrics.ended(end.exit_cause(), out_of, end.oom_kills());
        let artifacts = end.known.artifacts.as_ref();
        let output = artifacts.map(|artifacts| LastOutput::read(artifacts, container));
        let output = output.unwrap_or_default();
        let pause = match end.known.launched_on {
            _ if end.requested => {
                info!(target: "storm_oci.watch", "{end}");
                Duration::ZERO
            }
            Some(port) if before_heartbeat => self.failed_to_start(end, port, &output),
            port => {
                warn!(target: "storm_oci.watch", "{end}");
                if let Some(port) = port {
                    self.relaunch().started(port);
                }
                Duration::ZERO
            }
        };
        let event = end.event(before_heartbeat);
        self.events.exit_at(event.clone(), Instant::now() + pause);
        if let Some(artifacts) = artifacts {
            let note = ExitNote {
                container_id: container,
                topology_id: end.known.topology_id.as_deref(),
                out_of_memory_of: out_of,
                event: &event,
                record: end.record.as_ref(),
                limits: &end.known.limits,
                launch_phases: &end.known.phases,
                last_output: &output,
            };
            match note.write(artifacts) {
                // Another process of this account saw the end too.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    debug!(target: "storm_oci.watch", "it is written already how it ended");
                }
                Err(error) => {
                    warn!(target: "storm_oci.watch", "cannot write how it ended: {error}");
                }
                Ok(()) => {}
            }
        }
    }

    /// A worker's container is gone and has left no record, as after a restart of the host.
    pub(crate) fn vanished(&self, worker: &WorkerId) {
        let message = format!("nothing is left of the container of worker {worker}");
        let requested = self.was_requested(worker);
        let cause = if requested { ExitCause::Requested } else { ExitCause::Unknown };
        self.metrics.ended(cause, None, 0);
        scope::worker(worker, None).in_scope(|| {
            info!(target: "storm_oci.watch", "nothing is left of its container");
        });
        self.events.exit(ExitEvent {
            worker_id: worker.to_string(),
            container_id: None,
            exit_code: None,
            signal: None,
            shell_code: UNKNOWN_CODE,
            out_of_memory: false,
            requested,
            launch_failed: false,
            before_heartbeat: false,
            adopted: true,
            message,
        });
    }

    fn failed_to_start(&self, end: &End, port: i64, output: &LastOutput) -> Duration {
        let cause = end.cause();
        let topology_id = end.known.topology_id.as_deref().unwrap_or_default();
        let failure = self.relaunch().failed(port, topology_id, &cause);
        if failure.repeated {
            warn!(target: "storm_oci.watch", "{cause} before its first heartbeat {}", Again(failure));
        } else {
            let words = output.last_words().unwrap_or("none");
            error!(target: "storm_oci.watch", "{end}, before its first heartbeat; its last words: {} {}", shown(words), Again(failure));
        }
        failure.pause
    }

    /// A worker could not be launched.
    pub(crate) fn never_started(&self, document: &LaunchDocument, problem: &SupervisorError) {
        self.metrics.launch_failed(problem.code());
        let LaunchDocument { worker_id, topology_id, port, .. } = document;
        let message = problem.report();
        let cause = message.replace(worker_id, "");
        let failure = self.relaunch().failed(*port, topology_id, &cause);
        let topology = shown(topology_id);
        if failure.repeated {
            let code = problem.code().as_str();
            warn!(target: "storm_oci.launch", "cannot launch worker of topology {topology}: {code} {}", Again(failure));
        } else {
            let hint = problem.hint().map_or_else(String::new, |hint| format!(" (hint: {hint})"));
            error!(target: "storm_oci.launch", "cannot launch worker of topology {topology}: {message}{hint} {}", Again(failure));
        }
        let event = ExitEvent {
            worker_id: worker_id.clone(),
            container_id: Worker::parse(document).ok().map(|worker| worker.container.to_string()),
            exit_code: None,
            signal: None,
            shell_code: NEVER_STARTED,
            out_of_memory: false,
            requested: false,
            launch_failed: true,
            before_heartbeat: true,
            adopted: false,
            message,
        };
        self.events.exit_at(event, Instant::now() + failure.pause);
    }

    /// A container runs that will end.
    pub(crate) fn begun(&self) {
        self.metrics.runs();
    }

    /// A container that ran does no longer; how it ended is told later.
    pub(crate) fn over(&self) {
        self.metrics.stopped();
    }

    /// The longest pause that is waited now before Storm is told; zero when none is.
    pub(crate) fn longest_pause(&self) -> Duration {
        self.relaunch().longest_now()
    }

    /// Storm has dealt with a worker: nothing more is to be told of it.
    pub(crate) fn forget(&self, worker_id: &str) {
        self.events.forget(worker_id);
    }

    /// Whether a worker has told Storm's supervisor that it works. What cannot be looked at counts
    /// as not: Storm is then told in both ways, and each is true.
    pub(crate) fn has_heartbeat(&self, worker: &WorkerId) -> bool {
        heartbeat::exists(&self.workers_root, worker).unwrap_or_else(|error| {
            warn!(target: "storm_oci.watch", "cannot look for its heartbeats: {error}");
            false
        })
    }

    fn relaunch(&self) -> MutexGuard<'_, Relaunch> {
        // A map is whole after every call.
        self.relaunch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said of a failure in a row of them.
struct Again(Failure);

impl fmt::Display for Again {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { in_a_row, repeated, pause } = self.0;
        let same = if repeated { "with the same cause, " } else { "" };
        let pause = pause.as_secs();
        match in_a_row {
            1 => formatter.write_str("(Storm tries again at once)"),
            _ => write!(
                formatter,
                "({same}failure {in_a_row} in a row; Storm tries again in {pause} s)"
            ),
        }
    }
}
