//! The Debian packages a run needs.

use std::path::Path;
use std::process::Command;

use crate::{E2eError, command, say};

/// One package a line; `#` starts the reason why.
const LIST: &str = include_str!("../packages.txt");

/// Installs what is missing.
///
/// # Errors
///
/// [`E2eError::Ended`] when the packages cannot be fetched or installed.
pub fn ensure(log: &Path) -> Result<(), E2eError> {
    let missing: Vec<&str> = wanted(LIST).filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        say::line("all needed Debian packages are installed");
        return Ok(());
    }
    say::line(format!("installing from Debian: {}", missing.join(" ")));
    command::run("update the package lists", apt().arg("update"), log)?;
    let mut install = apt();
    install.args(["-y", "--no-install-recommends", "install"]).args(&missing);
    command::run("install packages", &mut install, log)
}

fn wanted(list: &str) -> impl Iterator<Item = &str> {
    list.lines()
        .map(|line| line.split_once('#').map_or(line, |(before, _)| before).trim())
        .filter(|package| !package.is_empty())
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.arg("-q").env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    command::output(&mut query).is_ok_and(|status| status == "installed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_blank_lines_are_no_packages() {
        let list = "# why\n\nrunc   # starts\n  gradle\n";
        assert_eq!(wanted(list).collect::<Vec<_>>(), ["runc", "gradle"]);
        assert!(wanted(LIST).count() >= 5);
    }
}
