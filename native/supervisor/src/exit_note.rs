//! `<artifacts>/exit-<container id>.json`: all that is known of how a container ended, for people.
//!
//! The artifacts outlive the worker, and the topology's user owns them: the note is made only where
//! nothing is, and nobody relies on it.

use std::io::{self, Read, Seek, SeekFrom, Write};

use serde::Serialize;
use serde_json::{Value, json};
use storm_oci_request::{ContainerId, ExitRecord};

use crate::beneath::Directory;
use crate::documents::PhaseDocument;
use crate::events::ExitEvent;
use crate::limits::Limits;
use crate::oom::OutOf;

/// The note's format.
const VERSION: u32 = 1;

/// For people and for the topology's user.
const MODE: u32 = 0o644;

/// How much of the container's last output the note has.
const OUTPUT_BYTES: u64 = 4096;
const OUTPUT_LINES: usize = 20;

/// The end of what a container wrote.
#[derive(Debug, Default, Serialize)]
pub(crate) struct LastOutput {
    stdout: Vec<String>,
    stderr: Vec<String>,
}

impl LastOutput {
    /// Reads the container's output files in its artifacts. What cannot be read is empty.
    pub(crate) fn read(artifacts: &Directory, container: &ContainerId) -> Self {
        let last = |stream| last_lines(artifacts, &format!("runc-{container}.{stream}"));
        Self { stdout: last("out"), stderr: last("err") }
    }

    /// The line that most likely says what went wrong.
    pub(crate) fn last_words(&self) -> Option<&str> {
        self.stderr.last().or_else(|| self.stdout.last()).map(String::as_str)
    }
}

/// The last lines of a file that the topology's user can write meanwhile.
fn last_lines(artifacts: &Directory, name: &str) -> Vec<String> {
    let read = || {
        let mut file = artifacts.read(name)?;
        let length = file.seek(SeekFrom::End(0))?;
        let start = file.seek(SeekFrom::Start(length.saturating_sub(OUTPUT_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(OUTPUT_BYTES).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>((start > 0, bytes))
    };
    let (cut, bytes) = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    // Where the file was cut, the first line is a part of one, unless it is all there is.
    let whole = if cut { text.split_once('\n').map_or(&*text, |(_, rest)| rest) } else { &text };
    let lines: Vec<&str> = whole.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.len().saturating_sub(OUTPUT_LINES);
    lines.into_iter().skip(first).map(str::to_owned).collect()
}

/// What the note says: the event, the monitor's record, and what is known beside them. Times are
/// milliseconds since the epoch; `null` is not known.
#[derive(Debug)]
pub(crate) struct ExitNote<'a> {
    pub(crate) container_id: &'a ContainerId,
    pub(crate) topology_id: Option<&'a str>,
    pub(crate) event: &'a ExitEvent,
    pub(crate) record: Option<&'a ExitRecord>,
    /// Whose memory ran out, if any did.
    pub(crate) out_of_memory_of: Option<OutOf>,
    /// What held for the container.
    pub(crate) limits: &'a Limits,
    pub(crate) launch_phases: &'a [PhaseDocument],
    pub(crate) last_output: &'a LastOutput,
}

impl ExitNote<'_> {
    /// Writes the note.
    ///
    /// # Errors
    ///
    /// What the system says; also when the user has put something in its place.
    pub(crate) fn write(&self, artifacts: &Directory) -> io::Result<()> {
        let mut json = serde_json::to_vec_pretty(&self.document()).map_err(io::Error::other)?;
        json.push(b'\n');
        artifacts.create(&format!("exit-{}.json", self.container_id), MODE)?.write_all(&json)
    }

    fn document(&self) -> Value {
        let Self { event, record, .. } = *self;
        json!({
            "version": VERSION,
            "containerId": self.container_id,
            "workerId": event.worker_id,
            "topologyId": self.topology_id,
            "message": event.message,
            "exitCode": event.exit_code,
            "signal": event.signal,
            "requested": event.requested,
            "beforeHeartbeat": event.before_heartbeat,
            "adopted": event.adopted,
            "outOfMemory": {
                "kills": record.and_then(|record| record.oom_kills),
                "of": self.out_of_memory_of,
            },
            "limits": self.limits,
            "peakMemoryBytes": record.and_then(|record| record.peak_memory_bytes),
            "cpuMicros": record.and_then(|record| record.cpu_micros),
            "launchedMillis": record.map(|record| record.launched_millis),
            "endedMillis": record.map(|record| record.ended_millis),
            "launchPhases": self.launch_phases,
            "lastOutput": self.last_output,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::hierarchy::tests::UUID;

    #[test]
    fn the_last_lines_are_whole_and_few() {
        let root = tempfile::tempdir().unwrap();
        let artifacts = Directory::open(root.path()).unwrap();
        let container = ContainerId::parse(&format!("6700-{UUID}")).unwrap();
        let path = |stream: &str| root.path().join(format!("runc-{container}.{stream}"));
        assert_eq!(LastOutput::read(&artifacts, &container).last_words(), None);
        let many: String = (0..1000).map(|number| format!("line {number}\n\n")).collect();
        fs::write(path("out"), many).unwrap();
        fs::write(path("err"), "").unwrap();
        let output = LastOutput::read(&artifacts, &container);
        assert_eq!(output.last_words(), Some("line 999"));
        assert_eq!(output.stdout.first().unwrap(), "line 980");
        assert_eq!(output.stdout.len(), OUTPUT_LINES);
        fs::write(path("out"), "x".repeat(10_000)).unwrap();
        fs::write(path("err"), b"bash: java: \xff").unwrap();
        let output = LastOutput::read(&artifacts, &container);
        assert_eq!(output.last_words(), Some("bash: java: \u{fffd}"));
        assert_eq!(output.stdout[0].len(), 4096);
    }
}
