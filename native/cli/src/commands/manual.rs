//! Shell completion and manual pages, made of the same definitions as the help.

use std::fs::{self, File};
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Cli;
use crate::failure::CliError;
use crate::output;

/// Prints a completion script.
pub(crate) fn completions(shell: Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "storm-oci", &mut script);
    output::bytes(&script);
    Ok(())
}

/// Writes one page for the program and one for each command.
pub(crate) fn pages(directory: &Path) -> Result<(), CliError> {
    let failed = |operation, path: &Path| {
        let path = path.to_owned();
        move |cause| CliError::Local { operation, path, cause }
    };
    fs::create_dir_all(directory).map_err(failed("make directory", directory))?;
    let mut program = Cli::command();
    program.build();
    let mut left = vec![program];
    while let Some(command) = left.pop() {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        let path = directory.join(format!("{name}.1"));
        let mut page = File::create(&path).map_err(failed("write", &path))?;
        left.extend(command.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
        Man::new(command).render(&mut page).map_err(failed("write", &path))?;
    }
    Ok(())
}
