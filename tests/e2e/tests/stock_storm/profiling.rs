//! What Storm's profiler makes of a worker in a container.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use storm_oci_e2e::container::Container;
use storm_oci_e2e::topology::Report;
use storm_oci_e2e::{E2eError, Testbed, files, interrupt};

use crate::verdicts::{holds, same};

/// Storm looks for requests every 10 s and records for 15 s.
const LIMIT: Duration = Duration::from_secs(120);

/// Stacks, heap dump and recording are in the artifacts directory: whole, the user's, readable for
/// the supervisor's group, and made of the JVM that the container knows by the reported pid.
pub(crate) fn made(
    testbed: &mut Testbed,
    container: &Container,
    report: &Report,
) -> Result<(), E2eError> {
    let pid = report.pid;
    for (start, end, content) in [
        (format!("jstack-{pid}-"), ".txt", &b"Full thread dump"[..]),
        (format!("recording-{pid}-"), ".bin", b"JAVA PROFILE 1.0"),
        (format!("recording-{pid}-"), ".jfr", b"FLR\0"),
    ] {
        let found = interrupt::poll(LIMIT, || {
            testbed.check()?;
            find(container, &start, end, content)
        })?;
        let file = found.ok_or_else(|| {
            let claim = format!("{start}*{end} is made in the container");
            E2eError::unconfirmed(claim, "the supervisor's log tells why")
        })?;
        let stat = metadata(&file)?;
        same("it is the user's", stat.uid(), testbed.user.uid)?;
        same("it is in the supervisor's group", stat.gid(), testbed.daemon.gid)?;
        holds("the group may read it", stat.mode() & 0o047 == 0o040, format!("{:o}", stat.mode()))?;
    }
    let again = Container::of(&testbed.layout, super::ONE)?;
    same("the container is the same", (again.id(), again.init), (container.id(), container.init))
}

fn find(
    container: &Container,
    start: &str,
    end: &str,
    content: &[u8],
) -> Result<Option<PathBuf>, E2eError> {
    for path in files::list(&container.worker.join("artifacts"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(start)
            && name.ends_with(end)
            && fs::read(&path).is_ok_and(|bytes| {
                bytes.windows(content.len()).take(1000).any(|window| window == content)
            })
            // Given to the group when it is complete.
            && metadata(&path)?.mode() & 0o040 != 0
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn metadata(path: &std::path::Path) -> Result<fs::Metadata, E2eError> {
    fs::metadata(path).map_err(|source| E2eError::File {
        verb: "look at",
        path: path.to_owned(),
        source,
    })
}
