//! Where a store, or an object in it, is.

use std::fmt;

use crate::error::{StoreError, shown};

/// A protocol that a store speaks. Another one is a variant here and its arm in
/// [`crate::remote::open`], which the compiler then asks for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Scheme {
    /// A directory of this host, local or mounted.
    File,
}

impl Scheme {
    const ALL: [Self; 1] = [Self::File];

    fn name(self) -> &'static str {
        match self {
            Self::File => "file",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.name().eq_ignore_ascii_case(text))
    }

    /// The schemes that work, for messages.
    fn supported() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

/// The place of a store or of one object in it, such as `file:///srv/images`.
///
/// The path is absolute and without empty, `.` and `..` components, and nothing in it is decoded:
/// `%20` stands for itself, as in Hadoop's paths.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Location {
    scheme: Scheme,
    path: String,
}

impl Location {
    /// Parses `file:///path`, `file:/path` (as Hadoop prints it) or a plain absolute path.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnsupportedScheme`] for a scheme that this build cannot serve;
    /// [`StoreError::InvalidLocation`] for a relative path, another host's files, control
    /// characters, `.` and `..`.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let (scheme, rest) = match split_scheme(text) {
            Some((name, rest)) => {
                let scheme = Scheme::parse(name).ok_or_else(|| StoreError::UnsupportedScheme {
                    text: shown(text),
                    scheme: shown(name),
                    supported: Scheme::supported(),
                })?;
                (scheme, rest)
            }
            None => (Scheme::File, text),
        };
        match scheme {
            Scheme::File => local_path(rest).map(|path| Self { scheme, path }),
        }
        .map_err(|problem| StoreError::InvalidLocation { text: shown(text), problem })
    }

    /// The location of `name` below this one. `name` is a constant or made of parsed values.
    pub(crate) fn join(&self, name: &str) -> Self {
        let path = format!("{}/{name}", self.path.trim_end_matches('/'));
        Self { scheme: self.scheme, path }
    }

    /// This location with `suffix` added to its last component.
    pub(crate) fn with_suffix(&self, suffix: &str) -> Self {
        Self { scheme: self.scheme, path: format!("{}{suffix}", self.path) }
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The path within the store, starting with `/`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme.name(), self.path)
    }
}

/// Splits `scheme:rest`, where the scheme is as RFC 3986 has it.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once(':')?;
    let well_formed = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    well_formed.then_some((name, rest))
}

/// The normal form of what follows `file:`, or of a plain path.
fn local_path(rest: &str) -> Result<String, &'static str> {
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(after) if after.starts_with('/') => after,
        Some(after) => match after.strip_prefix("localhost") {
            Some(path) if path.starts_with('/') => path,
            _ => return Err("files of another host cannot be read"),
        },
    };
    if !path.starts_with('/') {
        return Err("the path is not absolute");
    }
    if path.chars().any(char::is_control) {
        return Err("it has control characters");
    }
    let mut normal = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if matches!(part, "." | "..") {
            return Err("it has a component . or ..");
        }
        normal.push('/');
        normal.push_str(part);
    }
    if normal.is_empty() {
        return Err("the root directory cannot be a store");
    }
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_have_one_normal_form() {
        for (text, shown) in [
            ("/srv/images", "file:///srv/images"),
            ("/srv//images/", "file:///srv/images"),
            ("file:///srv/images", "file:///srv/images"),
            ("file:/srv/images", "file:///srv/images"),
            ("FILE:///srv/images", "file:///srv/images"),
            ("file://localhost/srv", "file:///srv"),
            ("/srv/my images/a%20b:c", "file:///srv/my images/a%20b:c"),
        ] {
            assert_eq!(Location::parse(text).unwrap().to_string(), shown);
        }
        let top = Location::parse("/srv").unwrap();
        assert_eq!(top.join("layers/x").to_string(), "file:///srv/layers/x");
        assert_eq!(top.join("x").with_suffix(".json").path(), "/srv/x.json");
    }

    #[test]
    fn other_schemes_name_those_that_work() {
        for text in ["hdfs://ns/x", "s3://bucket/x", "http://h/x", "https://h/x", "viewfs:/x"] {
            let error = Location::parse(text).unwrap_err();
            assert!(matches!(error, StoreError::UnsupportedScheme { .. }), "{text}");
            assert!(
                error.to_string().ends_with("not supported by this build yet; supported: file"),
                "{error}"
            );
        }
    }

    #[test]
    fn unclear_locations_are_refused() {
        for text in [
            "",
            "srv/images",
            "file:",
            "file:srv",
            "file://host/x",
            "file://localhostile/x",
            "/",
            "file:///",
            "/srv/../etc",
            "/srv/./x",
            "/srv\n",
            "1:/x",
        ] {
            let error = Location::parse(text).unwrap_err();
            assert!(matches!(error, StoreError::InvalidLocation { .. }), "{text:?}: {error}");
        }
    }
}
