//! Image tags as Storm and its operators write them.

use std::fmt;

use crate::digest::Digest;
use crate::error::{StoreError, shown};

/// The longest tag, in bytes.
const MAX_LENGTH: usize = 255;

/// An image tag such as `storm/rhel7:dev_current`: the key of a tag map's entry.
///
/// A value is compared with tag maps and shown in messages; it is never used as a path. One of 64
/// lower-case hex digits is a manifest's digest, as with Storm; nothing else is.
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

    /// The manifest's digest that the tag itself is.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        Digest::parse_hex(&self.0).ok()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_parses_is_kept_and_harmless(text in "[ -~\u{0}-\u{1f}ä]{0,300}|[a-z./:]{0,12}") {
            let Ok(tag) = Reference::parse(&text) else { return Ok(()) };
            prop_assert_eq!(tag.as_str(), &text);
            prop_assert!(text.len() <= MAX_LENGTH && !text.starts_with('/'));
            prop_assert!(!text.contains([',', '#', ' ', '\n', '\0']));
            prop_assert!(text.split(['/', ':']).all(|part| part != "." && part != ".."));
            prop_assert_eq!(Reference::parse(&text).unwrap(), tag);
        }

        #[test]
        fn only_64_lower_case_hex_digits_are_a_digest(text in "[0-9a-f]{62,66}|[0-9a-fA-FxX:]{64}") {
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            let expected = text.len() == 64 && text.bytes().all(is_hex);
            let digest = Reference::parse(&text).unwrap().digest();
            prop_assert_eq!(digest.is_some(), expected);
            prop_assert!(digest.is_none_or(|digest| digest.as_hex() == text));
        }
    }

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
