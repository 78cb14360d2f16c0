//! Files of credentials, as Docker and containers write them.
//!
//! # References
//!
//! containers-auth.json(5); docker-login(1), "Credential stores" and "Credential helpers".

use std::collections::BTreeMap;
use std::path::Path;

use docker_credential::{CredentialRetrievalError as Failure, DockerCredential};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::source::error::SourceError;
use crate::source::file;
use crate::source::settings::{Credentials, SourceSettings};

/// The key of Docker's own registry, older than all rules.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
/// What the protocol of credential helpers has them say when they know nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// No file of credentials comes near it.
const MAX_BYTES: u64 = 4 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, Value>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

/// The credentials for a repository of a registry; `None` if nothing has any.
pub(super) fn find(
    settings: &SourceSettings,
    registry: &str,
    repository: &str,
) -> Result<Option<Credentials>, SourceError> {
    if let Some(credentials) = &settings.credentials {
        return Ok(Some(credentials.clone()));
    }
    if let Some(path) = &settings.auth_file {
        return find_in(path, registry, repository);
    }
    for path in &settings.default_auth_files {
        if path.exists()
            && let Some(found) = find_in(path, registry, repository)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn find_in(
    path: &Path,
    registry: &str,
    repository: &str,
) -> Result<Option<Credentials>, SourceError> {
    let failed = |problem: String| SourceError::AuthFile { path: path.to_owned(), problem };
    let text = file::document(path, "the size of the file in bytes", MAX_BYTES)?;
    // The parser's own message might repeat a part of the file.
    let found: AuthFile = serde_json::from_slice(&text)
        .map_err(|error| failed(format!("line {} is not what such a file holds", error.line())))?;
    let keys = keys(registry, repository);
    let server = if DOCKER_HUB.contains(&registry) { DOCKER_HUB_KEY } else { registry };
    let helper = keys.iter().find_map(|key| found.cred_helpers.get(key));
    // The library finds no keys of repositories, so it is given the one entry that counts.
    let chosen = if let Some(helper) = helper.filter(|helper| !helper.is_empty()) {
        json!({"credHelpers": {server: helper}})
    } else if let Some(entry) = entry(&found.auths, &keys) {
        json!({"auths": {server: entry}})
    } else if let Some(store) = found.creds_store.filter(|store| !store.is_empty()) {
        json!({"credsStore": store})
    } else {
        return Ok(None);
    };
    let credential =
        docker_credential::get_credential_from_reader(chosen.to_string().as_bytes(), server);
    match credential {
        Ok(DockerCredential::UsernamePassword(username, password)) => {
            Ok(Some(Credentials::Password { username, password }))
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Credentials::IdentityToken(token))),
        Err(Failure::NoCredentialConfigured) => Ok(None),
        Err(Failure::HelperFailure { stdout, .. }) if stdout.trim() == NOT_FOUND => Ok(None),
        // What it printed may hold what it knows.
        Err(Failure::HelperFailure { helper, .. }) => Err(failed(format!(
            "`{helper}` failed; hint: see why with `echo {server} | {helper} get`"
        ))),
        Err(Failure::HelperCommunicationError | Failure::MalformedHelperResponse) => {
            Err(failed(format!(
                "the credential helper for {registry} cannot be run, or its answer not be read"
            )))
        }
        Err(_) => Err(failed(format!(
            "the entry for {registry} is not base64 of a name, a colon and a password"
        ))),
    }
}

/// What an entry for the repository may be called, the most exact name first.
fn keys(registry: &str, repository: &str) -> Vec<String> {
    let hosts: &[&str] =
        if DOCKER_HUB.contains(&registry) { &DOCKER_HUB } else { std::slice::from_ref(&registry) };
    let ends = repository.char_indices().rev().filter(|(_, letter)| *letter == '/');
    let mut paths = vec![repository];
    paths.extend(ends.filter_map(|(at, _)| repository.get(..at)));
    let mut keys = Vec::new();
    for path in paths {
        keys.extend(hosts.iter().map(|host| format!("{host}/{path}")));
    }
    keys.extend(hosts.iter().map(|host| (*host).to_owned()));
    keys
}

/// The entry of the first key that has one with something in it. Docker leaves an empty one where
/// a store has the credentials.
fn entry<'a>(auths: &'a BTreeMap<String, Value>, keys: &[String]) -> Option<&'a Value> {
    let filled = |entry: &&Value| {
        ["auth", "identitytoken", "username"].iter().any(|field| {
            entry.get(field).and_then(Value::as_str).is_some_and(|text| !text.is_empty())
        })
    };
    keys.iter().find_map(|key| {
        auths.get(key).filter(filled).or_else(|| {
            // Docker's keys were URLs once: `https://host/v1/`.
            let is_url_of = |url: &str| {
                let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
                rest.is_some_and(|rest| rest.split('/').next() == Some(key))
            };
            auths.iter().filter(|(url, _)| is_url_of(url)).map(|(_, entry)| entry).find(filled)
        })
    })
}

#[cfg(test)]
mod tests;
