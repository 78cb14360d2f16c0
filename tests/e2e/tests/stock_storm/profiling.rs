//! What Storm's profiler makes of a worker in a container.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use storm_oci_e2e::cluster::as_account;
use storm_oci_e2e::container::Container;
use storm_oci_e2e::supervisor_log::said;
use storm_oci_e2e::topology::{self, Report};
use storm_oci_e2e::verdicts::{holds, same};
use storm_oci_e2e::{E2eError, Testbed, command, files, interrupt};

/// Storm looks for requests every 10 s, and each is a JVM's start or two.
const LIMIT: Duration = Duration::from_secs(120);

/// Stacks, heap dump and recording are in the artifacts directory: whole, the user's, readable for
/// the supervisor's group, and made of the JVM that the container knows by the reported pid.
pub(crate) fn made(
    testbed: &mut Testbed,
    container: &Container,
    report: &Report,
) -> Result<(), E2eError> {
    let pid = report.pid;
    let (stacks, recording) = (format!("jstack-{pid}-"), format!("recording-{pid}-"));
    await_files(testbed, container, (&stacks, ".txt", b"Full thread dump"), 1)?;
    await_files(testbed, container, (&recording, ".bin", b"JAVA PROFILE 1.0"), 1)?;
    let layout = testbed.layout.clone();
    said(&layout, 0, &["Started recording".to_owned()])?;
    topology::dump(&layout, &testbed.user, super::ONE)?;
    await_files(testbed, container, (&recording, ".jfr", b"FLR\0"), 1)?;
    // Storm never asks for it once the recording is on, so by hand.
    by_hand(testbed, container, &format!(" {pid} stop "))?;
    await_files(testbed, container, (&recording, ".jfr", b"FLR\0"), 2)?;
    let again = Container::of(&layout, super::ONE)?;
    same("the container is the same", (again.id(), again.init), (container.id(), container.init))
}

/// Has the launcher profile the container, as the supervisor does.
fn by_hand(testbed: &Testbed, container: &Container, line: &str) -> Result<(), E2eError> {
    let artifacts = container.worker.join("artifacts");
    let file = |source| E2eError::File { verb: "write", path: artifacts.clone(), source };
    let artifacts = fs::canonicalize(&artifacts).map_err(file)?;
    let path = artifacts.join("profile.sh");
    files::replace(&path, format!("{line}{}", artifacts.display()))?;
    chown(&path, Some(testbed.daemon.uid), None).map_err(file)?;
    let mut launcher = as_account(&testbed.daemon);
    launcher.arg(testbed.layout.launcher()).arg(&testbed.user.name);
    launcher.args(["profile-oci-container", &container.init.to_string()]).arg(path);
    command::output(&mut launcher).map(|_| ())
}

/// Waits for so many files of a name and content.
fn await_files(
    testbed: &mut Testbed,
    container: &Container,
    kind: (&str, &str, &[u8]),
    count: usize,
) -> Result<(), E2eError> {
    let (start, end, _) = kind;
    let found = interrupt::poll(LIMIT, || {
        testbed.check()?;
        let found = find(container, kind)?;
        Ok((found.len() >= count).then_some(found))
    })?;
    let claim = format!("{count} {start}*{end} are made in the container");
    let found = found.ok_or_else(|| E2eError::unconfirmed(claim, "the log tells why"))?;
    for file in found {
        let stat = metadata(&file)?;
        same("it is the user's", stat.uid(), testbed.user.uid)?;
        same("it is in the supervisor's group", stat.gid(), testbed.daemon.gid)?;
        holds("others may not read it", stat.mode() & 0o007 == 0, format!("{:o}", stat.mode()))?;
    }
    Ok(())
}

fn find(
    container: &Container,
    (start, end, content): (&str, &str, &[u8]),
) -> Result<Vec<PathBuf>, E2eError> {
    let mut found = Vec::new();
    for path in files::list(&container.worker.join("artifacts"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let has = |bytes: Vec<u8>| {
            bytes.windows(content.len()).take(1000).any(|window| window == content)
        };
        // Given to the group when it is complete.
        if name.starts_with(start)
            && name.ends_with(end)
            && metadata(&path)?.mode() & 0o040 != 0
            && fs::read(&path).is_ok_and(has)
        {
            found.push(path);
        }
    }
    Ok(found)
}

fn metadata(path: &Path) -> Result<fs::Metadata, E2eError> {
    fs::metadata(path).map_err(|source| E2eError::File {
        verb: "look at",
        path: path.to_owned(),
        source,
    })
}
