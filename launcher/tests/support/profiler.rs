//! Profiling a container: root's script, Storm's line, the launcher's call.
#![allow(clippy::unwrap_used, reason = "a scene that cannot be set is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use super::container::Worker;
use super::{Host, Outcome, SUPERVISOR, USER, settle};

/// Where root's profiler script is.
pub(crate) const PROFILER: &str = "/mnt/bin/profiler";

/// Installs a profiler script and names it in the configuration.
pub(crate) fn install(host: &Host, script: &str) {
    host.configure(&format!("worker.profiler.script.path={PROFILER}"));
    host.file(PROFILER, None, 0o755, &format!("#!/bin/sh\n{script}\n"));
}

/// Writes Storm's line where Storm does: in the artifacts directory, which is the user's.
pub(crate) fn write(_host: &Host, worker: &Worker, line: &str) -> PathBuf {
    let path = fs::canonicalize(&worker.artifacts).unwrap().join("profile.sh");
    let _none = fs::remove_file(&path);
    fs::write(&path, line).unwrap();
    settle(&path, Some(SUPERVISOR), 0o644);
    path
}

/// The arguments of a call for a running container.
pub(crate) fn arguments(host: &Host, worker: &Worker, file: &Path) -> Vec<String> {
    let pid = worker.init(host).to_string();
    let file = file.to_str().unwrap();
    [USER.name, "profile-oci-container", &pid, file].map(str::to_owned).to_vec()
}

/// Has the launcher profile a running container.
#[track_caller]
pub(crate) fn call(host: &Host, worker: &Worker, line: &str) -> Outcome {
    let file = write(host, worker, line);
    host.call(&arguments(host, worker, &file))
}
