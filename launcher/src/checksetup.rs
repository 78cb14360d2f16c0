//! `--checksetup`: every problem of the installation, each with its fix, not only the first.
//!
//! For administrators and for the supervisor's start. It changes nothing. Without root's rights
//! it looks at what anybody can see, and says that the rest needs root.

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsopen};
use storm_oci_request::HostPath;

use crate::cgroup::Hierarchies;
use crate::config::{self, Config};
use crate::error::{LauncherError, Step};
use crate::report;
use crate::sanitize;
use crate::self_check;
use crate::sys_file::read_at_most;
use crate::trusted;

/// Reports every problem. `powerless` is why the program is not root, when it is not.
///
/// # Errors
///
/// The first problem's code, all of them reported already.
pub(crate) fn check(powerless: Option<LauncherError>) -> Result<(), LauncherError> {
    let as_root = powerless.is_none();
    let mut findings: Vec<LauncherError> = powerless.into_iter().collect();
    let config = check_config(&mut findings);
    check_own_file(config.as_ref(), &mut findings);
    if let Some(config) = &config {
        for program in [Some(&config.runc), config.profiler_script.as_ref()].into_iter().flatten() {
            check_program(program, &mut findings);
        }
        check_run_root(config, &mut findings);
    }
    let no_cgroups = "mount cgroups, as every service manager does at boot";
    findings.extend(Hierarchies::find().err().map(|error| error.with_hint(no_cgroups)));
    if as_root {
        check_kernel(&mut findings);
    }
    findings.iter().for_each(report::problem);
    match findings.first() {
        Some(first) => Err(LauncherError::Reported { code: first.exit_code() }),
        None => {
            report::fine(&format!("the installation is fine ({})", config::path()));
            warn_of_links();
            Ok(())
        }
    }
}

fn check_config(findings: &mut Vec<LauncherError>) -> Option<Config> {
    let path = config::path();
    let opened = trusted::inspect(&path, findings);
    let (file, _) = opened.map_err(|error| findings.push(error)).ok()?;
    let mistake = |mistake: config::ConfigMistake| {
        LauncherError::refused(Step::Config, path.as_str(), mistake.problem).with_hint(mistake.fix)
    };
    let read = config::read(&file);
    read.map_err(|mistakes| findings.extend(mistakes.into_iter().map(mistake))).ok()
}

fn check_own_file(config: Option<&Config>, findings: &mut Vec<LauncherError>) {
    if sanitize::lies_on_nosuid() {
        findings.push(self_check::fault(
            "it lies on a file system mounted nosuid",
            "install it on another file system, or mount this one without nosuid",
        ));
    }
    match (self_check::stat_self(), config) {
        (Err(error), _) => findings.push(error.with_hint("mount /proc")),
        (Ok(_), None) => {}
        (Ok(stat), Some(config)) => findings.extend(self_check::faults(&stat, config)),
    }
}

fn check_program(path: &HostPath, findings: &mut Vec<LauncherError>) {
    let checked = trusted::inspect(path.as_str(), findings)
        .and_then(|(_, passed)| trusted::check_program(path, &passed));
    findings.extend(checked.err());
}

/// The run root may be missing, since a launch makes it; what is there must be root's.
fn check_run_root(config: &Config, findings: &mut Vec<LauncherError>) {
    let path = config.run_root.as_str();
    let (parent, name) = path.rsplit_once('/').unwrap_or_default();
    let parent = match trusted::inspect(parent, findings) {
        Ok((parent, _)) => parent,
        Err(error) => return findings.push(error),
    };
    if let Err(Errno::NOENT) = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        return;
    }
    match trusted::open_below(parent.as_fd(), name, path, findings) {
        Ok((_, stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
        Ok(_) => findings.push(
            LauncherError::refused(Step::Config, path, "it is not a directory")
                .with_hint("remove it, or set worker.launcher.oci.run-root to another path"),
        ),
        Err(error) => findings.push(error),
    }
}

/// Asking for a file system loads its module, and mounts nothing.
fn check_kernel(findings: &mut Vec<LauncherError>) {
    let mut load = |module: &str, object: &str, found: Result<(), Errno>| {
        let fix = format!("modprobe {module}, and list it in /etc/modules-load.d");
        findings.extend(
            found
                .err()
                .map(|source| LauncherError::failed(Step::Mount, object, source).with_hint(fix)),
        );
    };
    for name in ["squashfs", "overlay"] {
        load(name, name, fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC).map(drop));
    }
    const LOOP: &str = "/dev/loop-control";
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    load("loop", LOOP, openat(CWD, LOOP, flags, Mode::empty()).map(drop));
}

/// Not the launcher's own fault and not its end, but one of its guards leans on it: a user who
/// may link files of the supervisor's gets them with the directory he links them into.
fn warn_of_links() {
    const SWITCH: &str = "/proc/sys/fs/protected_hardlinks";
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let value = openat(CWD, SWITCH, flags, Mode::empty()).and_then(|file| read_at_most(file, 16));
    if matches!(value, Ok(Some(text)) if text.starts_with(b"0")) {
        report::fine(
            "warning: fs.protected_hardlinks is 0, so users may link files that they cannot \
             write (hint: sysctl fs.protected_hardlinks=1)",
        );
    }
}
