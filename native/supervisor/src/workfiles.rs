//! The files a launch leaves for the launcher and for people.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use storm_oci_request::{HostPath, LaunchRequest, check_size};
use tracing::warn;

use crate::beneath::Directory;
use crate::error::SupervisorError;
use crate::image::LocalImage;
use crate::worker::Worker;

/// The request's name in the worker directory.
const REQUEST: &str = "oci-config.json";

/// Only this account reads it: it holds the topology's environment.
const REQUEST_MODE: u32 = 0o600;

/// For people and for the topology's user.
const IMAGE_MODE: u32 = 0o644;

/// Writes the request into the worker directory and returns its path.
///
/// # Errors
///
/// [`SupervisorError::Write`]; [`SupervisorError::Request`] for one that is too long.
pub(crate) fn write_request(
    worker: &Worker,
    request: &LaunchRequest,
) -> Result<HostPath, SupervisorError> {
    let path = format!("{}/{REQUEST}", worker.directory);
    let failed = |source| SupervisorError::Write { path: path.clone().into(), source };
    let json = serde_json::to_vec(request).map_err(|error| failed(io::Error::other(error)))?;
    // A larger one the launcher would not read.
    check_size(&json)?;
    Directory::open(Path::new(worker.directory.as_str()))
        .and_then(|directory| directory.replace(REQUEST, REQUEST_MODE))
        .and_then(|mut file| file.write_all(&json))
        .map_err(failed)?;
    path.clone().try_into().map_err(|source| SupervisorError::Name { what: "request", source })
}

/// Writes `runc-<container id>.yaml` into the artifacts, so that people can tell which image a
/// worker ran. The topology's user owns that directory, so nothing there is relied on, and that
/// the file cannot be written is only told.
pub(crate) fn write_image_note(worker: &Worker, image: &LocalImage) {
    let name = format!("runc-{}.yaml", worker.container);
    let written = Directory::open(Path::new(worker.artifacts_root.as_str()))
        .and_then(|directory| directory.create(&name, IMAGE_MODE))
        .and_then(|mut file| file.write_all(image_note(image).as_bytes()));
    if let Err(error) = written {
        let directory = &worker.artifacts_root;
        warn!(target: "storm_oci.launch", "cannot write `{directory}/{name}`: {error}");
    }
}

fn image_note(image: &LocalImage) -> String {
    let mut note = String::new();
    let entries = [
        ("imageName", Some(image.tag.as_str())),
        ("manifest", image.manifest.as_deref()),
        ("configPath", Some(image.config_path.as_str())),
    ];
    for (key, value) in entries {
        let value = value.map_or_else(|| "null".to_owned(), yaml);
        // Writing to a String cannot fail.
        let _ = writeln!(note, "{key}: {value}");
    }
    note
}

/// A YAML scalar: plain where that is safe, else in double quotes as JSON has them.
fn yaml(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._:-".contains(&byte);
    let safe = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text.bytes().all(plain)
        && !text.ends_with(':')
        && !is_keyword(text);
    if safe { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

/// What YAML reads as something else than text.
fn is_keyword(text: &str) -> bool {
    ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|keyword| text.eq_ignore_ascii_case(keyword))
}

#[cfg(test)]
mod tests;
