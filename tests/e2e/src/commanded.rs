//! Workers that do what they are told: end, crash, take memory, and report how they are.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::accounts::Account;
use crate::container::Container;
use crate::exit_note::ExitNote;
use crate::{E2eError, Layout, files, interrupt, operate, topology};

/// From a request to what it comes to: Storm's rounds, a launch and a JVM's start, ten times over.
const LIMIT: Duration = Duration::from_secs(240);

/// What makes a small JVM start sooner.
const CHILD_OPTIONS: &str = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData";

/// What a worker last reported.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticks {
    /// The worker's id.
    pub worker: String,
    /// The worker's pid as it sees it.
    pub pid: u32,
    /// How often its spouts were asked for a tuple.
    pub ticks: u64,
    /// Whether its spouts are activated.
    pub active: bool,
    /// The last command it has carried out.
    pub taken: String,
    /// The exit code of the program it started; -1 as long as there is none.
    pub child_code: i32,
    /// What the topology's blob says.
    pub blob: String,
}

/// A worker, running or not.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its directory's name.
    pub id: String,
    /// Its artifacts, which it shares with the workers before and after it in its slot.
    pub artifacts: PathBuf,
}

impl Worker {
    /// The worker of a topology, when it has exactly one.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn of(layout: &Layout, topology: &str) -> Result<Option<Self>, E2eError> {
        let mut workers = Self::all(layout, topology)?;
        Ok(workers.pop().filter(|_| workers.is_empty()))
    }

    /// The workers of a topology.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn all(layout: &Layout, topology: &str) -> Result<Vec<Self>, E2eError> {
        let workers = topology::workers(layout, topology)?.into_iter().filter_map(|directory| {
            let id = directory.file_name()?.to_string_lossy().into_owned();
            // A worker's directory may go between the listing and the look.
            let artifacts = fs::canonicalize(directory.join("artifacts")).ok()?;
            Some(Self { id, artifacts })
        });
        Ok(workers.collect())
    }

    /// Its last report, once it has made one.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn ticks(&self) -> Result<Option<Ticks>, E2eError> {
        let path = self.artifacts.join("ticks.json");
        if !path.exists() {
            return Ok(None);
        }
        let ticks: Option<Ticks> = serde_json::from_str(&files::read(&path)?).ok();
        Ok(ticks.filter(|ticks| ticks.worker == self.id))
    }

    /// Tells it what to do.
    ///
    /// # Errors
    ///
    /// [`E2eError::File`].
    pub fn tell(&self, command: &str) -> Result<(), E2eError> {
        files::replace(&self.artifacts.join("command"), command)
    }

    /// Tells it what to do, and waits until it is done.
    ///
    /// # Errors
    ///
    /// [`E2eError::TimedOut`].
    pub fn carry_out(&self, layout: &Layout, command: &str) -> Result<(), E2eError> {
        self.tell(command)?;
        await_some(layout, format!("`{command}` carried out"), || {
            Ok(self.ticks()?.filter(|ticks| ticks.taken == command))
        })
        .map(|_| ())
    }

    /// Waits for the note on how its container ended.
    ///
    /// # Errors
    ///
    /// [`E2eError::TimedOut`].
    pub fn end(&self, layout: &Layout) -> Result<ExitNote, E2eError> {
        let what = format!("how worker {} ended", self.id);
        await_some(layout, what, || {
            let notes = ExitNote::all(&self.artifacts)?;
            Ok(notes.into_iter().find(|note| note.container_id.ends_with(&self.id)))
        })
    }
}

/// Looks until there is something.
///
/// # Errors
///
/// [`E2eError::TimedOut`].
pub fn await_some<T>(
    layout: &Layout,
    what: impl Into<String>,
    found: impl FnMut() -> Result<Option<T>, E2eError>,
) -> Result<T, E2eError> {
    interrupt::poll(LIMIT, found)?.ok_or_else(|| E2eError::TimedOut {
        what: what.into(),
        seconds: LIMIT.as_secs(),
        log: layout.kept("supervisor.log"),
    })
}

/// Submits topologies of one worker, each with what it adds to the configuration; what it adds to
/// `topology.worker.childopts` comes after the usual.
///
/// # Errors
///
/// [`E2eError::Ended`] when Nimbus refuses one.
pub fn submit(
    layout: &Layout,
    account: &Account,
    topologies: &[(&str, Value)],
) -> Result<(), E2eError> {
    let directory = layout.scratch("topologies");
    files::make_dir(&directory)?;
    let mut arguments = Vec::new();
    for (name, added) in topologies {
        let file = directory.join(format!("{name}.yaml"));
        // JSON is YAML.
        files::write(&file, configuration(added).to_string())?;
        arguments.push(format!("{name}={}", file.display()));
    }
    operate::run(layout, account, "submit-commanded", &arguments)
}

fn configuration(added: &Value) -> Value {
    const OPTIONS: &str = "topology.worker.childopts";
    let mut conf = json!({ "topology.workers": 1, "topology.acker.executors": 0 });
    if let (Some(conf), Some(added)) = (conf.as_object_mut(), added.as_object()) {
        conf.extend(added.clone());
        let more = added.get(OPTIONS).and_then(Value::as_str).unwrap_or_default();
        conf.insert(OPTIONS.to_owned(), json!(format!("{CHILD_OPTIONS} {more}").trim_end()));
    }
    conf
}

/// Waits until the topology's worker works: another one than `before`, if that is given.
///
/// # Errors
///
/// [`E2eError::TimedOut`].
pub fn works(layout: &Layout, topology: &str, before: Option<&Worker>) -> Result<Worker, E2eError> {
    let mut first = None;
    await_some(layout, format!("{topology} at work"), || {
        let Some(worker) = Worker::of(layout, topology)? else { return Ok(None) };
        if before.is_some_and(|before| before.id == worker.id) {
            return Ok(None);
        }
        let Some(ticks) = worker.ticks()? else { return Ok(None) };
        let (id, count) = first.get_or_insert_with(|| (worker.id.clone(), ticks.ticks));
        if *id != worker.id {
            first = None;
            return Ok(None);
        }
        Ok((ticks.ticks > *count).then_some(worker))
    })
}

/// The container of a worker that works.
///
/// # Errors
///
/// [`E2eError::Unconfirmed`] when it is another worker's.
pub fn container(layout: &Layout, topology: &str, worker: &Worker) -> Result<Container, E2eError> {
    let container = Container::of(layout, topology)?;
    if container.id().ends_with(&worker.id) {
        return Ok(container);
    }
    Err(E2eError::unconfirmed(format!("worker {} is the present one", worker.id), container.id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_topology_adds_counts() {
        let conf = configuration(&json!({
            "topology.workers": 2, "topology.worker.childopts": "-Xmx64m", "a": 1,
        }));
        let options = format!("{CHILD_OPTIONS} -Xmx64m");
        assert_eq!(
            conf,
            json!({
                "topology.workers": 2, "topology.acker.executors": 0, "a": 1,
                "topology.worker.childopts": options,
            })
        );
    }
}
