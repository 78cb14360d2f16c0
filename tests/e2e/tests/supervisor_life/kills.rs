//! The supervisor is killed at random moments, some of them within a launch or a cleanup.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use storm_oci_e2e::census;
use storm_oci_e2e::container::{self, Container};
use storm_oci_e2e::{E2eError, Layout, Testbed, files, interrupt, say, topology};
use storm_oci_request::LaunchState;

use crate::ends::{cluster, settles_at};
use crate::steady::Steady;

/// What happens on the node when the supervisor is killed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Moment {
    /// Anything, a while after its start.
    Any,
    /// It starts itself, and takes over what runs.
    Start,
    /// A worker has a directory, but no container yet.
    Launch,
    /// A container has ended and is not cleaned up after.
    Cleanup,
}

const MOMENTS: [Moment; 4] = [Moment::Launch, Moment::Cleanup, Moment::Start, Moment::Any];

/// For how long a launch or a cleanup is waited for; the kill comes then whatever goes on.
const MOMENT_LIMIT: Duration = Duration::from_secs(60);

/// About what a launch takes, from the worker's directory to its container.
const LAUNCH: Duration = Duration::from_millis(80);

/// Within it Storm has noticed a worker's end and cleaned up, more often than not.
const CLEANUP: Duration = Duration::from_millis(400);

/// Short, beside what a launch takes.
const LOOK: Duration = Duration::from_millis(1);

/// How many kills fell into which moment.
#[derive(Debug, Default)]
struct Tally {
    launching: usize,
    without_record: usize,
    cleaning: usize,
    starting: usize,
    other: usize,
}

impl Tally {
    /// Notes how far a launch is at this moment.
    fn launch(&mut self, layout: &Layout) -> Result<(), E2eError> {
        let workers = files::list(&layout.workers())?;
        let records = container::records(layout)?;
        let is_recorded = |worker: &PathBuf| {
            let id = worker.file_name().unwrap_or_default().to_string_lossy();
            records.iter().any(|record| record.container_id.worker_id().as_str() == id)
        };
        if records.iter().any(|record| record.state == LaunchState::Launching) {
            self.launching += 1;
        } else if workers.iter().all(is_recorded) {
            self.other += 1;
        } else {
            self.without_record += 1;
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { launching, without_record, cleaning, starting, other } = self;
        write!(
            formatter,
            "{launching} with a container being made, {without_record} between directory and \
             record, {cleaning} in a cleanup, {starting} in a start, {other} at other times"
        )
    }
}

/// A sequence of numbers from a seed, Sebastiano Vigna's SplitMix64: the same on every host.
#[derive(Debug)]
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.below(micros))
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Kills and restarts it, again and again, while topologies come and go.
pub(crate) fn at_random_moments(
    testbed: &mut Testbed,
    steady: &mut [Steady],
) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seed = number("STORM_OCI_SEED", now);
    let kills = number("STORM_OCI_KILLS", 50);
    say::fact("kills", format!("{kills}, STORM_OCI_SEED={seed}"));
    let mut numbers = Numbers(seed);
    let mut tally = Tally::default();
    let (before, storm) = (census::take(&layout)?, census::of_storm(&layout)?);
    let mut running: Vec<String> = Vec::new();
    let moments = MOMENTS.iter().cycle();
    for (kill, moment) in (0..kills).zip(moments) {
        // What was to start or end meanwhile is part of the next round.
        match moment {
            Moment::Launch => {
                let name = format!("brief-{kill}");
                let pause = numbers.up_to(LAUNCH);
                launching(testbed, &name, pause, &mut tally)?;
                running.push(name);
            }
            Moment::Cleanup => {
                cleaning(testbed, running.pop(), &mut numbers, &mut tally)?;
            }
            Moment::Start => {
                let pause = numbers.up_to(Duration::from_secs(8));
                cluster(testbed)?.kill_supervisor();
                starting(testbed, pause, &mut tally)?;
            }
            Moment::Any => {
                thread::sleep(numbers.up_to(Duration::from_secs(5)));
                tally.other += 1;
                cluster(testbed)?.kill_supervisor();
            }
        }
        cluster(testbed)?.start_supervisor()?;
        for one in &mut *steady {
            one.goes_on(&layout)?;
        }
    }
    say::fact("killed", &tally);
    let names: Vec<&str> = running.iter().map(String::as_str).collect();
    if !names.is_empty() {
        topology::kill(&layout, &testbed.user, &names)?;
    }
    let after = census::of_storm(&layout)?;
    say::fact("kept by Storm", format!("{after:?}, {storm:?} before"));
    settles_at(&layout, &before)?;
    for one in steady {
        one.goes_on(&layout)?;
    }
    testbed.check()
}

/// Kills the supervisor a moment after it has begun to launch a topology's worker.
fn launching(
    testbed: &mut Testbed,
    name: &str,
    pause: Duration,
    tally: &mut Tally,
) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let account = testbed.user.clone();
    let known = files::list(&layout.workers())?;
    thread::scope(|scope| {
        let submission = scope.spawn(|| topology::submit(&layout, &account, &[(name, "")]));
        let seen = soon(|| Ok(files::list(&layout.workers())?.iter().any(|w| !known.contains(w))));
        thread::sleep(pause);
        // The launcher goes on without the supervisor: what counts is how far it was before.
        let interrupted = tally.launch(&layout);
        if let Some(cluster) = testbed.cluster.as_mut() {
            cluster.kill_supervisor();
        }
        let submitted = submission.join();
        seen.and(interrupted)?;
        submitted.unwrap_or(Err(E2eError::Interrupted))
    })
}

/// Kills the supervisor a while after a container that it was told to end has ended; every other
/// time, while it removes the worker's directory.
fn cleaning(
    testbed: &mut Testbed,
    name: Option<String>,
    numbers: &mut Numbers,
    tally: &mut Tally,
) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    if let Some(name) = name {
        // Once it runs: what was killed in its launch is launched anew first.
        topology::report(&layout, &name, 1, || testbed.check())?;
        let container = Container::of(&layout, &name)?;
        let process = Path::new("/proc").join(container.init.to_string());
        let record = layout.run_root.join("records").join(format!("{}.json", container.id()));
        topology::ask_to_kill(&layout, &testbed.user, &[&name])?;
        if numbers.below(2) == 0 {
            soon(|| Ok(!process.exists()))?;
            thread::sleep(numbers.up_to(CLEANUP));
        } else {
            soon(|| Ok(!record.exists()))?;
            thread::sleep(numbers.up_to(Duration::from_millis(50)));
        }
    }
    cluster(testbed)?.kill_supervisor();
    if incomplete(&layout)? {
        tally.cleaning += 1
    } else {
        tally.other += 1
    }
    Ok(())
}

/// Whether a worker has a directory and nothing running, or a record and no directory.
fn incomplete(layout: &Layout) -> Result<bool, E2eError> {
    let records = container::records(layout)?;
    let alive = records.iter().filter(|record| {
        let init = record.init.map(|init| Path::new("/proc").join(init.pid.to_string()));
        init.is_some_and(|proc| proc.exists())
    });
    let alive = alive.count();
    Ok(alive != records.len() || alive != files::list(&layout.workers())?.len())
}

/// Kills the supervisor while it starts.
fn starting(testbed: &mut Testbed, pause: Duration, tally: &mut Tally) -> Result<(), E2eError> {
    cluster(testbed)?.spawn_supervisor()?;
    thread::sleep(pause);
    tally.starting += 1;
    cluster(testbed)?.kill_supervisor();
    Ok(())
}

/// Looks often until something is so, or the limit is over.
fn soon(mut is_so: impl FnMut() -> Result<bool, E2eError>) -> Result<(), E2eError> {
    let end = Instant::now() + MOMENT_LIMIT;
    while Instant::now() < end && !is_so()? {
        interrupt::check()?;
        thread::sleep(LOOK);
    }
    Ok(())
}
