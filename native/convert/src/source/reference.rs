//! What users write to name an image.

use std::path::PathBuf;

use oci_client::Reference;
use storm_oci_store::Digest;

use super::error::{SourceError, shown};

/// Where skopeo and Podman also find images, and this does not.
const OTHER_TRANSPORTS: [&str; 7] =
    ["containers-storage", "docker-daemon", "oci-archive", "ostree", "sif", "tarball", "atomic"];

/// An image, as parsed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum SourceReference {
    /// In a registry; a digest in it is one of SHA-256.
    Registry(Reference),
    /// In an OCI layout.
    Layout { directory: PathBuf, choice: Choice },
    /// In a tar file of `docker save`.
    Archive { file: PathBuf, choice: Choice },
    /// In a directory of skopeo.
    SkopeoDir { directory: PathBuf },
}

/// Which of several images.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Choice {
    /// The only one.
    Only,
    /// The one of this name: a layout's `org.opencontainers.image.ref.name`, an archive's
    /// `RepoTags`.
    Name(String),
    /// The one whose manifest has this digest.
    Digest(Digest),
}

impl SourceReference {
    /// Parses a reference.
    ///
    /// # Errors
    ///
    /// [`SourceError::InvalidReference`].
    pub(super) fn parse(text: &str) -> Result<Self, SourceError> {
        let invalid =
            |problem: String| SourceError::InvalidReference { text: shown(text), problem };
        if text.chars().any(char::is_control) {
            return Err(invalid("it has control characters".to_owned()));
        }
        match text.split_once(':') {
            Some(("docker", rest)) if rest.starts_with("//") => {
                let rest = rest.trim_start_matches('/');
                registry(rest).map(Self::Registry).map_err(invalid)
            }
            Some((scheme @ ("http" | "https"), rest)) if rest.starts_with("//") => {
                Err(invalid(format!("`{scheme}://` names a page, not an image")))
            }
            Some(("oci", rest)) => {
                let (directory, choice) = local(rest, true).map_err(invalid)?;
                Ok(Self::Layout { directory, choice })
            }
            Some(("docker-archive", rest)) => {
                let (file, choice) = local(rest, false).map_err(invalid)?;
                Ok(Self::Archive { file, choice })
            }
            Some(("dir", "")) => Err(invalid("it has no path".to_owned())),
            Some(("dir", rest)) => Ok(Self::SkopeoDir { directory: rest.into() }),
            Some((other, _)) if OTHER_TRANSPORTS.contains(&other) => {
                Err(invalid(format!("images of `{other}:` cannot be read")))
            }
            _ => registry(text).map(Self::Registry).map_err(invalid),
        }
    }
}

fn registry(text: &str) -> Result<Reference, String> {
    let reference: Reference =
        text.parse().map_err(|error: oci_client::ParseError| error.to_string())?;
    // The parser takes them for a host, and then for a part of the repository.
    if reference.repository().bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("its repository has upper-case letters".to_owned());
    }
    if let Some(digest) = reference.digest() {
        Digest::parse(digest)
            .map_err(|_| "its digest is not sha256 with 64 lower-case hex digits".to_owned())?;
    }
    Ok(reference)
}

/// Splits `PATH[:NAME]`, or `PATH@DIGEST`. As with skopeo, a path cannot have a colon, and a name
/// can.
fn local(text: &str, digests: bool) -> Result<(PathBuf, Choice), String> {
    let (path, choice) = match (text.split_once("@sha256:"), text.split_once(':')) {
        (Some((path, hex)), _) if digests && !path.contains(':') => {
            let digest = Digest::parse_hex(hex)
                .map_err(|_| "its digest is not sha256 with 64 lower-case hex digits".to_owned())?;
            (path, Choice::Digest(digest))
        }
        (_, Some((_, ""))) => return Err("its name after the colon is empty".to_owned()),
        (_, Some((path, name))) => (path, Choice::Name(name.to_owned())),
        (_, None) => (text, Choice::Only),
    };
    if path.is_empty() { Err("it has no path".to_owned()) } else { Ok((path.into(), choice)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn registries_have_dockers_defaults() {
        for (text, whole) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("docker://busybox:1", "docker.io/library/busybox:1"),
            ("storm/worker", "docker.io/storm/worker:latest"),
            ("localhost/worker:2", "localhost/worker:2"),
            ("registry.example.org:5000/storm/a/b:1.0", "registry.example.org:5000/storm/a/b:1.0"),
            ("docker://127.0.0.1:5000/x", "127.0.0.1:5000/x:latest"),
        ] {
            let SourceReference::Registry(found) = SourceReference::parse(text).unwrap() else {
                panic!("{text}")
            };
            assert_eq!(found.whole(), whole, "{text}");
        }
        let text = format!("registry.example.org/storm:1@sha256:{HEX}");
        let SourceReference::Registry(found) = SourceReference::parse(&text).unwrap() else {
            panic!()
        };
        assert_eq!(found.tag(), Some("1"));
        assert_eq!(found.digest(), Some(format!("sha256:{HEX}").as_str()));
    }

    #[test]
    fn local_images_are_a_path_and_a_name() {
        let layout = |directory: &str, choice| SourceReference::Layout {
            directory: directory.into(),
            choice,
        };
        let archive = |file: &str, choice| SourceReference::Archive { file: file.into(), choice };
        let name = |name: &str| Choice::Name(name.to_owned());
        let digest = Choice::Digest(Digest::parse_hex(HEX).unwrap());
        for (text, wanted) in [
            ("oci:/srv/x".to_owned(), layout("/srv/x", Choice::Only)),
            ("oci:x:1.0".to_owned(), layout("x", name("1.0"))),
            ("oci:x:host/a:1.0".to_owned(), layout("x", name("host/a:1.0"))),
            (format!("oci:x@sha256:{HEX}"), layout("x", digest)),
            ("docker-archive:a.tar".to_owned(), archive("a.tar", Choice::Only)),
            ("docker-archive:a.tar.gz:storm:1".to_owned(), archive("a.tar.gz", name("storm:1"))),
            (
                "dir:/srv/a:b".to_owned(),
                SourceReference::SkopeoDir { directory: "/srv/a:b".into() },
            ),
        ] {
            assert_eq!(SourceReference::parse(&text).unwrap(), wanted, "{text}");
        }
    }

    #[test]
    fn what_names_no_image_is_refused_with_an_example() {
        for (text, part) in [
            ("", "HOST"),
            ("UPPER/case", "HOST"),
            ("a b", "HOST"),
            ("a\nb", "control"),
            ("docker://", "HOST"),
            ("https://registry.example.org/x", "a page"),
            ("containers-storage:x", "cannot be read"),
            ("docker-daemon:x:1", "cannot be read"),
            ("oci:", "oci:/srv/layout:1.0"),
            ("oci::1", "no path"),
            ("oci:x:", "is empty"),
            ("oci:x@sha256:ab", "digest"),
            ("docker-archive:", "docker-archive:/srv/image.tar"),
            ("dir:", "dir:/srv/image"),
            ("x@sha256:ab", "HOST"),
            (&format!("x@sha256:{}", HEX.to_uppercase()), "digest"),
            (&format!("x@sha512:{HEX}{HEX}"), "sha256"),
        ] {
            let error = SourceReference::parse(text).unwrap_err();
            assert!(matches!(error, SourceError::InvalidReference { .. }), "{text:?}: {error}");
            assert!(error.to_string().contains(part), "{text:?}: {error}");
        }
    }
}
