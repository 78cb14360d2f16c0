//! Names and paths that are parsed once and then never looked at as text again.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a name or path was refused. Carries the rejected text, cut to 200 characters.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdError {
    /// Not `<port>-<worker id>`, which is what Storm makes.
    #[error("container id {0:?} is not <port>-<uuid>")]
    ContainerId(String),
    /// Not a lower-case UUID.
    #[error("worker id {0:?} is not a lower-case uuid")]
    WorkerId(String),
    /// Not a portable account name.
    #[error(
        "account name {0:?} is not 1 to 32 characters of a-z A-Z 0-9 . _ - (and may not start with -)"
    )]
    AccountName(String),
    /// Relative, not normal, or with control characters.
    #[error("path {0:?} is not absolute and free of `.`, `..`, `//` and control characters")]
    HostPath(String),
    /// Not `<parent>/<container id>`.
    #[error("cgroup path {0:?} is not absolute with plain components")]
    CgroupPath(String),
    /// Not 64 lower-case hex digits.
    #[error("layer key {0:?} is not 64 lower-case hex digits")]
    LayerKey(String),
}

/// The longest rejected text an error repeats, in characters.
const SHOWN: usize = 200;

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// Defines a string newtype whose only constructor is its `parse`.
macro_rules! parsed_string {
    ($name:ident) => {
        impl $name {
            /// The text, exactly as parsed.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

/// A worker's id: a UUID in lower-case hex, as Storm's `Utils.uuid` makes it.
///
/// Always safe to use as one path component.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkerId(String);
parsed_string!(WorkerId);

impl WorkerId {
    /// Parses `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
    ///
    /// # Errors
    ///
    /// [`IdError::WorkerId`] for anything else.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if is_uuid(text) { Ok(Self(text.to_owned())) } else { Err(IdError::WorkerId(shown(text))) }
    }
}

fn is_uuid(text: &str) -> bool {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let mut groups = text.split('-');
    GROUPS.iter().all(|length| {
        groups.next().is_some_and(|group| {
            group.len() == *length
                && group.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
    }) && groups.next().is_none()
}

/// A container's id: `<port>-<worker id>`, the port 1 to 65535 without leading zeros.
///
/// Always safe to use as one path component, as a cgroup name and as runc's container id.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);
parsed_string!(ContainerId);

impl ContainerId {
    /// Parses `<port>-<uuid>`.
    ///
    /// # Errors
    ///
    /// [`IdError::ContainerId`] for anything else.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let refused = || IdError::ContainerId(shown(text));
        let (port, worker) = text.split_once('-').ok_or_else(refused)?;
        let number: u16 = port.parse().map_err(|_| refused())?;
        if number == 0 || number.to_string() != port || !is_uuid(worker) {
            return Err(refused());
        }
        Ok(Self(text.to_owned()))
    }

    /// Joins a port and a worker id.
    #[must_use]
    pub fn new(port: std::num::NonZeroU16, worker: &WorkerId) -> Self {
        Self(format!("{port}-{worker}"))
    }

    /// The worker this container runs.
    #[must_use]
    pub fn worker_id(&self) -> WorkerId {
        let (_, worker) = self.0.split_once('-').unwrap_or_default();
        WorkerId(worker.to_owned())
    }
}

/// The name of a Unix account.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(String);
parsed_string!(AccountName);

impl AccountName {
    /// Parses an account name; whether the account exists is not asked here.
    ///
    /// # Errors
    ///
    /// [`IdError::AccountName`] for an empty or long name or one with other characters.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let fits = (1..=32).contains(&text.len()) && text.bytes().all(plain);
        if !fits || text.starts_with(['-', '.']) {
            return Err(IdError::AccountName(shown(text)));
        }
        Ok(Self(text.to_owned()))
    }
}

/// An absolute, normal path: no `.`, `..`, empty component or control character; at most 4095
/// bytes. A trailing slash is dropped when parsing.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPath(String);
parsed_string!(HostPath);

/// Linux' `PATH_MAX` without the final NUL.
const PATH_BYTES: usize = 4095;

impl HostPath {
    /// Parses an absolute path. `/` itself is allowed.
    ///
    /// # Errors
    ///
    /// [`IdError::HostPath`] for a relative, long or not normal path.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let refused = || IdError::HostPath(shown(text));
        let inner = text.strip_prefix('/').ok_or_else(refused)?;
        let inner = match inner.strip_suffix('/') {
            Some("") => return Err(refused()),
            Some(trimmed) => trimmed,
            None => inner,
        };
        let plain = inner.is_empty() || inner.split('/').all(is_plain_component);
        if !plain || text.len() > PATH_BYTES {
            return Err(refused());
        }
        Ok(Self(format!("/{inner}")))
    }

    /// The path's components, in order, without the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|component| !component.is_empty())
    }

    /// The entry of this directory that is named by a number.
    #[must_use]
    pub fn numbered(&self, number: usize) -> Self {
        Self(format!("{}/{number}", self.0.trim_end_matches('/')))
    }

    /// Whether this path is `ancestor` or lies below it, compared by component.
    #[must_use]
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        let mut own = self.components();
        ancestor.components().all(|component| own.next() == Some(component))
    }
}

fn is_plain_component(component: &str) -> bool {
    !matches!(component, "" | "." | "..") && !component.chars().any(char::is_control)
}

/// A cgroup's path below the root of every hierarchy, such as `/storm/6700-…`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct CgroupPath(String);
parsed_string!(CgroupPath);

impl CgroupPath {
    /// Parses an absolute cgroup path of plain components.
    ///
    /// # Errors
    ///
    /// [`IdError::CgroupPath`] for a relative or not normal path, or for `/`.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let refused = || IdError::CgroupPath(shown(text));
        let path = HostPath::parse(text).map_err(|_| refused())?;
        if path.as_str() == "/" || path.as_str().contains(':') {
            return Err(refused());
        }
        Ok(Self(path.0))
    }

    /// The one cgroup a container may have: its id below the configured parent.
    #[must_use]
    pub fn of(parent: &Self, container: &ContainerId) -> Self {
        Self(format!("{parent}/{container}"))
    }

    /// The path without its leading slash, to join to a hierarchy's mount point.
    #[must_use]
    pub fn relative(&self) -> &str {
        self.0.trim_start_matches('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb";

    #[test]
    fn container_ids_are_port_and_uuid() {
        let id = ContainerId::parse(&format!("6703-{UUID}")).unwrap();
        assert_eq!(id.worker_id().as_str(), UUID);
        for bad in [
            String::new(),
            UUID.to_owned(),
            format!("0-{UUID}"),
            format!("06703-{UUID}"),
            format!("+6703-{UUID}"),
            format!("65536-{UUID}"),
            format!("6703-{}", UUID.to_uppercase()),
            format!("6703-{UUID}-1"),
            format!("6703-{UUID}\n"),
            format!("6703-../{UUID}"),
        ] {
            assert!(ContainerId::parse(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn account_names_are_portable() {
        for good in ["storm", "storm-user.1", "_apt", "A"] {
            assert_eq!(AccountName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "-x", ".", "..", "a b", "a/b", "a\n", "é", &"x".repeat(33)] {
            assert!(AccountName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn host_paths_are_absolute_and_normal() {
        assert_eq!(HostPath::parse("/a/b/").unwrap().as_str(), "/a/b");
        assert_eq!(HostPath::parse("/").unwrap().as_str(), "/");
        for bad in ["", "a", "./a", "/a/../b", "/a/./b", "/a//b", "//", "/a\n", "/a\0b"] {
            assert!(HostPath::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbered_entries_are_below_their_directory() {
        for (directory, expected) in [("/", "/7"), ("/a/b", "/a/b/7")] {
            let entry = HostPath::parse(directory).unwrap().numbered(7);
            assert_eq!(HostPath::parse(expected).unwrap(), entry);
        }
    }

    #[test]
    fn paths_compare_by_component() {
        let path = |text| HostPath::parse(text).unwrap();
        assert!(path("/scratch/a").starts_with(&path("/scratch")));
        assert!(path("/scratch").starts_with(&path("/scratch")));
        assert!(!path("/scratch2").starts_with(&path("/scratch")));
        assert!(path("/scratch2").starts_with(&path("/")));
    }

    #[test]
    fn cgroup_paths_join_parent_and_container() {
        let parent = CgroupPath::parse("/storm").unwrap();
        let id = ContainerId::parse(&format!("1-{UUID}")).unwrap();
        let path = CgroupPath::of(&parent, &id);
        assert_eq!(path.as_str(), format!("/storm/1-{UUID}"));
        assert_eq!(CgroupPath::parse(path.as_str()).unwrap(), path);
        for bad in ["/", "storm", "/a/../b", "system.slice:a:b", "/a:b"] {
            assert!(CgroupPath::parse(bad).is_err(), "{bad:?}");
        }
    }
}
