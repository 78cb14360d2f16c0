//! Image tags as Storm and its operators write them.

use std::fmt;

use crate::error::{StoreError, shown};

/// The longest tag, in bytes.
const MAX_LENGTH: usize = 255;

/// An image tag such as `storm/rhel7:dev_current`: the key of a tag map's entry.
///
/// A value is compared with tag maps and shown in messages; it is never used as a path or a digest.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Reference(String);

impl Reference {
    /// Parses a tag.
    ///
    /// Accepts what a tag map's line can hold: visible ASCII but `,` and `#`. Storm itself checks
    /// its own, narrower pattern when a topology is submitted.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidReference`] for other characters, for an empty tag, one over 255
    /// bytes, a leading `/`, and components `.` and `..`.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let problem = if text.is_empty() {
            "it is empty"
        } else if text.len() > MAX_LENGTH {
            "it is longer than 255 bytes"
        } else if !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b',' | b'#'))
        {
            "only visible ASCII characters other than , and # are allowed"
        } else if text.starts_with('/') {
            "it starts with /"
        } else if text.split(['/', ':']).any(|part| matches!(part, "." | "..")) {
            "it has a component . or .."
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(StoreError::InvalidReference { text: shown(text), problem })
    }

    /// The tag, exactly as parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_what_a_tag_map_can_hold() {
        for good in [
            "storm",
            "storm/rhel7:dev_current",
            "registry.example.org:5000/storm/test:1",
            "storm/test@sha256:ab",
            "v1..2",
            "none:9",
        ] {
            assert_eq!(Reference::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "/etc/passwd",
            "../../etc/shadow",
            "storm/../x",
            "storm:..",
            "./storm",
            "a b",
            "a,b",
            "a#b",
            "a\n",
            "a\0",
            "stürm",
            &"x".repeat(256),
        ] {
            assert!(
                matches!(Reference::parse(bad), Err(StoreError::InvalidReference { .. })),
                "{bad:?}"
            );
        }
    }
}
