//! `worker-launcher`: the setuid program that does storm-oci's privileged steps and runs `runc`.
//!
//! It trusts root's configuration file, runc's program file and its own run root, and nobody else:
//! not the supervisor's user who calls it, not the topology's user it acts for, not the image.
//! `main` is the whole order of things: first acts, arguments, configuration, self-check, account,
//! then one verb.

mod account;
mod arguments;
mod config;
mod error;
mod ownership;
mod privilege;
mod proc_fd;
mod remove;
mod report;
mod sanitize;
mod self_check;
mod sys;
mod sys_file;
mod tree;
mod walk;

use std::process::ExitCode;

use arguments::{Invocation, Verb};
use config::Config;
use error::LauncherError;
use sanitize::CallerProcess;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::failure(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn run() -> Result<(), LauncherError> {
    let caller = sanitize::first_acts()?;
    let (user, verb) = match arguments::parse(&sys::arguments())? {
        Invocation::Version => {
            report::version();
            return Ok(());
        }
        Invocation::CheckSetup => return Ok(()),
        Invocation::PrintConfig => {
            report::configuration(&config::load()?.effective);
            return Ok(());
        }
        Invocation::Act { user, verb } => (user, verb),
    };
    let config = config::load()?;
    self_check::check(&config)?;
    let account = account::find(&user, &caller.identity, &config)?;
    act(&caller, &config, &account, verb)
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
        verb => Err(LauncherError::UnknownVerb {
            verb: format!("{verb:?}"),
        }),
    }
}
