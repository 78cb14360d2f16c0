//! What the launcher writes into the worker's own directories. Everything there is written with
//! the ids of whom the directory belongs to: root follows no name in it.

use rustix::fd::OwnedFd;
use storm_oci_request::{ContainerId, HostPath};

use crate::directory::Directory;
use crate::error::Result;
use crate::privilege::{Identity, acting_as};

/// The container's standard output and error.
#[derive(Debug)]
pub(crate) struct OutputFiles {
    /// `runc-<container id>.out`
    pub(crate) out: OwnedFd,
    /// `runc-<container id>.err`
    pub(crate) err: OwnedFd,
}

/// Output is the user's and readable for the group, which is the launcher's in Storm's layout.
const OUTPUT_MODE: u32 = 0o640;

/// Makes the output files in the artifacts directory, as the user. The directory's last name may
/// be a symbolic link: Storm makes one.
pub(crate) fn create_output(
    user: &Identity,
    artifacts: &HostPath,
    container: &ContainerId,
) -> Result<OutputFiles> {
    acting_as(user, || {
        let directory = Directory::reached(artifacts.as_str())?;
        Ok(OutputFiles {
            out: directory.replace(&format!("runc-{container}.out"), OUTPUT_MODE)?,
            err: directory.replace(&format!("runc-{container}.err"), OUTPUT_MODE)?,
        })
    })?
}

/// Writes a file, as `identity`, in the place of one of that name.
pub(crate) fn write_file(identity: &Identity, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    acting_as(identity, || {
        let (parent, name) = path.rsplit_once('/').unwrap_or_default();
        let directory = Directory::reached(parent)?;
        directory.remove_file(name)?;
        directory.create_with(name, mode, content)
    })?
}
