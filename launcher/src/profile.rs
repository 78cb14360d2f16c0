//! `profile-oci-container`: root's profiler script looks into a container, as its user.
//!
//! The container is the one that the record names, never one that a file names. A child joins its
//! cgroup, its namespaces and its root, becomes the user for good, takes the container's system
//! call filters, and becomes the script, from the descriptor that was checked. Before the drop
//! nothing inside of the container's root is read or executed: account and groups were looked up
//! long before. After it, whatever the image has for a shell runs with the rights that the
//! container's processes have anyway.

use std::convert::Infallible;
use std::ffi::CString;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::fstat;
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{chdir, chroot, fchdir, umask};
use rustix::thread::{LinkNameSpaceType as Kind, move_into_link_name_space};
use storm_oci_request::{HostPath, LaunchRecord, parse_number};

use crate::cgroup::Hierarchies;
use crate::error::{At, Result, Step, must};
use crate::host_command::UMASK;
use crate::privilege::become_for_good;
use crate::process::{HeldProcess, wait_for};
use crate::switches::without;
use crate::sys::{self, Fork};
use crate::sys_file::read_whole;
use crate::sys_seccomp::{self, Filter};
use crate::target::{self, Target};
use crate::trusted::open_program;
use crate::{Call, account, config, report, worker_files};

/// Far above any line that Storm writes.
const MAX_BYTES: usize = 8192;

/// All of the script's environment. It finds the JVM's tools by the JVM.
const ENVIRONMENT: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The namespaces to join, the mounts last; those of the user are not among them.
const NAMESPACES: [(&str, Kind); 7] = [
    ("ns/pid", Kind::ProcessID),
    ("ns/cgroup", Kind::ControlGroup),
    ("ns/ipc", Kind::InterProcessCommunication),
    ("ns/net", Kind::Network),
    ("ns/time", Kind::Time),
    ("ns/uts", Kind::HostNameAndNISDomainName),
    ("ns/mnt", Kind::Mount),
];

/// A container, opened by its first process.
struct Inside {
    namespaces: Vec<(OwnedFd, Kind)>,
    root: OwnedFd,
    filters: Vec<Filter>,
}

impl Inside {
    fn enter(&self, which: fn(Kind) -> bool) -> Result<(), Errno> {
        let mut chosen = self.namespaces.iter().filter(|(_, kind)| which(*kind));
        chosen.try_for_each(|(fd, kind)| move_into_link_name_space(fd.as_fd(), Some(*kind)))
    }
}

/// The profiler script and what it is to do.
struct Profiler<'a> {
    path: &'a HostPath,
    program: OwnedFd,
    /// The line that Storm wrote, to be read by nobody but the user.
    command: OwnedFd,
}

/// Runs the profiler script in the container whose first process is `pid`, as the line in `file`
/// asks; gives the script's own exit code.
///
/// # Errors
///
/// Whatever was refused or failed.
pub(crate) fn profile(call: &Call, pid: i32, file: &HostPath) -> Result<u8> {
    account::permitted_to_run(call)?;
    let path = call.config.profiler_script.as_ref().ok_or_else(|| {
        let problem = "worker.profiler.script.path is not set: nothing can be profiled";
        Step::Config.refused(config::path(), problem)
    })?;
    let program = open_program(path)?;
    let command = worker_files::open_callers(
        &call.account.identity,
        &call.caller.identity,
        file,
        [Step::Open; 2],
    )?;
    let profiler = Profiler { path, program, command };
    let hierarchies = Hierarchies::find()?;
    let number = u32::try_from(pid).unwrap_or(0);
    let target = target::find(call, number, Step::Profile)?;
    let Some(Target { held, record: Some(record) }) = target else {
        return Err(Step::Profile.refused(pid, "it is not the first process of a container"));
    };
    let container = record.container_id.as_str();
    let inside = open(&held, container, number)?;
    let failed = Step::Spawn.failed("profiler");
    // For children only: the fork below makes this program's first process in there.
    inside.enter(|kind| kind == Kind::ProcessID).map_err(failed)?;
    let child = match sys::fork().map_err(failed)? {
        Fork::Parent(child) => child,
        Fork::Child => {
            let Err(error) = become_profiler(call, &record, &hierarchies, inside, &profiler);
            report::failure(&error);
            sys::end(i32::from(error.step.exit_code()))
        }
    };
    match wait_for(child).map_err(failed)?.exit_status().map(u8::try_from) {
        Some(Ok(code)) => Ok(code),
        _ => Err(Step::Profile.refused(container, "the profiler was ended by a signal")),
    }
}

/// Opens what there is to join. The user namespace is looked at last: a process that still has
/// the host's has made none of the others itself, since it had no right to.
fn open(held: &HeldProcess, container: &str, pid: u32) -> Result<Inside> {
    let failed = Step::Profile.failed(container);
    let must = |holds, problem| must(holds, Step::Profile, container, problem);
    let own = HeldProcess::find(std::process::id()).map_err(failed)?;
    let own = own.ok_or_else(|| failed(Errno::SRCH))?;
    let identity = |file: &OwnedFd| fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
    // None: it is the same, or this kernel has no such namespaces.
    let differing = |name: &str| match (own.open(name)?, held.open(name)?) {
        (Some(ours), Some(theirs)) if identity(&ours)? != identity(&theirs)? => Ok(Some(theirs)),
        _ => Ok(None),
    };
    let status = held.read("status").map_err(failed)?.unwrap_or_default();
    let filtered = status.lines().any(|line| line == "Seccomp:\t2");
    let mut filters = Vec::new();
    if filtered && !without("profiler-seccomp") {
        filters = sys_seccomp::filters_of(pid).map_err(|source| {
            let problem = format_args!("its system call filter cannot be read: {source}");
            Step::Profile.refused(container, problem)
        })?;
    }
    let mut namespaces = Vec::new();
    for (name, kind) in NAMESPACES {
        let namespace = differing(name).map_err(failed)?;
        let optional = !matches!(kind, Kind::Mount | Kind::ProcessID) || without("host-namespaces");
        let problem = "it is in a namespace of the host's: it is no container";
        must(namespace.is_some() || optional, problem)?;
        namespaces.extend(namespace.map(|namespace| (namespace, kind)));
    }
    let root = held.open("root").map_err(failed)?.ok_or_else(|| failed(Errno::SRCH))?;
    let none = differing("ns/user").map_err(failed)?.is_none() || without("own-user-namespace");
    must(none, "its first process made a user namespace, and could make all others")?;
    // Still the process whose pid was used above.
    let runs = held.is_running().map_err(failed)?;
    runs.then_some(Inside { namespaces, root, filters }).ok_or_else(|| failed(Errno::SRCH))
}

/// In the child: joins the container, becomes the user and then the script.
fn become_profiler(
    call: &Call,
    record: &LaunchRecord,
    hierarchies: &Hierarchies,
    inside: Inside,
    profiler: &Profiler<'_>,
) -> Result<Infallible> {
    let failed = Step::Profile.failed(record.container_id.as_str());
    if !without("profiler-cgroup") {
        hierarchies.join(&record.cgroup)?;
    }
    inside.enter(|kind| kind != Kind::ProcessID).map_err(failed)?;
    fchdir(&inside.root).map_err(failed)?;
    chroot(".").map_err(failed)?;
    chdir("/").map_err(failed)?;
    call.caller.give_back()?;
    if !without("profiler-drop") {
        become_for_good(&call.account.identity)?;
    }
    // From here on the user's rights, and his responsibility.
    let refused = Step::Execute.failed(profiler.path.as_str());
    let arguments = read_command(&profiler.command, profiler.path)?;
    let arguments: Vec<_> = arguments.iter().map(CString::as_c_str).collect();
    let environment = CString::new(ENVIRONMENT).map_err(|_| refused(Errno::INVAL))?;
    umask(UMASK);
    // A script's interpreter opens it again through this descriptor.
    fcntl_setfd(&profiler.program, FdFlags::empty()).map_err(refused)?;
    for mut filter in inside.filters {
        sys_seccomp::load(&mut filter).map_err(refused)?;
    }
    Err(refused(sys::become_program(&profiler.program, c"", &arguments, &[environment])))
}

/// The script's arguments, from the line that Storm wrote where the user can write.
fn read_command(file: &OwnedFd, script: &HostPath) -> Result<Vec<CString>> {
    const COMMAND: &str = "the profiler's command";
    let text = read_whole(file, MAX_BYTES, Step::Read, COMMAND)?;
    let arguments = parse_command(&text).ok_or_else(|| {
        let problem = "not `<pid> <action> [<directory>]` with one of Storm's actions";
        Step::Read.refused(COMMAND, problem)
    })?;
    let all = std::iter::once(script.as_str().to_owned()).chain(arguments);
    all.map(|argument| CString::new(argument).map_err(|_| Errno::INVAL).at(Step::Read, COMMAND))
        .collect()
}

/// Storm joins a list with blanks, whose first part is empty.
fn parse_command(text: &[u8]) -> Option<Vec<String>> {
    let line = std::str::from_utf8(text).ok()?;
    let line = line.strip_suffix('\n').unwrap_or(line);
    let mut parts = line.strip_prefix(' ').unwrap_or(line).splitn(3, ' ');
    let (pid, action, directory) = (parts.next()?, parts.next()?, parts.next());
    let takes_directory = match action {
        "jstack" | "jmap" | "dump" | "stop" => true,
        "start" | "kill" => false,
        _ => return None,
    };
    let pid = parse_number::<u32>(pid).ok().filter(|pid| *pid > 0)?;
    let directory = directory.map(HostPath::parse).transpose().ok()?;
    if directory.is_some() != takes_directory {
        return None;
    }
    let directory = directory.map(|directory| directory.to_string());
    Some([pid.to_string(), action.to_owned()].into_iter().chain(directory).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storms_lines_are_understood() {
        for (line, arguments) in [
            (" 17 jstack /a/b", &["17", "jstack", "/a/b"][..]),
            ("17 jmap /a/b c\n", &["17", "jmap", "/a/b c"]),
            (" 17 start", &["17", "start"]),
            (" 17 kill\n", &["17", "kill"]),
        ] {
            assert_eq!(parse_command(line.as_bytes()).unwrap(), arguments, "{line:?}");
        }
    }

    #[test]
    fn every_other_line_is_refused() {
        for line in [
            "",
            " ",
            "\n",
            "17",
            " 17",
            " 17 ",
            " 17 jstack",
            " 17 jstack ",
            " 17 jstack a",
            " 17 jstack /a/../b",
            " 17 jstack /a\n/b",
            " 17 start /a",
            " 17 kill /a",
            " 0 kill",
            " -1 kill",
            " +1 kill",
            " 1x kill",
            "  17 kill",
            " 17  kill",
            " 17 JSTACK /a",
            " 17 kill\n\n",
            " 17 kill;id",
            " 17 $(id) /a",
            " 17 dump --help",
            " 4294967296 kill",
            " 17 jstack /a\u{1b}[2J",
            " 17\tkill",
        ] {
            assert_eq!(parse_command(line.as_bytes()), None, "{line:?}");
        }
        assert_eq!(parse_command(b" 17 jstack /\xff"), None);
    }
}
