//! Names and paths that are parsed once and then never looked at as text again.

use std::num::NonZeroU16;

/// The most characters an error repeats of a rejected text.
pub(crate) const SHOWN: usize = 150;

/// Why a name or path was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{what} {text:?} is not {expected}")]
pub struct IdError {
    /// What the text should have been.
    pub(crate) what: &'static str,
    /// The rejected text's beginning.
    pub(crate) text: String,
    /// What such a text looks like.
    pub(crate) expected: &'static str,
}

/// Defines a text that can only be made by its `parse`, which keeps what `$accept` gives back.
macro_rules! parsed_text {
    ($(#[$outer:meta])* $name:ident is a $what:literal like $expected:literal by $accept:expr) => {
        $(#[$outer])*
        #[derive(
            Clone, Debug, serde::Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize,
        )]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            #[doc = concat!("Parses ", $expected, ".")]
            ///
            /// # Errors
            ///
            /// [`IdError`](crate::IdError) for anything else.
            pub fn parse(text: &str) -> Result<Self, $crate::ids::IdError> {
                let accept: fn(&str) -> Option<&str> = $accept;
                accept(text).map(|text| Self(text.to_owned())).ok_or_else(|| $crate::ids::IdError {
                    what: $what,
                    text: text.chars().take($crate::ids::SHOWN).collect(),
                    expected: $expected,
                })
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::ids::IdError;

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
pub(crate) use parsed_text;

parsed_text! {
    /// A worker's id, as Storm's `Utils.uuid` makes it. Always safe to use as one path component.
    WorkerId is a "worker id" like "a lower-case uuid" by |text| is_uuid(text).then_some(text)
}

fn is_uuid(text: &str) -> bool {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.split('-').map(str::len).eq(GROUPS) && text.bytes().all(|byte| byte == b'-' || hex(byte))
}

parsed_text! {
    /// A container's id: a port, 1 to 65535 without leading zeros, and its worker's id. Always
    /// safe to use as one path component, as a cgroup name and as runc's container id.
    ContainerId is a "container id" like "<port>-<uuid>" by |text| {
        let (port, worker) = text.split_once('-')?;
        let number: NonZeroU16 = port.parse().ok()?;
        (number.to_string() == port && is_uuid(worker)).then_some(text)
    }
}

impl ContainerId {
    /// Joins a port and a worker id.
    #[must_use]
    pub fn new(port: NonZeroU16, worker: &WorkerId) -> Self {
        Self(format!("{port}-{worker}"))
    }

    /// The worker this container runs.
    #[must_use]
    pub fn worker_id(&self) -> WorkerId {
        let (_, worker) = self.0.split_once('-').unwrap_or_default();
        WorkerId(worker.to_owned())
    }
}

parsed_text! {
    /// The name of a Unix account, whether it exists or not.
    AccountName is a "account name"
    like "1 to 32 characters of a-z A-Z 0-9 . _ - that begin with neither . nor -"
    by |text| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let fits = (1..=32).contains(&text.len()) && text.bytes().all(plain);
        (fits && !text.starts_with(['-', '.'])).then_some(text)
    }
}

parsed_text! {
    /// An absolute, normal path of at most 4095 bytes; `/` is one too. A trailing slash is dropped
    /// when parsing.
    HostPath is a "path" like "absolute, at most 4095 bytes and free of `.`, `..`, `//` and control characters"
    by normal_path
}

fn normal_path(text: &str) -> Option<&str> {
    /// Linux' `PATH_MAX` without the final NUL.
    const PATH_BYTES: usize = 4095;
    let is_plain = |component: &str| {
        !matches!(component, "" | "." | "..") && !component.chars().any(char::is_control)
    };
    let path = text.strip_suffix('/').unwrap_or(text);
    let plain = path.strip_prefix('/').is_some_and(|inner| inner.split('/').all(is_plain));
    match text {
        "/" => Some(text),
        _ => (plain && text.len() <= PATH_BYTES).then_some(path),
    }
}

impl HostPath {
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

parsed_text! {
    /// A cgroup's path below the root of every hierarchy, such as `/storm/6700-…`.
    CgroupPath is a "cgroup path" like "absolute with plain components" by |text| {
        normal_path(text).filter(|path| *path != "/" && !path.contains(':'))
    }
}

impl CgroupPath {
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
