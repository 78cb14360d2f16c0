//! `worker-launcher`: the setuid program that does storm-oci's privileged steps and runs `runc`.
//!
//! It trusts root's configuration file, runc's program file and its own run root, and nobody else:
//! not the supervisor's user who calls it, not the topology's user it acts for, not the image.
//! `main` is the whole order of things: first acts, arguments, configuration, self-check, account,
//! then one verb.

mod account;
mod binds;
mod bundle;
mod callers_file;
mod cgroup;
mod checksetup;
mod claim;
mod config;
mod directory;
mod error;
mod host;
mod host_command;
mod image;
mod kernel;
mod launch;
mod layer_reaper;
mod layers;
mod monitor;
mod mount_points;
mod ownership;
mod phases;
mod privilege;
mod proc_fd;
mod process;
mod profile;
mod read_back;
mod reap;
mod records;
mod remains;
mod remove;
mod report;
mod request_file;
mod rootfs;
mod run;
mod run_root;
mod runc;
mod sanitize;
mod self_check;
mod signal;
mod sweep;
mod switches;
mod sys;
mod sys_file;
mod sys_loop;
mod sys_mount;
mod sys_seccomp;
mod sys_signal;
mod syslog;
mod target;
mod tree;
mod trusted;
mod walk;
mod worker_files;

use std::process::ExitCode;

use account::Account;
use config::Config;
use error::{LauncherError, Step};
use ownership::Rule;
use rustix::process::getuid;
use sanitize::CallerProcess;
use storm_oci_request::{
    ContainerId, HostPath, Invocation, parse_command_line, parse_number as number,
};

fn main() -> ExitCode {
    #[cfg(feature = "test-switches")]
    switches::read();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(LauncherError::Reported { code }) => ExitCode::from(code),
        Err(error) => {
            report::failure(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn run() -> Result<(), LauncherError> {
    let acts = sanitize::first_acts();
    let caller = acts.as_ref().map_or_else(|_| getuid().as_raw(), |acts| acts.identity.uid);
    syslog::open(caller);
    let (user, verb, arguments) = match parse_command_line(sys::arguments())? {
        Invocation::Act { user, verb, arguments } => (user, verb, arguments),
        Invocation::Tell(option) => {
            return match acts.err() {
                Some(error) if error.step() != Some(Step::BecomeRoot) => Err(error),
                // With nobody's rights but the caller's, looking is harmless.
                powerless => tell(option, powerless),
            };
        }
    };
    let caller = acts?;
    let config = config::load()?;
    self_check::check(&config)?;
    let account = account::find(&user, &caller.identity, &config)?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    act(&caller, &config, &account, verb, &arguments)
}

fn tell(option: &str, powerless: Option<LauncherError>) -> Result<(), LauncherError> {
    match option {
        "--version" => report::version(),
        "--checksetup" => checksetup::check(powerless)?,
        _ => report::configuration(&config::load()?.effective),
    }
    Ok(())
}

fn act(
    caller: &CallerProcess,
    config: &Config,
    account: &Account,
    verb: &'static str,
    arguments: &[&str],
) -> Result<(), LauncherError> {
    let path = HostPath::parse;
    match (verb, arguments) {
        ("code-dir" | "blob", [tree]) => {
            ownership::give(caller, config, account, &path(tree)?, Rule::READ)
        }
        ("artifacts-dir", [dir]) => {
            ownership::give(caller, config, account, &path(dir)?, Rule::WRITE)
        }
        ("rmr", [tree]) => remove::remove(caller, account, &path(tree)?),
        ("worker", [dir, script]) => {
            host_command::worker(caller, config, account, &path(dir)?, &path(script)?)
        }
        ("profiler", [dir, script]) => {
            host_command::profiler(caller, config, account, &path(dir)?, &path(script)?)
        }
        ("signal", [pid, signal]) => {
            signal::signal(caller, config, account, number(pid)?, number(signal)?)
        }
        ("run-oci-container", [worker_dir, request, artifacts]) => {
            let (worker_dir, artifacts) = (path(worker_dir)?, path(artifacts)?);
            run::run(caller, config, account, worker_dir, &path(request)?, artifacts)
        }
        ("reap-oci-container", [container, keep]) => {
            reap::reap(caller, config, &ContainerId::parse(container)?, number(keep)?)
        }
        ("profile-oci-container", [pid, file]) => {
            profile::profile(caller, config, account, number(pid)?, &path(file)?)
        }
        ("sweep-oci-containers", [root]) => sweep::sweep(caller, config, &path(root)?),
        _ => Err(LauncherError::refused(Step::Command, verb, "no such command")),
    }
}
