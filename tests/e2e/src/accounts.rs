//! The two accounts of a run: the daemons' and the topologies'.

use std::path::Path;
use std::process::Command;

use crate::{E2eError, command, files};

/// The launcher's `min.user.id`; accounts from here on may run workers.
pub const MIN_USER_ID: u32 = 1000;

/// An account as the system knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: u32,
    /// The gid of its group.
    pub gid: u32,
}

/// Makes the daemons' account: a system account with a group of its name.
///
/// # Errors
///
/// [`E2eError::Ended`] when `useradd` fails.
pub fn add_daemon(name: &str, log: &Path) -> Result<Account, E2eError> {
    add(name, &["--system", "--user-group"], log)
}

/// Makes a topology account: one with a uid of at least [`MIN_USER_ID`].
///
/// # Errors
///
/// [`E2eError::Ended`] when `useradd` fails.
pub fn add_topology(name: &str, log: &Path) -> Result<Account, E2eError> {
    add(name, &["--user-group"], log)
}

fn add(name: &str, options: &[&str], log: &Path) -> Result<Account, E2eError> {
    let mut useradd = Command::new("useradd");
    useradd
        .args(options)
        .args(["--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"])
        .arg(name);
    command::run("make an account", &mut useradd, log)?;
    find(name)?
        .ok_or_else(|| E2eError::unconfirmed(format!("account `{name}` exists"), "it does not"))
}

/// The account of that name, if there is one.
///
/// # Errors
///
/// [`E2eError::File`] when the account database cannot be read.
pub fn find(name: &str) -> Result<Option<Account>, E2eError> {
    Ok(files::read(Path::new("/etc/passwd"))?.lines().find_map(|line| parse(line, name)))
}

fn parse(line: &str, name: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let found = fields.next().filter(|found| *found == name)?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(Account { name: found.to_owned(), uid, gid })
}

/// Removes an account if it is there.
///
/// # Errors
///
/// [`E2eError::Unconfirmed`] when `userdel` fails, which it does while a process of the account
/// runs.
pub fn remove(name: &str) -> Result<(), E2eError> {
    if find(name)?.is_some() {
        command::output(Command::new("userdel").arg(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_account_database() {
        let line = "soci-demo:x:998:997::/nonexistent:/usr/sbin/nologin";
        let account = Account { name: "soci-demo".to_owned(), uid: 998, gid: 997 };
        assert_eq!(parse(line, "soci-demo"), Some(account));
        assert_eq!(parse(line, "soci"), None);
        assert_eq!(parse("soci-demo:x:many:997::/:/", "soci-demo"), None);
    }
}
