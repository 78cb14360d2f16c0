//! Which of an image index's manifests this host runs.

use std::env::consts;
use std::fmt;

use oci_spec::image::{Arch, Platform as IndexPlatform};

use crate::error::{StoreError, shown};

/// An operating system and a processor, displayed as `linux/amd64` or `linux/arm64/v9`.
///
/// Names are those of Go, as everywhere in OCI. A variant that stands for the architecture itself
/// is left out: `amd64/v1` is `amd64`, `arm64/v8` is `arm64`, and `arm` is `arm/v7`.
///
/// # References
///
/// OCI image spec, `image-index.md`, "platform" and "Platform Variants"; containerd's
/// `platforms` package for which variants are the same.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Platform {
    system: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// Parses `<system>/<architecture>[/<variant>]`.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidPlatform`] for other numbers of parts, and for parts that are not
    /// lower-case letters, digits, `.`, `_` or `-`.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let well_formed = |part: &&str| {
            let allowed = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
            };
            !part.is_empty() && part.bytes().all(allowed)
        };
        let parts: Vec<&str> = text.split('/').collect();
        match *parts.as_slice() {
            [system, architecture, ref variant @ ..]
                if variant.len() <= 1 && parts.iter().all(well_formed) =>
            {
                Ok(Self::new(system, architecture, variant.first().copied()))
            }
            _ => Err(StoreError::InvalidPlatform { text: shown(text) }),
        }
    }

    /// What this program was built for.
    #[must_use]
    pub fn host() -> Self {
        // `Arch::default` translates what Rust calls the architecture.
        Self::new(consts::OS, &Arch::default().to_string(), None)
    }

    /// What an index says one of its manifests is for.
    pub(crate) fn of(entry: &IndexPlatform) -> Self {
        let variant = entry.variant().as_deref().filter(|variant| !variant.is_empty());
        Self::new(&entry.os().to_string(), &entry.architecture().to_string(), variant)
    }

    fn new(system: &str, architecture: &str, variant: Option<&str>) -> Self {
        let variant = match (architecture, variant) {
            ("amd64", Some("v1")) | ("arm64", Some("v8")) => None,
            ("arm", None) => Some("v7"),
            (_, variant) => variant,
        };
        Self {
            system: system.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.system, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(formatter, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_platforms_have_one_form() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("windows/386", "windows/386"),
        ] {
            assert_eq!(Platform::parse(text).unwrap().to_string(), shown);
        }
        for bad in ["", "linux", "linux/", "/amd64", "linux/amd64/", "a/b/c/d", "Linux/amd64"] {
            let error = Platform::parse(bad).unwrap_err();
            assert!(matches!(error, StoreError::InvalidPlatform { .. }), "{bad}");
        }
    }

    #[test]
    fn the_host_has_gos_name() {
        let names = [("x86_64", "linux/amd64"), ("aarch64", "linux/arm64")];
        let name = names.iter().find(|(rust, _)| *rust == consts::ARCH).unwrap().1;
        assert_eq!(Platform::host(), Platform::parse(name).unwrap());
    }
}
