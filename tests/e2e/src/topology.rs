//! The project's own word count: built, submitted, killed, and its counts read back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::accounts::Account;
use crate::cluster::class_path;
use crate::{E2eError, Layout, command, files, interrupt, operate};

/// From submission to the first report: Storm's timers, a layer copy, two JVM starts.
const REPORT_LIMIT: Duration = Duration::from_secs(180);
/// Storm waits 3 s after it asked a worker to end.
const KILL_LIMIT: Duration = Duration::from_secs(120);
/// A worker that cannot be launched has no directory between two tries.
const SETTLED: Duration = Duration::from_secs(1);

/// Where the counting bolt writes, below the worker's directory.
pub const REPORT: &str = "artifacts/word-counts.json";

/// What the counting bolt writes.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// The worker's pid as it sees it.
    pub pid: u32,
    /// How often the text was read to its end.
    pub passes: u64,
    /// How many words were counted.
    pub words: u64,
    /// How often each was.
    pub counts: BTreeMap<String, u64>,
}

/// The text that is counted: the licence of this repository.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn text(layout: &Layout) -> Result<String, E2eError> {
    files::read(&layout.repository.join("LICENSE"))
}

/// The words of a text, counted as the topology does: runs of letters, in lower case.
#[must_use]
pub fn count(text: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for word in text.split(|letter: char| !letter.is_ascii_alphabetic()) {
        if !word.is_empty() {
            *counts.entry(word.to_ascii_lowercase()).or_default() += 1;
        }
    }
    counts
}

/// Compiles the topology against Storm's client and packs it with the text.
///
/// # Errors
///
/// [`E2eError::Ended`] when the compiler fails.
pub fn build(layout: &Layout) -> Result<(), E2eError> {
    let log = layout.log("topology");
    let classes = layout.scratch("topology");
    files::make_dir(&classes)?;
    let sources = layout.repository.join("tests/e2e/topology");
    let mut javac = Command::new("javac");
    javac
        .args(["--release", "17", "-Xlint:all,-processing", "-Werror", "-cp"])
        .arg(class_path(layout, &["lib-worker"], ""))
        .arg("-d")
        .arg(&classes)
        .args(files::list(&sources)?);
    command::run("compile the topology", &mut javac, &log)?;
    files::write(&classes.join("text.txt"), text(layout)?)?;
    let mut jar = Command::new("jar");
    jar.arg("--create").arg("--file").arg(topology_jar(layout)).arg("-C").arg(&classes).arg(".");
    command::run("pack the topology", &mut jar, &log)
}

pub(crate) fn topology_jar(layout: &Layout) -> PathBuf {
    layout.scratch("topology.jar")
}

/// Submits topologies, each with the image it names, or the default image where that is empty.
///
/// # Errors
///
/// [`E2eError::Ended`] when Nimbus refuses one.
pub fn submit(
    layout: &Layout,
    account: &Account,
    topologies: &[(&str, &str)],
) -> Result<(), E2eError> {
    let arguments: Vec<String> =
        topologies.iter().map(|(name, image)| format!("{name}={image}")).collect();
    operate::run(layout, account, "submit", &arguments)
}

/// Asks Nimbus for stacks and a heap dump of a topology's only worker, and to start a recording.
///
/// # Errors
///
/// [`E2eError::Ended`] when Nimbus refuses.
pub fn profile(layout: &Layout, account: &Account, name: &str) -> Result<(), E2eError> {
    operate::run(layout, account, "profile", &[name.to_owned()])
}

/// Asks Nimbus for what a recording that goes on has so far.
///
/// # Errors
///
/// [`E2eError::Ended`] when Nimbus refuses.
pub fn dump(layout: &Layout, account: &Account, name: &str) -> Result<(), E2eError> {
    operate::run(layout, account, "dump", &[name.to_owned()])
}

/// Kills topologies, and waits until the supervisor has cleaned up after them.
///
/// # Errors
///
/// [`E2eError::Ended`] when Nimbus does not know one, [`E2eError::TimedOut`].
pub fn kill(layout: &Layout, account: &Account, names: &[&str]) -> Result<(), E2eError> {
    ask_to_kill(layout, account, names)?;
    gone(layout, names)
}

/// Has Nimbus take topologies away from the supervisor.
///
/// # Errors
///
/// [`E2eError::Ended`] when Nimbus does not know one.
pub fn ask_to_kill(layout: &Layout, account: &Account, names: &[&str]) -> Result<(), E2eError> {
    let arguments: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    operate::run(layout, account, "kill", &arguments)
}

/// Waits until the supervisor has cleaned up after topologies.
///
/// # Errors
///
/// [`E2eError::TimedOut`].
pub fn gone(layout: &Layout, names: &[&str]) -> Result<(), E2eError> {
    let mut gone_since = None;
    let gone = interrupt::poll(KILL_LIMIT, || {
        for name in names {
            if !workers(layout, name)?.is_empty() {
                gone_since = None;
                return Ok(None);
            }
        }
        let since = *gone_since.get_or_insert_with(Instant::now);
        Ok((since.elapsed() >= SETTLED).then_some(()))
    })?;
    gone.ok_or_else(|| E2eError::TimedOut {
        what: format!("the end of {}", names.join(", ")),
        seconds: KILL_LIMIT.as_secs(),
        log: layout.kept("supervisor.log"),
    })
}

/// The worker directories of a topology.
///
/// # Errors
///
/// [`E2eError::File`].
pub fn workers(layout: &Layout, name: &str) -> Result<Vec<PathBuf>, E2eError> {
    let mut workers = files::list(&layout.workers())?;
    workers.retain(|worker| {
        // Storm's link from a worker to `workers-artifacts/<topology id>/<port>`.
        let target = worker.join("artifacts").read_link().unwrap_or_default();
        target.parent().is_some_and(|topology| is_of(topology, name))
    });
    Ok(workers)
}

/// A topology's id is its name, a number and a time.
fn is_of(directory: &Path, name: &str) -> bool {
    let id = directory.file_name().unwrap_or_default().to_string_lossy();
    id.strip_prefix(name).is_some_and(|rest| {
        rest.starts_with('-') && rest.chars().all(|letter| letter == '-' || letter.is_ascii_digit())
    })
}

/// Waits for a report of a topology that covers at least `passes` readings of the text.
///
/// # Errors
///
/// [`E2eError::TimedOut`], or the error of `alive`, which is asked all the while.
pub fn report(
    layout: &Layout,
    name: &str,
    passes: u64,
    mut alive: impl FnMut() -> Result<(), E2eError>,
) -> Result<Report, E2eError> {
    let report = interrupt::poll(REPORT_LIMIT, || {
        alive()?;
        for worker in workers(layout, name)? {
            let path = worker.join(REPORT);
            if path.exists() {
                let report = parse(&files::read(&path)?)?;
                if report.passes >= passes {
                    return Ok(Some(report));
                }
            }
        }
        Ok(None)
    })?;
    report.ok_or_else(|| E2eError::TimedOut {
        what: format!("counts of {name}"),
        seconds: REPORT_LIMIT.as_secs(),
        log: layout.kept("supervisor.log"),
    })
}

fn parse(json: &str) -> Result<Report, E2eError> {
    serde_json::from_str(json).map_err(|error| E2eError::Document {
        document: "the topology's report".to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters() {
        let counts = count("The work, the WORK's owner;\n2.0");
        let expected = [("owner", 1), ("s", 1), ("the", 2), ("work", 2)];
        assert_eq!(counts, expected.map(|(word, number)| (word.to_owned(), number)).into());
    }

    #[test]
    fn a_topology_is_known_by_its_name() {
        assert!(is_of(Path::new("/x/count-3-1700000000"), "count"));
        assert!(!is_of(Path::new("/x/count-b-3-1700000000"), "count"));
        assert!(!is_of(Path::new("/x/counts-3-1700000000"), "count"));
    }
}
