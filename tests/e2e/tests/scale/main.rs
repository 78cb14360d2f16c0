//! A node with many workers, and with many after one another, on a real, unmodified Storm.
//!
//! `STORM_OCI_ROUNDS` says how often a topology is submitted and killed.

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;
use storm_oci_e2e::census::{self, Census};
use storm_oci_e2e::process::Status;
use storm_oci_e2e::say::{self, Steps};
use storm_oci_e2e::storm_conf::Settings;
use storm_oci_e2e::testbed::{self, Testbed};
use storm_oci_e2e::verdicts::{Verdicts, holds};
use storm_oci_e2e::{E2eError, Layout, container, files, interrupt, topology};

/// Rounds before the first count: JVMs start threads and open files when they first need them.
const WARM_UP: u32 = 5;

/// How many workers start at once.
const WORKERS: u16 = 20;

/// Two cores start forty JVMs.
const ALL_LIMIT: Duration = Duration::from_secs(900);

/// A supervisor closes files and ends threads in its own time.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    Verdicts::of(run)
}

fn run(verdicts: &mut Verdicts) -> Result<(), E2eError> {
    let mut steps = Steps::new(testbed::STEPS + 3);
    let mut testbed = Testbed::create(Layout::new("scale"), &mut steps)?;
    let more = vec![
        ("worker.childopts", json!("-Xmx64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1")),
        ("topology.worker.logwriter.childopts", json!("-Xmx32m -XX:+UseSerialGC")),
        // Nobody gives up on a worker because the others take the processors.
        ("supervisor.worker.timeout.secs", json!(600)),
        ("nimbus.task.timeout.secs", json!(600)),
        ("nimbus.task.launch.secs", json!(900)),
    ];
    let settings = Settings {
        more,
        slots: WORKERS + 1,
        worker_start_seconds: 900,
        ..Settings::new(&testbed.layout)
    };
    testbed.start(&settings, &mut steps)?;

    steps.begin("rounds");
    let rounds = env::var("STORM_OCI_ROUNDS").ok().and_then(|text| text.parse().ok());
    let outcome = endures(&mut testbed, rounds.unwrap_or(30));
    verdicts.check("rounds_of_submit_and_kill_leave_nothing_more", outcome);

    steps.begin("many at once");
    let outcome = many_at_once(&mut testbed, &settings);
    verdicts.check("many_workers_start_at_once", outcome);
    steps.begin("removal");
    verdicts.check("removal_leaves_nothing", testbed.remove());
    Ok(())
}

/// What the supervisor's process has.
#[derive(Clone, Copy, Debug)]
struct Process {
    files: usize,
    threads: usize,
    resident_kb: u64,
}

impl Process {
    fn read(testbed: &mut Testbed) -> Result<Self, E2eError> {
        let cluster = testbed.cluster.as_mut().ok_or(E2eError::Interrupted)?;
        let pid = cluster.supervisor_pid()?.ok_or(E2eError::Interrupted)?;
        let directory = Path::new("/proc").join(pid.to_string());
        let status = Status::read(pid)?;
        let resident = status.field("VmRSS").split_whitespace().next();
        Ok(Self {
            files: files::list(&directory.join("fd"))?.len(),
            threads: files::list(&directory.join("task"))?.len(),
            resident_kb: resident.and_then(|text| text.parse().ok()).unwrap_or_default(),
        })
    }

    fn show(&self, when: &str) {
        let Self { files, threads, resident_kb } = self;
        let resident = resident_kb / 1024;
        say::fact(when, format!("{files} open files, {threads} threads, {resident} MiB resident"));
    }
}

fn endures(testbed: &mut Testbed, rounds: u32) -> Result<(), E2eError> {
    for round in 0..WARM_UP {
        one_round(testbed, round)?;
    }
    let (before, census_before) = (Process::read(testbed)?, take(&testbed.layout)?);
    before.show("before");
    show(&census_before);
    let began = Instant::now();
    for round in 0..rounds {
        one_round(testbed, WARM_UP + round)?;
    }
    let each = began.elapsed().as_secs_f64() / f64::from(rounds.max(1));
    say::fact("rounds", format!("{rounds}, {each:.1} s each"));
    let mut after = before;
    let mut census_after = Census::new();
    interrupt::poll(SETTLE_LIMIT, || {
        after = Process::read(testbed)?;
        census_after = take(&testbed.layout)?;
        let same = census::differences(&census_before, &census_after).is_empty();
        let grown = after.files > before.files || after.threads > before.threads;
        Ok((same && !grown).then_some(()))
    })?;
    after.show("after");
    show(&census_after);
    let differences = census::differences(&census_before, &census_after);
    holds("there is as much as before", differences.is_empty(), differences)?;
    let grown = after.files > before.files || after.threads > before.threads;
    holds("the supervisor has not grown", !grown, format!("{before:?}, then {after:?}"))
}

/// What there is of containers, and what Storm keeps.
fn take(layout: &Layout) -> Result<Census, E2eError> {
    let mut census = census::take(layout)?;
    census.extend(census::of_storm(layout)?);
    Ok(census)
}

fn show(census: &Census) {
    let words: Vec<String> = census.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    say::line(words.join(", "));
}

fn one_round(testbed: &mut Testbed, round: u32) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let name = format!("round-{round}");
    topology::submit(&layout, &testbed.user, &[(&name, "")])?;
    topology::report(&layout, &name, 1, || testbed.check())?;
    topology::kill(&layout, &testbed.user, &[&name])
}

fn many_at_once(testbed: &mut Testbed, settings: &Settings) -> Result<(), E2eError> {
    let contained = start_all(testbed, "contained")?;
    // Then workers run as the supervisor's account: the least that Storm does.
    let mut plain = Settings { contained: false, ..settings.clone() };
    plain.more.push(("supervisor.run.worker.as.user", json!(false)));
    let layout = testbed.layout.clone();
    let cluster = testbed.cluster.as_mut().ok_or(E2eError::Interrupted)?;
    cluster.stop_supervisor();
    cluster.configure(&plain)?;
    cluster.start_supervisor()?;
    let uncontained = start_all(testbed, "uncontained")?;
    let records = container::records(&layout)?.len();
    holds("without the plugin there are no containers", records == 0, records)?;
    let ratio = contained.as_secs_f64() / uncontained.as_secs_f64();
    say::fact(
        &format!("{WORKERS} workers at once"),
        format!(
            "all count after {:.1} s in containers, {:.1} s without: ratio {ratio:.2}",
            contained.as_secs_f64(),
            uncontained.as_secs_f64()
        ),
    );
    Ok(())
}

/// From submission until all count.
fn start_all(testbed: &mut Testbed, kind: &str) -> Result<Duration, E2eError> {
    let layout = testbed.layout.clone();
    let names: Vec<String> = (0..WORKERS).map(|number| format!("{kind}-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let topologies: Vec<(&str, &str)> = names.iter().map(|name| (*name, "")).collect();
    let began = Instant::now();
    topology::submit(&layout, &testbed.user, &topologies)?;
    let mut waiting = names.clone();
    let all = interrupt::poll(ALL_LIMIT, || {
        testbed.check()?;
        let mut still = Vec::new();
        for name in &waiting {
            let workers = topology::workers(&layout, name)?;
            if !workers.iter().any(|worker| worker.join(topology::REPORT).exists()) {
                still.push(*name);
            }
        }
        waiting = still;
        Ok(waiting.is_empty().then_some(()))
    })?;
    let took = began.elapsed();
    holds("all workers count", all.is_some(), format!("not yet: {}", waiting.join(", ")))?;
    topology::kill(&layout, &testbed.user, &names)?;
    Ok(took)
}
