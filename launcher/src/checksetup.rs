//! `--checksetup`: every problem of the installation, each with its fix, not only the first.
//!
//! For administrators and for the supervisor's start. It changes nothing. Without root's rights
//! it looks at what anybody can see, and says that the rest needs root.

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsopen};

use crate::cgroup::Hierarchies;
use crate::config::{self, Config};
use crate::error::{LauncherError, Step};
use crate::report;
use crate::sanitize;
use crate::self_check;
use crate::sys_file::read_at_most;
use crate::trusted::{self, Untrusted};

/// A problem and what the administrator can do about it.
struct Finding {
    error: LauncherError,
    fix: String,
}

impl Finding {
    fn new(error: LauncherError, fix: impl Into<String>) -> Self {
        Self { error, fix: fix.into() }
    }
}

impl From<Untrusted> for Finding {
    fn from(untrusted: Untrusted) -> Self {
        let Untrusted { path, problem, fix } = untrusted;
        Self::new(LauncherError::Config { path, problem }, fix)
    }
}

/// Reports every problem. `powerless` is why the program is not root, when it is not.
///
/// # Errors
///
/// The first problem's code, all of them reported already.
pub(crate) fn check(powerless: Option<LauncherError>) -> Result<(), LauncherError> {
    let as_root = powerless.is_none();
    let mut findings = Vec::new();
    if let Some(error) = powerless {
        let fix = error.hint().unwrap_or("run it as root").to_owned();
        findings.push(Finding::new(error, fix));
    }
    let config = check_config(&mut findings);
    check_own_file(config.as_ref(), &mut findings);
    if let Some(config) = &config {
        check_runc(config, &mut findings);
        check_run_root(config, &mut findings);
    }
    findings.extend(
        Hierarchies::find().err().map(|error| {
            Finding::new(error, "mount cgroups, as every service manager does at boot")
        }),
    );
    if as_root {
        check_kernel(&mut findings);
    }
    for finding in &findings {
        report::problem(&finding.error, &finding.fix);
    }
    match findings.first() {
        Some(first) => Err(LauncherError::Reported { code: first.error.exit_code() }),
        None => {
            report::fine(&format!("the installation is fine ({})", config::path()));
            warn_of_links();
            Ok(())
        }
    }
}

fn check_config(findings: &mut Vec<Finding>) -> Option<Config> {
    let mut untrusted = Vec::new();
    let file = trusted::inspect(&config::path(), &mut untrusted);
    findings.extend(untrusted.into_iter().map(Finding::from));
    let mistakes = match config::read(&file?) {
        Ok(config) => return Some(config),
        Err(mistakes) => mistakes,
    };
    findings.extend(mistakes.into_iter().map(|mistake| {
        let error = LauncherError::Config { path: config::path(), problem: mistake.problem };
        Finding::new(error, mistake.fix)
    }));
    None
}

fn check_own_file(config: Option<&Config>, findings: &mut Vec<Finding>) {
    let own = |problem: String| LauncherError::OwnFile { problem };
    if sanitize::lies_on_nosuid() {
        findings.push(Finding::new(
            own("it lies on a file system mounted nosuid".to_owned()),
            "install it on another file system, or mount this one without nosuid",
        ));
    }
    match (self_check::stat_self(), config) {
        (Err(error), _) => findings.push(Finding::new(error, "mount /proc")),
        (Ok(_), None) => {}
        (Ok(stat), Some(config)) => {
            let faults = self_check::faults(&stat, config);
            findings.extend(
                faults.into_iter().map(|fault| Finding::new(own(fault.problem), fault.fix)),
            );
        }
    }
}

fn check_runc(config: &Config, findings: &mut Vec<Finding>) {
    let path = config.runc.as_str();
    let mut untrusted = Vec::new();
    let program = trusted::inspect(path, &mut untrusted);
    findings.extend(untrusted.into_iter().map(Finding::from));
    let Some(stat) = program.and_then(|program| fstat(&program).ok()) else {
        return;
    };
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !regular || stat.st_mode & 0o100 == 0 {
        findings.push(Finding::new(
            LauncherError::Config {
                path: path.to_owned(),
                problem: "not a program that root can execute".to_owned(),
            },
            "install runc, and set worker.launcher.oci.runc to its path",
        ));
    }
}

/// The run root may be missing, since a launch makes it; what is there must be root's.
fn check_run_root(config: &Config, findings: &mut Vec<Finding>) {
    let mut untrusted = Vec::new();
    let opened = trusted::inspect(config.run_root.as_str(), &mut untrusted);
    let missing = opened.is_none() && {
        let own = config.run_root.as_str();
        untrusted
            .last()
            .is_some_and(|last| last.path == own && last.problem == Errno::NOENT.to_string())
    };
    if missing {
        untrusted.pop();
    }
    findings.extend(untrusted.into_iter().map(Finding::from));
    let directory = |opened| {
        fstat(opened).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    };
    if opened.as_ref().is_some_and(|opened| !directory(opened)) {
        let error = LauncherError::Config {
            path: config.run_root.to_string(),
            problem: "it is not a directory".to_owned(),
        };
        let fix = "remove it, or set worker.launcher.oci.run-root to another path";
        findings.push(Finding::new(error, fix));
    }
}

/// Asking for a file system loads its module, and mounts nothing.
fn check_kernel(findings: &mut Vec<Finding>) {
    for name in ["squashfs", "overlay"] {
        if let Err(source) = fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC) {
            findings.push(Finding::new(
                LauncherError::failed(Step::Mount, name, source),
                format!("modprobe {name}, and list it in /etc/modules-load.d"),
            ));
        }
    }
    const LOOP: &str = "/dev/loop-control";
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    if let Err(source) = openat(CWD, LOOP, flags, Mode::empty()) {
        findings.push(Finding::new(
            LauncherError::failed(Step::Mount, LOOP, source),
            "modprobe loop, and list it in /etc/modules-load.d",
        ));
    }
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
