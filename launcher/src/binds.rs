//! Bind mounts: each source opened with the user's ids, cloned from that descriptor, restricted,
//! and put below the container's `binds/`, the only place runc gets sources from.

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use storm_oci_request::{BindMount, HostPath};

use crate::config::{CONF_DIR, Config};
use crate::directory::Directory;
use crate::error::{LauncherError, Result, Step};
use crate::kernel::{clone_mounts, open_path};
use crate::privilege::{Identity, acting_as};
use crate::proc_fd;
use crate::switches::without;
use crate::trusted::lineage;

/// What a mount point must be to take a source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SourceKind {
    /// A directory.
    Directory,
    /// A file, a socket or a FIFO.
    File,
}

/// Clones the sources of all mounts to `<container>/binds/<number>`, in the request's order.
///
/// Returns what each is.
///
/// # Errors
///
/// [`Step::BindSource`] for a source that is missing, that the user may not reach, or that the
/// rules do not allow.
pub(crate) fn clone_all(
    container: &Directory,
    config: &Config,
    user: &Identity,
    mounts: &[BindMount],
) -> Result<Vec<SourceKind>> {
    let binds = container.open("binds")?;
    let rules = Rules::find(config)?;
    let clone = |(index, mount): (usize, &BindMount)| {
        let source = open_source(user, &mount.source)?;
        let kind = rules.check(mount, &source)?;
        let name = index.to_string();
        let cloned = match kind {
            SourceKind::Directory => clone_mounts(&source, binds.make(&name)?, mount.read_only),
            SourceKind::File => clone_mounts(&source, binds.create(&name, 0o600)?, mount.read_only),
        };
        cloned.map_err(failed(&mount.source)).map(|()| kind)
    };
    mounts.iter().enumerate().map(clone).collect()
}

fn failed(source: &HostPath) -> impl Fn(Errno) -> LauncherError {
    Step::BindSource.failed(source)
}

fn open_source(user: &Identity, source: &HostPath) -> Result<OwnedFd> {
    let open = || {
        open_path(source.as_str()).map_err(|errno| {
            let problem =
                format!("`{}`: {errno}, asked as uid {}", first_failing(source), user.uid);
            Step::BindSource.refused(source.as_str(), problem)
        })
    };
    if without("bind-as-user") { open() } else { acting_as(user, open)? }
}

/// The first component, from the root, that cannot be opened.
fn first_failing(source: &HostPath) -> String {
    let mut walked = String::new();
    for component in source.components() {
        walked.push('/');
        walked.push_str(component);
        if open_path(&walked).is_err() {
            break;
        }
    }
    walked
}

/// Which sources a container may have, beside what its user can open.
struct Rules<'a> {
    config: &'a Config,
    /// Never for writing: the run root, the configuration's directory, and what is below them.
    closed: [HostPath; 2],
    /// Device and inode of these and of everything above them.
    identities: Vec<(u64, u64)>,
}

impl<'a> Rules<'a> {
    fn find(config: &'a Config) -> Result<Self> {
        let closed = [config.run_root.clone(), HostPath::parse(CONF_DIR)?];
        let mut identities = Vec::new();
        for path in &closed {
            let passed = lineage(path.as_str())?;
            identities.extend(passed.iter().map(|stat| (stat.st_dev, stat.st_ino)));
        }
        Ok(Self { config, closed, identities })
    }

    /// What lies below a directory is told by the kernel's own path of the opened source, whose
    /// components no link has chosen; a closed directory by its identity, so that no other name of
    /// it passes.
    fn check(&self, mount: &BindMount, source: &OwnedFd) -> Result<SourceKind> {
        let refused =
            |problem: String| Err(Step::BindSource.refused(mount.source.as_str(), problem));
        let stat = fstat(source).map_err(failed(&mount.source))?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::BlockDevice | FileType::CharacterDevice if !without("bind-device") => {
                return refused("it is a device".to_owned());
            }
            FileType::Directory => SourceKind::Directory,
            _ => SourceKind::File,
        };
        let real = proc_fd::path_of(source).map_err(failed(&mount.source))?;
        let parsed = HostPath::parse(&real).ok();
        let below = |list: &[HostPath]| {
            parsed.as_ref().is_some_and(|real| list.iter().any(|path| real.starts_with(path)))
        };
        let closed = parsed.is_none()
            || below(&self.closed)
            || self.identities.contains(&(stat.st_dev, stat.st_ino));
        if closed && !mount.read_only && !without("bind-closed") {
            return refused(
                "the run root, the launcher's configuration and what is above them cannot be \
                 mounted for writing"
                    .to_owned(),
            );
        }
        let (ro_mounts, rw_mounts) = (&self.config.ro_mounts, &self.config.rw_mounts);
        let listed = |list: &Option<Vec<HostPath>>| list.as_deref().is_some_and(below);
        let allowed = ro_mounts.is_none() && rw_mounts.is_none()
            || listed(rw_mounts)
            || mount.read_only && listed(ro_mounts);
        if !allowed && !without("bind-lists") {
            let keys = if mount.read_only { "ro-mounts or rw-mounts" } else { "rw-mounts" };
            return refused(format!(
                "`{real}` is below no path in worker.launcher.oci.{keys}, must be"
            ));
        }
        Ok(kind)
    }
}
