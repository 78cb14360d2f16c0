//! What is counted, under the names that operators see.
//!
//! Counting is one atomic addition; texts are made when somebody asks for them. No label has a
//! value that a user chooses: what a node counts stays as small as it is at its start.
//!
//! # References
//!
//! Prometheus, "Metric and label naming"

mod observation;
mod text_file;

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use crate::documents::PhaseDocument;
use crate::error::ErrorCode;
use crate::oom::OutOf;
pub(crate) use observation::Observation;
pub(crate) use text_file::TextFile;

/// The beginning of each metric's name.
const PREFIX: &str = "storm_oci_";

/// The outcome of a launch that succeeded; the others are error codes.
const OK: &str = "ok";

/// Upper bounds of the histograms, in seconds: a request is written in a tenth of a millisecond,
/// and an image may be fetched for minutes.
const BUCKETS: [f64; 20] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// How a container ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ExitCause {
    /// Storm had asked for it.
    Requested,
    /// With code 0.
    Completed,
    /// With another code.
    Failed,
    /// By a signal.
    Signal,
    /// The kernel had killed processes for memory.
    OutOfMemory,
    /// Nobody knows.
    Unknown,
}

impl ExitCause {
    const ALL: [Self; 6] = [
        Self::Requested,
        Self::Completed,
        Self::Failed,
        Self::Signal,
        Self::OutOfMemory,
        Self::Unknown,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Signal => "signal",
            Self::OutOfMemory => "out_of_memory",
            Self::Unknown => "unknown",
        }
    }
}

const fn level(out_of: OutOf) -> &'static str {
    match out_of {
        OutOf::Container => "container",
        OutOf::Parent => "parent",
        OutOf::Host => "host",
    }
}

/// The counts of one supervisor.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    launches: IntCounterVec,
    launch_seconds: Histogram,
    phase_seconds: HistogramVec,
    layer_lookups: IntCounterVec,
    fetched_bytes: IntCounter,
    layer_mounts: IntCounter,
    containers: IntGauge,
    exits: IntCounterVec,
    oom_kills: IntCounterVec,
    relaunch_backoff: IntGauge,
    dropped_lines: IntCounter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self::register().expect("each name is well-formed and used once")
    }

    fn register() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counters = |name, help, label, values: &[&str]| {
            let counters = IntCounterVec::new(opts(name, help), &[label])?;
            for value in values {
                // All are there from the start: a rate needs the zero before the first one.
                counters.with_label_values(&[value]);
            }
            add(&registry, counters)
        };
        let counter = |name, help| add(&registry, IntCounter::with_opts(opts(name, help))?);
        let gauge = |name, help| add(&registry, IntGauge::with_opts(opts(name, help))?);
        let outcomes: Vec<String> =
            std::iter::once(OK.to_owned()).chain(ErrorCode::ALL.map(outcome)).collect();
        let outcomes: Vec<&str> = outcomes.iter().map(String::as_str).collect();
        Ok(Self {
            launches: counters(
                "launches_total",
                "Launches of workers, by outcome.",
                "outcome",
                &outcomes,
            )?,
            launch_seconds: add(
                &registry,
                Histogram::with_opts(histogram(
                    "launch_seconds",
                    "How long launches took that succeeded.",
                ))?,
            )?,
            phase_seconds: add(
                &registry,
                HistogramVec::new(
                    histogram(
                        "launch_phase_seconds",
                        "How long the steps of launches took that succeeded.",
                    ),
                    &["phase"],
                )?,
            )?,
            layer_lookups: counters(
                "layer_lookups_total",
                "Layers of images that were launched, by whether they were in the cache.",
                "result",
                &["hit", "miss"],
            )?,
            fetched_bytes: counter(
                "layer_fetched_bytes_total",
                "Bytes of layers that came from the image store.",
            )?,
            layer_mounts: counter("layer_mounts_total", "Layers that launches mounted.")?,
            containers: gauge("containers", "Containers that run.")?,
            exits: counters(
                "exits_total",
                "Containers that ended, by cause.",
                "cause",
                &ExitCause::ALL.map(ExitCause::label),
            )?,
            oom_kills: counters(
                "oom_kills_total",
                "Processes of ended containers that the kernel had killed for memory, by whose \
                 memory ran out.",
                "level",
                &[OutOf::Container, OutOf::Parent, OutOf::Host].map(level),
            )?,
            relaunch_backoff: gauge(
                "relaunch_backoff_seconds",
                "The longest time that a worker which did not start now waits to be launched again.",
            )?,
            dropped_lines: counter(
                "dropped_log_lines_total",
                "Log lines that were dropped, as the JVM did not take them.",
            )?,
            registry,
        })
    }

    /// A launch succeeded.
    pub(crate) fn launched(&self, took: Duration, phases: &[PhaseDocument], mounted: usize) {
        self.launches.with_label_values(&[OK]).inc();
        self.launch_seconds.observe(took.as_secs_f64());
        for phase in phases {
            let took = Duration::from_micros(phase.micros).as_secs_f64();
            self.phase_seconds.with_label_values(&[&phase.name]).observe(took);
        }
        self.layer_mounts.inc_by(u64::try_from(mounted).unwrap_or(u64::MAX));
    }

    /// A launch failed.
    pub(crate) fn launch_failed(&self, code: ErrorCode) {
        self.launches.with_label_values(&[&outcome(code)]).inc();
    }

    /// A layer of an image was in the cache, or was fetched.
    pub(crate) fn looked_up(&self, fetched: bool) {
        self.layer_lookups.with_label_values(&[if fetched { "miss" } else { "hit" }]).inc();
    }

    /// A container runs.
    pub(crate) fn runs(&self) {
        self.containers.inc();
    }

    /// A container that ran does no longer.
    pub(crate) fn stopped(&self) {
        self.containers.dec();
    }

    /// A container ended; of its processes the kernel had killed so many for memory.
    pub(crate) fn ended(&self, cause: ExitCause, out_of: Option<OutOf>, kills: u64) {
        self.exits.with_label_values(&[cause.label()]).inc();
        if let Some(out_of) = out_of {
            self.oom_kills.with_label_values(&[level(out_of)]).inc_by(kills);
        }
    }
}

fn outcome(code: ErrorCode) -> String {
    code.as_str().to_ascii_lowercase()
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("{PREFIX}{name}"), help)
}

fn histogram(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::new(format!("{PREFIX}{name}"), help).buckets(BUCKETS.to_vec())
}

fn add<T: Collector + Clone + 'static>(registry: &Registry, metric: T) -> prometheus::Result<T> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
