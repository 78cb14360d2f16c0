//! Where a store, or an object in it, is.

use std::fmt;

use crate::error::{StoreError, shown};
pub(crate) use crate::scheme::Scheme;

/// The place of a store or of one object in it, such as `hdfs://nameservice1/images`.
///
/// The path is absolute and without empty, `.` and `..` components, and nothing in it is decoded:
/// `%20` stands for itself, as in Hadoop's paths. A location never carries credentials, so that it
/// may stand in logs and errors.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Location {
    scheme: Scheme,
    authority: Box<str>,
    path: Box<str>,
}

impl Location {
    /// Parses `scheme://authority/path`, or a plain absolute path for a file of this host.
    ///
    /// The authority is a name service or `host[:port]` for `hdfs`, where an empty one stands for
    /// that of `fs.defaultFS`; a bucket or container for `s3`, `gs` and `az`; `host[:port]` for
    /// `http` and `https`; empty for `file`. `file:/path` and `hdfs:/path`, as Hadoop prints them,
    /// are taken too, and `s3a` as `s3`.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnsupportedScheme`]; [`StoreError::InvalidLocation`] for a relative path,
    /// another host's files, user information, a query, control characters, `.` and `..`. Neither
    /// repeats user information or a query: they may be secrets.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let (scheme, rest) = match split_scheme(text) {
            Some((name, rest)) => {
                let scheme = Scheme::parse(name).ok_or_else(|| StoreError::UnsupportedScheme {
                    text: shown(&redacted(text)),
                    scheme: shown(name),
                    supported: Scheme::supported(),
                })?;
                (scheme, rest)
            }
            None => (Scheme::File, text),
        };
        let (authority, path) = split_authority(rest);
        let invalid =
            |problem| StoreError::InvalidLocation { text: shown(&redacted(text)), problem };
        check_authority(scheme, authority, rest.starts_with("//")).map_err(invalid)?;
        let path = normal_path(scheme, path).map_err(invalid)?;
        let authority = if scheme == Scheme::File { "" } else { authority }.into();
        Ok(Self { scheme, authority, path: path.into() })
    }

    /// The location of `name` below this one. `name` is a constant or made of parsed values.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let path = format!("{}/{name}", self.path.trim_end_matches('/'));
        Self { scheme: self.scheme, authority: self.authority.clone(), path: path.into() }
    }

    /// This location with `suffix` added to its last component.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Self {
        let path = format!("{}{suffix}", self.path);
        Self { scheme: self.scheme, authority: self.authority.clone(), path: path.into() }
    }

    /// This location with another last component in the place of its own.
    pub(crate) fn with_name(&self, name: impl FnOnce(&str) -> String) -> Self {
        let (directory, last) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let path = format!("{directory}/{}", name(last));
        Self { scheme: self.scheme, authority: self.authority.clone(), path: path.into() }
    }

    /// The last component of the path; empty for the store's root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or(&self.path, |(_, name)| name)
    }

    /// The directory that it is in.
    #[must_use]
    pub fn parent(&self) -> Self {
        let directory = self.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let path = if directory.is_empty() { "/" } else { directory };
        Self { scheme: self.scheme, authority: self.authority.clone(), path: path.into() }
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Name service, bucket, container or `host[:port]`; empty for files and for the default
    /// file system of Hadoop's configuration.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The path within the store, starting with `/`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}{}", self.scheme, self.authority, self.path)
    }
}

/// Splits `scheme:rest`, where the scheme is as RFC 3986 has it.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once(':')?;
    let well_formed = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    well_formed.then_some((name, rest))
}

/// Splits what follows the scheme into authority and path.
fn split_authority(rest: &str) -> (&str, &str) {
    match rest.strip_prefix("//") {
        None => ("", rest),
        Some(after) => after.split_at(after.find('/').unwrap_or(after.len())),
    }
}

fn check_authority(scheme: Scheme, authority: &str, written: bool) -> Result<(), &'static str> {
    if authority.contains('@') {
        return Err("it has user information, which belongs into the store's options");
    }
    match (scheme, authority) {
        (Scheme::File, "" | "localhost") | (Scheme::Hdfs, "") => return Ok(()),
        // A plain path may begin with two slashes.
        (Scheme::File, _) if !written => return Ok(()),
        (Scheme::File, _) => return Err("files of another host cannot be read"),
        (Scheme::S3 | Scheme::Gs, "") => return Err("it has no bucket"),
        (Scheme::Azure, "") => return Err("it has no container"),
        (Scheme::Http | Scheme::Https, "") => return Err("it has no host"),
        _ => {}
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let well_formed = match name {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    };
    if !well_formed {
        return Err("the part before the path is not the name of a host, service or bucket");
    }
    match port.map(str::parse::<u16>) {
        None | Some(Ok(1..)) => Ok(()),
        Some(Ok(0) | Err(_)) => Err("the port is not a number from 1 to 65535"),
    }
}

fn normal_path(scheme: Scheme, path: &str) -> Result<String, &'static str> {
    let local = scheme == Scheme::File;
    if path.is_empty() && scheme == Scheme::Hdfs {
        return Err("it has no path");
    }
    // `https://host` is the host's root.
    if !path.starts_with('/') && (local || !path.is_empty()) {
        return Err("the path is not absolute");
    }
    if path.chars().any(char::is_control) {
        return Err("it has control characters");
    }
    if !local && path.contains(['?', '#']) {
        return Err("it has a query or a fragment");
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
        if local {
            return Err("the root directory cannot be a store");
        }
        normal.push('/');
    }
    Ok(normal)
}

/// A rejected text without what may be a secret: user information, and a query.
fn redacted(text: &str) -> String {
    let Some((name, rest)) = split_scheme(text) else {
        return text.to_owned();
    };
    let slashes = rest.len() - rest.trim_start_matches('/').len();
    let (slashes, rest) = rest.split_at(slashes);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, host) = match authority.rsplit_once('@') {
        Some((_, host)) => ("…@", host),
        None => ("", authority),
    };
    let (visible, query) = match path.find(['?', '#']) {
        Some(at) if Scheme::parse(name) != Some(Scheme::File) => (path.split_at(at).0, "?…"),
        _ => (path, ""),
    };
    format!("{name}:{slashes}{user}{host}{visible}{query}")
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
            ("/srv/my images/a%20b:c?d", "file:///srv/my images/a%20b:c?d"),
            ("hdfs://ns1/containers/", "hdfs://ns1/containers"),
            ("hdfs://nn.example.org:8020/x", "hdfs://nn.example.org:8020/x"),
            ("hdfs://[::1]:8020/x", "hdfs://[::1]:8020/x"),
            ("hdfs:/containers/runc", "hdfs:///containers/runc"),
            ("hdfs:///containers", "hdfs:///containers"),
            ("hdfs:///", "hdfs:///"),
            ("s3a://bucket/a b//c", "s3://bucket/a b/c"),
            ("s3://bucket", "s3://bucket/"),
            ("gs://bucket_1/x", "gs://bucket_1/x"),
            ("az://container/x", "az://container/x"),
            ("HTTPS://images.example.org", "https://images.example.org/"),
        ] {
            assert_eq!(Location::parse(text).unwrap().to_string(), shown);
        }
        let top = Location::parse("/srv").unwrap();
        assert_eq!(top.join("layers/x").to_string(), "file:///srv/layers/x");
        assert_eq!(top.join("x").with_suffix(".json").path(), "/srv/x.json");
        let bucket = Location::parse("s3://bucket").unwrap();
        assert_eq!(bucket.join("layers/x").to_string(), "s3://bucket/layers/x");
        assert_eq!(bucket.authority(), "bucket");
    }

    #[test]
    fn other_schemes_name_those_that_work() {
        for text in ["viewfs://ns/x", "ftp://user:secret@host/x?secret", "webhdfs:/x"] {
            let error = Location::parse(text).unwrap_err();
            assert!(matches!(error, StoreError::UnsupportedScheme { .. }), "{text}");
            let message = error.to_string();
            assert!(
                message.ends_with("supported: file, hdfs, s3, gs, az, http, https"),
                "{message}"
            );
            assert!(!message.contains("secret"), "{message}");
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
            "hdfs:",
            "hdfs:x",
            "hdfs://ns",
            "hdfs://ns/../x",
            "hdfs://n s/x",
            "hdfs://ns,other/x",
            "hdfs://nn:0/x",
            "hdfs://nn:65536/x",
            "hdfs://nn:/x",
            "hdfs://[::g]/x",
            "s3:/x",
            "s3:///x",
            "az:///x",
            "http://",
            "https:///x",
            "http://host/x#y",
        ] {
            let error = Location::parse(text).unwrap_err();
            assert!(matches!(error, StoreError::InvalidLocation { .. }), "{text:?}: {error}");
        }
    }

    #[test]
    fn credentials_are_refused_and_not_repeated() {
        for text in [
            "https://user:secret@host/x",
            "https://host/x?sig=secret",
            "hdfs://secret@nn:8020/x",
            "s3://key:secret@bucket/x?secret",
            "s3:key:secret@bucket/x",
            "file://secret@host/x",
        ] {
            let error = Location::parse(text).unwrap_err();
            assert!(matches!(error, StoreError::InvalidLocation { .. }), "{text:?}: {error}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }
}
