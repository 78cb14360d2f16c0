//! Where `worker-launcher.cfg` is read from.
//!
//! One compiled-in path. The file and every directory above it belong to root and cannot be
//! written by anybody else, which is checked on the opened descriptors; the file is read once,
//! from the descriptor that was checked.

use nix::unistd::Group;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, fstat};
pub(crate) use storm_oci_request::Config;
use storm_oci_request::ConfigMistake;

use crate::error::{At, CHECK_SETUP, LauncherError, Result, Step, must};
use crate::sys_file::{kind, read_whole};
use crate::trusted::trust;

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
    let (file, _) = trust(&path())?;
    read(&file).map_err(|mistakes| {
        let problem = mistakes.into_iter().next().map_or_else(String::new, |error| error.problem);
        Step::Config.refused(path(), problem).with_hint(CHECK_SETUP)
    })
}

/// Reads an opened configuration.
///
/// # Errors
///
/// Every mistake in it.
pub(crate) fn read(file: &OwnedFd) -> Result<Config, Vec<LauncherError>> {
    let error = |problem: String, fix: String| Step::Config.refused(path(), problem).with_hint(fix);
    let text = fstat(file).at(Step::Config, path()).and_then(|stat| {
        let regular = kind(&stat) == FileType::RegularFile;
        must(regular, Step::Config, path(), "it is not a regular file")?;
        read_whole(file, MAX_BYTES, Step::Config, path())
    });
    let fix = || format!("write {} anew from worker-launcher.cfg.example", path());
    let text = text.map_err(|error| vec![error.with_hint(fix())])?;
    let config = Config::parse(&text, |name| match Group::from_name(name.as_str()) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => {
            let fix = format!("groupadd --system {name}");
            Err(ConfigMistake::new(format!("no group `{name}`"), fix))
        }
        Err(source) => Err(ConfigMistake::new(
            format!("cannot look up group `{name}`: {source}"),
            "see that the name service answers `getent group`",
        )),
    });
    config.map_err(|mistakes| mistakes.into_iter().map(|one| error(one.problem, one.fix)).collect())
}

/// A configuration with every default.
#[cfg(test)]
pub(crate) fn for_tests() -> Config {
    Config::parse(b"storm.worker-launcher.group=storm\n", |_| Ok(995)).expect("defaults are right")
}
