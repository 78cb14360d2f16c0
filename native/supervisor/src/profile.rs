//! Profiling a worker in its container: the line that Storm's profiler gets, and the launcher's
//! verb.

use std::io::{self, Write as _};
use std::path::Path;

use storm_oci_request::{AccountName, HostPath, WorkerId};
use tracing::{Span, info, warn};

use crate::beneath::Directory;
use crate::containers::Containers;
use crate::documents::{self, ProfileDocument};
use crate::error::SupervisorError;
use crate::launcher::{Finished, LONG};
use crate::process;
use crate::scope;
use crate::text;

/// The launcher's verb.
const PROFILE: &str = "profile-oci-container";

/// Storm's name of the file in the artifacts directory.
const COMMAND: &str = "profile.sh";
const FRESH: &str = "profile.sh.new";

/// The topology's user reads it, who owns the directory and is in no group of ours.
const MODE: u32 = 0o644;

/// The launcher's exit code when it could not start a process: the one failure that can pass.
const NOT_STARTED: i32 = 56;

impl Containers {
    /// Runs a profiling command in a worker's container. Storm repeats what answers `false` every
    /// few seconds and shows nobody why, so a failure that would repeat itself is told once in
    /// the log and counts as dealt with.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::Document`] when `profile_json` is not one.
    pub fn profile(&self, profile_json: &str) -> Result<bool, SupervisorError> {
        let document: ProfileDocument = documents::read("profile document", profile_json)?;
        let _scope = self.scope_of(&document.worker_id).entered();
        match self.run_profiler(&document) {
            Ok(finished) => {
                for line in finished.stdout.lines().chain(finished.stderr.lines()) {
                    info!(target: "storm_oci.profile", "profiler: {}", text::shown(line));
                }
                if let Some(refusal) = finished.refusal() {
                    let code = finished.exit_code;
                    warn!(target: "storm_oci.profile", "cannot profile: launcher ended with {code}: {}", refusal.report());
                }
                Ok(finished.exit_code != NOT_STARTED)
            }
            Err(problem) => {
                warn!(target: "storm_oci.profile", "cannot profile: {problem}");
                Ok(true)
            }
        }
    }

    fn scope_of(&self, worker_id: &str) -> Span {
        let Ok(worker) = WorkerId::parse(worker_id) else {
            return scope::unchecked_worker(worker_id);
        };
        // One that cannot be read is told when it is needed.
        let record = self.records.of_worker(&worker).ok().flatten();
        scope::worker(&worker, record.as_ref())
    }

    fn run_profiler(&self, document: &ProfileDocument) -> Result<Finished, String> {
        let user = AccountName::parse(&document.user).map_err(|error| error.to_string())?;
        let worker = WorkerId::parse(&document.worker_id).map_err(|error| error.to_string())?;
        let record = self.records.of_worker(&worker).map_err(|error| error.report())?;
        let init = record.and_then(|record| record.init).filter(|init| process::is_alive(*init));
        let init = init.ok_or("it has no running container")?;
        let file = format!("{}/{COMMAND}", document.target_dir);
        let file = HostPath::parse(&file).map_err(|error| error.to_string())?;
        // As Storm's own manager writes it, with the name of a profiler that is empty.
        write_command(Path::new(&document.target_dir), &document.command.join(" "))
            .map_err(|error| format!("cannot write `{file}`: {error}"))?;
        let pid = init.pid.to_string();
        let arguments = [user.as_str(), PROFILE, &pid, file.as_str()];
        self.launcher.run(PROFILE, &arguments, Path::new("/"), LONG).map_err(|error| error.report())
    }
}

/// Puts the line in the place of an earlier one, whole or not at all. What else the user may have
/// put under these names is replaced, never written to.
fn write_command(directory: &Path, line: &str) -> io::Result<()> {
    let directory = Directory::open(directory)?;
    let mut file = directory.replace(FRESH, MODE)?;
    // Whatever the umask: who cannot read it cannot be profiled.
    rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(MODE))?;
    file.write_all(line.as_bytes())?;
    directory.rename(FRESH, COMMAND)
}
