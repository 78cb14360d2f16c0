//! Where `worker-launcher.cfg` is read from.
//!
//! One compiled-in path. The file and every directory above it belong to root and cannot be
//! written by anybody else, which is checked on the opened descriptors; the file is read once,
//! from the descriptor that was checked.

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, fstat};
pub(crate) use storm_oci_request::{Config, ConfigMistake};

use crate::error::{CHECK_SETUP, Result, Step};
use crate::sys_file::read_at_most;
use crate::trusted::open_trusted;

/// Where the configuration lies; compiled in.
pub(crate) const CONF_DIR: &str = env!("STORM_OCI_CONF_DIR");

/// Far above any real configuration.
const MAX_BYTES: usize = 64 * 1024;

/// The configuration file's path.
pub(crate) fn path() -> String {
    format!("{CONF_DIR}/worker-launcher.cfg")
}

/// Reads the configuration from its one place.
///
/// # Errors
///
/// [`Step::Config`] naming the file, directory or line at fault.
pub(crate) fn load() -> Result<Config> {
    let file = open_trusted(&path())?;
    read(&file).map_err(|mistakes| {
        let first = mistakes.into_iter().next();
        let problem = first.map_or_else(String::new, |mistake| mistake.problem);
        Step::Config.refused(path(), problem).with_hint(CHECK_SETUP)
    })
}

/// Reads an opened configuration.
///
/// # Errors
///
/// Every mistake in it.
pub(crate) fn read(file: &OwnedFd) -> Result<Config, Vec<ConfigMistake>> {
    let wrong = |problem: String| {
        let fix = format!("write {} anew from worker-launcher.cfg.example", path());
        vec![ConfigMistake::new(problem, fix)]
    };
    let stat = fstat(file).map_err(|source| wrong(source.to_string()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(wrong("it is not a regular file".to_owned()));
    }
    let bytes = read_at_most(file, MAX_BYTES).map_err(|source| wrong(source.to_string()))?;
    let bytes = bytes.ok_or_else(|| wrong(format!("larger than {MAX_BYTES} bytes")))?;
    Config::parse(&bytes, |name| match nix::unistd::Group::from_name(name.as_str()) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => {
            let fix = format!("groupadd --system {name}");
            Err(ConfigMistake::new(format!("no group `{name}`"), fix))
        }
        Err(source) => Err(ConfigMistake::new(
            format!("cannot look up group `{name}`: {source}"),
            "see that the name service answers `getent group`",
        )),
    })
}

/// A configuration with every default.
#[cfg(test)]
pub(crate) fn for_tests() -> Config {
    Config::parse(b"storm.worker-launcher.group=storm\n", |_| Ok(995)).expect("defaults are right")
}
