//! `storm-oci`, the operator's command.
//!
//! [`args`] is what was typed, [`access`] turns it into stores, [`commands`] do the work with
//! `storm-oci-convert`, and [`output`] prints.
#![forbid(unsafe_code)]

mod access;
mod args;
mod commands;
mod docker_to_squash;
mod failure;
mod logging;
mod output;
mod progress;
mod session;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use tokio::runtime::Runtime;

use args::{Cli, Command};
use failure::CliError;
use session::Session;

/// How long tasks that were left behind may take to end.
const SHUTDOWN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match &cli.command {
        Command::DockerToSquash { options, .. } => docker_to_squash::level(options.log),
        _ => logging::level(cli.quiet, cli.verbose),
    };
    logging::begin(level);
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::failure(&error),
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    let session = Session::new(cli.quiet);
    let command = match cli.command {
        Command::Completions { shell } => return commands::manual::completions(shell),
        Command::Man { directory } => return commands::manual::pages(&directory),
        command => command,
    };
    let runtime = Runtime::new().map_err(CliError::Runtime)?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = dispatch(&session, command) => outcome,
            outcome = session::interruption() => match outcome {
                Ok(()) => Err(CliError::Interrupted),
                Err(cause) => Err(CliError::Runtime(cause)),
            },
        }
    });
    if matches!(outcome, Err(CliError::Interrupted)) {
        runtime.block_on(session.release_locks());
    }
    runtime.shutdown_timeout(SHUTDOWN);
    outcome
}

async fn dispatch(session: &Session, command: Command) -> Result<(), CliError> {
    match command {
        Command::Image(command) => commands::image(session, command).await,
        Command::Store(command) => commands::store(session, command).await,
        Command::DockerToSquash { command, options } => {
            docker_to_squash::run(session, command, &options).await
        }
        // These need no runtime, and came before.
        Command::Completions { .. } | Command::Man { .. } => Ok(()),
    }
}
