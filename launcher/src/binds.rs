//! Bind mounts: each source opened with the user's ids, cloned from that descriptor, restricted,
//! and put below the container's `binds/`, the only place runc gets sources from.

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, fstat};
use storm_oci_request::{BindMount, HostPath};

use crate::Call;
use crate::config::{CONF_DIR, Config};
use crate::directory::Directory;
use crate::error::{At, Result, Step, must};
use crate::kernel::{clone_mounts, open_path};
use crate::privilege::{Identity, acting_as};
use crate::proc_fd;
use crate::switches::without;
use crate::trusted::{open_program, trust};

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
    call: &Call,
    mounts: &[BindMount],
) -> Result<Vec<SourceKind>> {
    let binds = container.open("binds")?;
    let closed = closed_places(&call.config)?;
    let clone = |(index, mount): (usize, &BindMount)| {
        let source = open_source(&call.account.identity, &mount.source)?;
        let kind = check(&call.config, &closed, mount, &source)?;
        let name = index.to_string();
        let place = match kind {
            SourceKind::Directory => binds.make(&name)?.into(),
            SourceKind::File => binds.create(&name, 0o600)?,
        };
        clone_mounts(&source, place, mount.read_only).at(Step::BindSource, &mount.source)?;
        Ok(kind)
    };
    mounts.iter().enumerate().map(clone).collect()
}

/// Clones the init to `<container>/binds/<number>`, read-only.
///
/// # Errors
///
/// [`Step::Config`] as [`open_init`]; [`Step::BindSource`].
pub(crate) fn clone_init(container: &Directory, config: &Config, number: usize) -> Result<()> {
    let init = open_init(config)?;
    let place = container.open("binds")?.create(&number.to_string(), 0o600)?;
    clone_mounts(&init, place, true).at(Step::BindSource, "storm-oci-init")
}

/// Opens the init's program file: root's, and only root's to write, all the way from `/`.
///
/// # Errors
///
/// [`Step::Config`] when there is none, or it is not as it should be.
pub(crate) fn open_init(config: &Config) -> Result<OwnedFd> {
    let Some(path) = &config.init else {
        let fix = "set it to the path of storm-oci-init, or storm.oci.init in storm.yaml to false";
        return Err(Step::Config
            .refused("worker.launcher.oci.init", "it is not set")
            .with_hint(fix));
    };
    open_program(path)
}

fn open_source(user: &Identity, source: &HostPath) -> Result<OwnedFd> {
    let open = || {
        open_path(source.as_str()).map_err(|errno| {
            let failing = first_failing(source);
            let problem = format_args!("`{failing}`: {errno}, asked as uid {}", user.uid);
            Step::BindSource.refused(source, problem)
        })
    };
    if without("bind-as-user") { open() } else { acting_as(user, open)? }
}

/// The first component, from the root, that cannot be opened.
fn first_failing(source: &HostPath) -> String {
    let mut walked = String::new();
    for component in source.components() {
        walked = format!("{walked}/{component}");
        if open_path(&walked).is_err() {
            break;
        }
    }
    walked
}

/// What no container may write: these directories, and what is below them or, by device and inode,
/// above them.
struct Closed {
    directories: [HostPath; 2],
    above: Vec<(u64, u64)>,
}

fn closed_places(config: &Config) -> Result<Closed> {
    let directories = [config.run_root.clone(), HostPath::parse(CONF_DIR)?];
    let mut above = Vec::new();
    for path in &directories {
        above.extend(trust(path.as_str())?.1.iter().map(|stat| (stat.st_dev, stat.st_ino)));
    }
    Ok(Closed { directories, above })
}

/// Whether a container may have an opened source, beside that its user can open it.
///
/// What lies below a directory is told by the kernel's own path of the source, whose components no
/// link has chosen; a closed directory by its identity, so that no other name of it passes.
fn check(
    config: &Config,
    closed: &Closed,
    mount: &BindMount,
    source: &OwnedFd,
) -> Result<SourceKind> {
    let (step, object) = (Step::BindSource, &mount.source);
    let stat = fstat(source).at(step, object)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let device = matches!(kind, FileType::BlockDevice | FileType::CharacterDevice);
    must(!device || without("bind-device"), step, object, "it is a device")?;
    let real = proc_fd::path_of(source).at(step, object)?;
    let parsed = HostPath::parse(&real).ok();
    let below = |list: &[HostPath]| {
        parsed.as_ref().is_some_and(|real| list.iter().any(|path| real.starts_with(path)))
    };
    let closed = parsed.is_none()
        || below(&closed.directories)
        || closed.above.contains(&(stat.st_dev, stat.st_ino));
    let problem = "the run root, the launcher's configuration and what is above them cannot be \
                   mounted for writing";
    must(!closed || mount.read_only || without("bind-closed"), step, object, problem)?;
    let (ro_mounts, rw_mounts) = (&config.ro_mounts, &config.rw_mounts);
    let listed = |list: &Option<Vec<HostPath>>| list.as_deref().is_some_and(below);
    let allowed = ro_mounts.is_none() && rw_mounts.is_none()
        || listed(rw_mounts)
        || mount.read_only && listed(ro_mounts)
        || without("bind-lists");
    let keys = if mount.read_only { "ro-mounts or rw-mounts" } else { "rw-mounts" };
    let problem = format_args!("`{real}` is below no path in worker.launcher.oci.{keys}, must be");
    must(allowed, step, object, problem)?;
    Ok(if kind == FileType::Directory { SourceKind::Directory } else { SourceKind::File })
}
