//! Directories that do not outlive this process.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Doing, TestbedError};

/// Waits until the pipe's other end, this process, is gone. The daemons are killed then too, and
/// may still write for a moment.
const SWEEP: &str = r#"cat >/dev/null; for try in 1 2 3 4 5 6 7 8 9 10; do
  rm -rf "$1" && exit; sleep 0.2; done"#;

struct Root {
    path: PathBuf,
    /// Never written to: closed by the kernel when this process ends.
    _alive: Option<ChildStdin>,
}

static ROOT: LazyLock<Result<Root, String>> =
    LazyLock::new(|| make_root().map_err(|error| error.to_string()));

fn make_root() -> Result<Root, TestbedError> {
    let path = tempfile::Builder::new()
        .prefix("storm-oci-stores-")
        .tempdir()
        .doing("make a temporary directory")?
        .keep();
    // Servers that give up root read below it.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).doing("open the directory")?;
    let mut sweeper = Command::new("sh")
        .args(["-c", SWEEP, "sh"])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Not reached by the Ctrl-C that ends this process.
        .process_group(0)
        .spawn()
        .doing("start `sh`")?;
    Ok(Root { path, _alive: sweeper.stdin.take() })
}

/// A directory that is removed when this is dropped, and else when this process ends, even by
/// SIGKILL.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when the temporary directory cannot be written.
    pub fn new(name: &str) -> Result<Self, TestbedError> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let root = ROOT.as_ref().doing("prepare a directory for stores")?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = root.path.join(format!("{name}-{number}"));
        make_dir(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays goes with the process.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn make_dir(path: &Path) -> Result<(), TestbedError> {
    fs::create_dir_all(path).doing(format_args!("make {}", path.display()))
}

pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), TestbedError> {
    fs::write(path, content).doing(format_args!("write {}", path.display()))
}
