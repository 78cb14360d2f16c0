//! Topologies that run all the while, and how one is told that nothing happened to them.

use std::fs;
use std::time::{Duration, Instant, UNIX_EPOCH};

use storm_oci_e2e::container::Container;
use storm_oci_e2e::topology::{self, Report};
use storm_oci_e2e::verdicts::{holds, same};
use storm_oci_e2e::{E2eError, Layout, Testbed, files, interrupt};

/// Two of them, so that one can be killed beside the other.
pub(crate) const NAMES: [&str; 2] = ["steady-one", "steady-two"];

/// From the end of a worker to the container of the next. Far below the time after which a stock
/// supervisor misses a heartbeat, which is [`crate::HEARTBEAT_SECONDS`] here.
pub(crate) const RELAUNCH_LIMIT: Duration = Duration::from_secs(120);

/// From a launch to the first counts: two JVMs start.
const START_LIMIT: Duration = Duration::from_secs(180);

/// Whether a report is this container's: the directory outlives workers.
fn has_counted(container: &Container) -> bool {
    let modified = fs::metadata(container.worker.join(topology::REPORT)).and_then(|m| m.modified());
    let launched = Duration::from_millis(container.record.launched_millis);
    modified.is_ok_and(|modified| modified > UNIX_EPOCH + launched)
}

/// A worker that counts.
#[derive(Debug)]
pub(crate) struct Steady {
    pub(crate) name: &'static str,
    pub(crate) container: Container,
    report: Report,
}

impl Steady {
    /// The worker of a topology, once it counts and Storm has heard of it: a stock supervisor that
    /// is started anew before that kills it.
    pub(crate) fn find(testbed: &mut Testbed, name: &'static str) -> Result<Self, E2eError> {
        let layout = testbed.layout.clone();
        let found = interrupt::poll(START_LIMIT, || {
            testbed.check()?;
            let Ok(container) = Container::of(&layout, name) else {
                return Ok(None);
            };
            let heartbeats = files::list(&container.worker.join("heartbeats"))?;
            let is_known = heartbeats.iter().any(|file| file.extension().is_some());
            Ok((is_known && has_counted(&container)).then_some(container))
        })?;
        let container = found
            .ok_or_else(|| E2eError::unconfirmed(format!("{name} counts"), "it has not told so"))?;
        let report = topology::report(&layout, name, 1, || testbed.check())?;
        Ok(Self { name, container, report })
    }

    /// Both of them.
    pub(crate) fn all(testbed: &mut Testbed) -> Result<Vec<Self>, E2eError> {
        NAMES.iter().map(|name| Self::find(testbed, name)).collect()
    }

    /// It is the same process in the same container, and has counted on.
    pub(crate) fn goes_on(&mut self, layout: &Layout) -> Result<(), E2eError> {
        let report = topology::report(layout, self.name, self.report.passes + 2, || Ok(()))?;
        let now = Container::of(layout, self.name)?;
        let identity =
            |container: &Container, report: &Report| (container.id(), container.init, report.pid);
        let claim = format!("{} is the same process", self.name);
        same(&claim, identity(&now, &report), identity(&self.container, &self.report))?;
        self.report = report;
        Ok(())
    }

    /// Waits for the topology's next container, and then for its counts.
    pub(crate) fn relaunched(
        &self,
        testbed: &mut Testbed,
        since: Instant,
    ) -> Result<(Self, Duration), E2eError> {
        let next = interrupt::poll(RELAUNCH_LIMIT, || {
            testbed.check()?;
            let next = Container::of(&testbed.layout, self.name).ok();
            Ok(next.filter(|next| next.id() != self.container.id()))
        })?;
        let took = since.elapsed();
        let claim = format!("{} is launched anew", self.name);
        holds(claim, next.is_some(), "there is no other container")?;
        Ok((Self::find(testbed, self.name)?, took))
    }
}
