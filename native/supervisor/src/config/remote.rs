//! How remote stores are reached: time-outs, options, credentials, and Hadoop's own settings.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde_json::Value;
use storm_oci_store::remote::is_object_option;
use storm_oci_store::{HadoopLogin, HadoopSettings, ObjectSettings, RemoteSettings, StoreOptions};

use super::keys;
use super::reader::Reader;
use crate::error::SupervisorError;

/// Who may not do what with a file of secrets: write it in the group, or anything else.
const TOO_OPEN: u32 = 0o027;

/// The most that is read of a file of secrets, in bytes.
const CREDENTIALS_BYTES: u64 = 64 * 1024;

pub(super) fn read_remote(reader: &mut Reader<'_>) -> RemoteSettings {
    let request_timeout = reader
        .seconds(keys::REQUEST_TIMEOUT)
        .unwrap_or_else(|| RemoteSettings::default().request_timeout);
    RemoteSettings {
        hadoop: read_hadoop(reader, |name| env::var_os(name)),
        objects: read_objects(reader),
        request_timeout,
    }
}

/// Hadoop's configuration as its own programs find it: `environment` is what this process has.
pub(super) fn read_hadoop(
    reader: &mut Reader<'_>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> HadoopSettings {
    let path = |name| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let conf_dir = match reader.value(keys::HADOOP_CONF_DIR) {
        Some(_) => read_conf_dir(reader),
        None => path("HADOOP_CONF_DIR")
            .or_else(|| path("HADOOP_HOME").map(|home| home.join("etc/hadoop")))
            .filter(|directory| directory.is_dir()),
    };
    HadoopSettings {
        conf_dir,
        options: StoreOptions(read_options(reader, keys::HADOOP_OPTIONS)),
        login: read_login(reader),
    }
}

fn read_conf_dir(reader: &mut Reader<'_>) -> Option<PathBuf> {
    let key = keys::HADOOP_CONF_DIR;
    let path = PathBuf::from(reader.path(key)?.as_str());
    match path.read_dir() {
        Ok(_) => Some(path),
        Err(source) => {
            reader.problems.push(SupervisorError::SettingFile { key, path, source });
            None
        }
    }
}

fn read_login(reader: &mut Reader<'_>) -> Option<HadoopLogin> {
    let keytab = reader.path(keys::HDFS_KEYTAB);
    let principal = reader.string(keys::HDFS_PRINCIPAL);
    for (key, other) in
        [(keys::HDFS_KEYTAB, keys::HDFS_PRINCIPAL), (keys::HDFS_PRINCIPAL, keys::HDFS_KEYTAB)]
    {
        if reader.value(key).is_none() && reader.value(other).is_some() {
            let why = "a login needs `storm.hdfs.login.keytab` and `storm.hdfs.login.principal`";
            reader.problems.push(SupervisorError::SettingMissing { key, why });
        }
    }
    Some(HadoopLogin { keytab: PathBuf::from(keytab?.as_str()), principal: principal? })
}

fn read_objects(reader: &mut Reader<'_>) -> ObjectSettings {
    let mut options = read_options(reader, keys::STORE_OPTIONS);
    for name in options.keys() {
        if !is_object_option(name) {
            reader.wrong_option(keys::STORE_OPTIONS, name, "no store has such an option");
        }
    }
    for (name, value) in read_credentials(reader) {
        if options.contains_key(&name) {
            reader.wrong_option(keys::STORE_OPTIONS, &name, "it is in the credentials file too");
        }
        options.insert(name, value);
    }
    let ca_file = reader.path(keys::CA_FILE).map(|path| PathBuf::from(path.as_str()));
    ObjectSettings { options: StoreOptions(options), ca_file }
}

/// A map of names to texts; numbers and booleans are taken for their text.
fn read_options(reader: &mut Reader<'_>, key: &'static str) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    let Some(value) = reader.value(key) else {
        return options;
    };
    let Some(map) = value.as_object() else {
        // Whatever it is may hold a secret.
        reader.wrong::<()>(key, &Value::from("no map"), "a map of names to texts");
        return options;
    };
    for (name, value) in map {
        let text = match value {
            Value::String(text) => text.trim().to_owned(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                reader.wrong_option(key, name, "its value is not a text");
                continue;
            }
        };
        options.insert(name.clone(), text);
    }
    options
}

fn read_credentials(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let key = keys::CREDENTIALS_FILE;
    let Some(path) = reader.path(key).map(|path| PathBuf::from(path.as_str())) else {
        return BTreeMap::new();
    };
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| {
        let mode = file.metadata()?.mode();
        file.take(CREDENTIALS_BYTES).read_to_string(&mut text)?;
        Ok(mode)
    });
    let (credentials, problem) = match read {
        Err(source) => {
            reader.problems.push(SupervisorError::SettingFile { key, path, source });
            return BTreeMap::new();
        }
        Ok(mode) if mode & TOO_OPEN != 0 => (
            BTreeMap::new(),
            Some(format!(
                "its mode is {:04o}; hint: chmod 0600, or 0640 for root's",
                mode & 0o7777
            )),
        ),
        Ok(_) => match parse_credentials(&text) {
            Ok(credentials) => (credentials, None),
            Err(problem) => (BTreeMap::new(), Some(problem)),
        },
    };
    if let Some(problem) = problem {
        reader.problems.push(SupervisorError::CredentialsFile { path, problem });
    }
    credentials
}

/// Reads `name=value` lines; empty ones and those that start with `#` say nothing. Problems name
/// the line and never repeat it.
fn parse_credentials(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut credentials = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err(format!("line {number} is not name=value"));
        };
        let name = name.trim().to_owned();
        if !is_object_option(&name) {
            return Err(format!("line {number} has a name that no store knows"));
        }
        if credentials.insert(name, value.trim().to_owned()).is_some() {
            return Err(format!("line {number} has a name that was there before"));
        }
    }
    Ok(credentials)
}

#[cfg(test)]
mod tests;
