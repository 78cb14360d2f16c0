//! All numbers at one moment, as text for Prometheus and as JSON for the JVM.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{IntCounter, TextEncoder};
use serde_json::{Map, Value};

use super::{Metrics, PREFIX};
use crate::ends::Ends;
use crate::error::SupervisorError;
use crate::events::EventQueue;

/// What is counted, and what else knows numbers.
#[derive(Debug)]
pub(crate) struct Observation {
    metrics: Arc<Metrics>,
    ends: Arc<Ends>,
    events: EventQueue,
    /// Of layers; `None` when custom plugins fetch them.
    fetched_bytes: Option<Arc<AtomicU64>>,
    /// Held while numbers are taken over: two at once would add them twice.
    gathering: Mutex<()>,
}

impl Observation {
    pub(crate) const fn new(
        metrics: Arc<Metrics>,
        ends: Arc<Ends>,
        events: EventQueue,
        fetched_bytes: Option<Arc<AtomicU64>>,
    ) -> Self {
        Self { metrics, ends, events, fetched_bytes, gathering: Mutex::new(()) }
    }

    /// All metrics in Prometheus' text format.
    pub(crate) fn text(&self) -> Result<String, SupervisorError> {
        TextEncoder::new().encode_to_string(&self.gather()).map_err(SupervisorError::Metrics)
    }

    /// All counters and gauges as one flat object: `{"launches.ok":3,"containers":1,…}`. The names
    /// are those of the text without what is the same in all, each with its label's value.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let mut numbers = Map::new();
        for family in self.gather() {
            let name = family.name();
            let name = name.strip_prefix(PREFIX).unwrap_or(name);
            let name = name.strip_suffix("_total").unwrap_or(name).replace('_', "-");
            for metric in family.get_metric() {
                let number = match family.get_field_type() {
                    MetricType::COUNTER => metric.get_counter().get_value(),
                    MetricType::GAUGE => metric.get_gauge().get_value(),
                    _ => continue,
                };
                let label = metric.get_label().first();
                let label = label.map(|label| format!(".{}", label.value().replace('_', "-")));
                numbers.insert(format!("{name}{}", label.unwrap_or_default()), number.into());
            }
        }
        numbers
    }

    fn gather(&self) -> Vec<MetricFamily> {
        // Nothing is half done when a thread panics here.
        let _turn = self.gathering.lock().unwrap_or_else(PoisonError::into_inner);
        let metrics = &self.metrics;
        let backoff = self.ends.longest_pause().as_secs();
        metrics.relaunch_backoff.set(i64::try_from(backoff).unwrap_or(i64::MAX));
        catch_up(&metrics.dropped_lines, self.events.all_dropped_logs());
        if let Some(fetched) = &self.fetched_bytes {
            catch_up(&metrics.fetched_bytes, fetched.load(Ordering::Relaxed));
        }
        metrics.registry.gather()
    }
}

/// Takes over a count that is kept elsewhere.
fn catch_up(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
