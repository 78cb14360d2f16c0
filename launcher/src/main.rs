//! `worker-launcher`: the setuid program that does storm-oci's privileged steps and runs `runc`.
//!
//! It trusts root's configuration file, runc's program file and its own run root, and nobody else:
//! not the supervisor's user who calls it, not the topology's user it acts for, not the image.
//! `main` is the whole order of things: first acts, arguments, configuration, self-check, account,
//! then one verb.

mod account;
mod binds;
mod bundle;
mod cgroup;
mod checksetup;
mod config;
mod container;
mod directory;
mod error;
mod host_command;
mod image;
mod kernel;
mod launch;
mod layer_file;
mod layers;
mod monitor;
mod ownership;
mod phases;
mod privilege;
mod proc_fd;
mod process;
mod profile;
mod read_back;
mod reap;
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
mod switches;
mod sys;
mod sys_file;
mod sys_loop;
mod sys_mount;
mod sys_seccomp;
mod sys_signal;
mod target;
mod tree;
mod trusted;
mod walk;
mod worker_files;

use std::process::ExitCode;

use account::Account;
use config::Config;
use error::{LauncherError, Result, Step};
use ownership::Rule;
use rustix::process::getuid;
use sanitize::CallerProcess;
use storm_oci_request::{
    ContainerId, HostPath, Invocation, parse_command_line, parse_number as number,
};

/// Who asks, what root allows, and for whom it is done.
#[derive(Debug)]
pub(crate) struct Call {
    /// The process that called, as it was.
    pub(crate) caller: CallerProcess,
    /// Root's configuration.
    pub(crate) config: Config,
    /// The account to act for.
    pub(crate) account: Account,
}

fn main() -> ExitCode {
    #[cfg(feature = "test-switches")]
    switches::read();
    let status = run().unwrap_or_else(|error| {
        report::failure(&error);
        error.step.exit_code()
    });
    ExitCode::from(status)
}

/// Does what is asked for; gives the exit status.
fn run() -> Result<u8> {
    let acts = sanitize::first_acts();
    let caller = acts.as_ref().map_or_else(|_| getuid().as_raw(), |acts| acts.identity.uid);
    report::open_log(caller);
    let (user, verb, arguments) = match parse_command_line(sys::arguments())? {
        Invocation::Act { user, verb, arguments } => (user, verb, arguments),
        Invocation::Tell(option) => {
            return match acts.err() {
                Some(error) if error.step != Step::BecomeRoot => Err(error),
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
    act(&Call { caller, config, account }, verb, &arguments)
}

fn tell(option: &str, powerless: Option<LauncherError>) -> Result<u8> {
    match option {
        "--version" => {
            let test = cfg!(feature = "test-switches");
            let build = if test { " (test build, not to be installed)" } else { "" };
            report::answer(&format!("worker-launcher {}{build}\n", env!("CARGO_PKG_VERSION")));
        }
        "--checksetup" => return Ok(checksetup::check(powerless)),
        // One `key=value` line a key, defaults filled in.
        _ => {
            let effective = config::load()?.effective;
            let lines = effective.iter().map(|(key, value)| format!("{key}={value}\n"));
            report::answer(&lines.collect::<String>());
        }
    }
    Ok(0)
}

fn act(call: &Call, verb: &'static str, arguments: &[&str]) -> Result<u8> {
    let path = HostPath::parse;
    match (verb, arguments) {
        ("code-dir" | "blob", [tree]) => ownership::give(call, &path(tree)?, Rule::READ)?,
        ("artifacts-dir", [dir]) => ownership::give(call, &path(dir)?, Rule::WRITE)?,
        ("rmr", [tree]) => remove::remove(call, &path(tree)?)?,
        ("worker" | "profiler", [dir, script]) => {
            host_command::run(call, verb, &path(dir)?, &path(script)?)?;
        }
        ("signal", [pid, signal]) => signal::signal(call, number(pid)?, number(signal)?)?,
        ("run-oci-container", [dir, request, artifacts]) => {
            return run::run(call, &path(dir)?, &path(request)?, &path(artifacts)?);
        }
        ("reap-oci-container", [container, keep]) => {
            reap::reap(call, &ContainerId::parse(container)?, number(keep)?)?;
        }
        ("profile-oci-container", [pid, file]) => {
            return profile::profile(call, number(pid)?, &path(file)?);
        }
        ("sweep-oci-containers", [root]) => reap::sweep(call, &path(root)?)?,
        _ => return Err(Step::Command.refused(verb, "no such command")),
    }
    Ok(0)
}
