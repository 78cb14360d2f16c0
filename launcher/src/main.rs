//! `worker-launcher`: the setuid program that does storm-oci's privileged steps and runs `runc`.
//!
//! It trusts root's configuration file, runc's program file and its own run root, and nobody else:
//! not the supervisor's user who calls it, not the topology's user it acts for, not the image.
//! `main` is the whole order of things: first acts, arguments, configuration, self-check, account,
//! then one verb.

mod account;
mod arguments;
mod binds;
mod bundle;
mod cgroup;
mod checksetup;
mod claim;
mod config;
mod directory;
mod error;
mod host;
mod image;
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
mod sys_signal;
mod tree;
mod trusted;
mod walk;
mod worker_files;

use std::process::ExitCode;

use arguments::{Invocation, Tell, Verb};
use config::Config;
use error::LauncherError;
use sanitize::CallerProcess;

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
    let (user, verb) = match (arguments::parse(&sys::arguments())?, &acts) {
        (Invocation::Act { user, verb }, _) => (user, verb),
        // With nobody's rights but the caller's, looking is harmless.
        (Invocation::Tell(what), Ok(_) | Err(LauncherError::NotSetuid { .. })) => {
            return tell(what, acts.err());
        }
        (Invocation::Tell(_), Err(_)) => return acts.map(drop),
    };
    let caller = acts?;
    let config = config::load()?;
    self_check::check(&config)?;
    let account = account::find(&user, &caller.identity, &config)?;
    act(&caller, &config, &account, verb)
}

fn tell(what: Tell, powerless: Option<LauncherError>) -> Result<(), LauncherError> {
    match what {
        Tell::Version => report::version(),
        Tell::CheckSetup => checksetup::check(powerless)?,
        Tell::PrintConfig => report::configuration(&config::load()?.effective),
    }
    Ok(())
}

fn act(
    caller: &CallerProcess,
    config: &Config,
    account: &account::Account,
    verb: Verb,
) -> Result<(), LauncherError> {
    match verb {
        Verb::CodeDir(dir) => ownership::give_code_dir(caller, config, account, &dir),
        Verb::ArtifactsDir(dir) => ownership::give_artifacts_dir(caller, config, account, &dir),
        Verb::Blob(path) => ownership::give_blob(caller, config, account, &path),
        Verb::Rmr(path) => remove::remove(caller, account, &path),
        Verb::Signal { pid, signal } => signal::signal(caller, config, account, pid, signal),
        Verb::RunOciContainer { worker_dir, request, artifacts } => {
            run::run(caller, config, account, worker_dir, &request, artifacts)
        }
        Verb::ReapOciContainer { container, keep_layers } => {
            reap::reap(caller, config, &container, keep_layers)
        }
        Verb::SweepOciContainers(root) => sweep::sweep(caller, config, &root),
    }
}
