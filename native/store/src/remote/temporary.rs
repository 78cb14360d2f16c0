//! Names of files that are being written.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::location::Location;

const SUFFIX: &str = ".partial";

/// A name in the same directory that nobody else writes to.
pub(super) fn beside(target: &Location) -> Location {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let time = std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_nanos());
    target.with_name(|name| format!(".{name}.{host}.{process}.{count}.{time}{SUFFIX}"))
}

/// Whether a file of this name is one that is being written, or was when its writer died.
#[must_use]
pub fn is_temporary(name: &str) -> bool {
    let staged = |name: &str| {
        // What the object library calls a file that it writes to a directory.
        name.rsplit_once('#').is_some_and(|(_, number)| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    (name.starts_with('.') && name.ends_with(SUFFIX)) || staged(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_is_known_as_one_and_used_once() {
        let target = Location::parse("hdfs://nn/layers/a.sqsh").unwrap();
        let (one, other) = (beside(&target), beside(&target));
        assert_ne!(one, other);
        assert!(one.to_string().starts_with("hdfs://nn/layers/.a.sqsh."), "{one}");
        for (name, temporary) in [
            (one.name(), true),
            ("a.sqsh#12", true),
            ("a.sqsh", false),
            ("a.sqsh#", false),
            ("a#x", false),
            ("a.partial", false),
            (".a", false),
        ] {
            assert_eq!(is_temporary(name), temporary, "{name}");
        }
    }
}
