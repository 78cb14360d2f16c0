//! Hadoop's configuration files.

use std::path::Path;

use crate::error::TestbedError;
use crate::scratch::{make_dir, write};

const LOG4J: &str = include_str!("../../hadoop/log4j.properties");

/// Keys and values, in order; later ones count.
#[derive(Clone, Debug, Default)]
pub(super) struct Conf(Vec<(String, String)>);

impl Conf {
    pub(super) fn set(&mut self, key: impl Into<String>, value: impl ToString) -> &mut Self {
        self.0.push((key.into(), value.to_string()));
        self
    }

    pub(super) fn with(&self, more: &Self) -> Self {
        Self(self.0.iter().chain(&more.0).cloned().collect())
    }

    /// Writes `core-site.xml` and `hdfs-site.xml`, as a client wants them.
    pub(super) fn write(&self, directory: &Path) -> Result<(), TestbedError> {
        make_dir(directory)?;
        // Java's client looks for security in the first file only.
        let (core, hdfs): (Vec<_>, Vec<_>) =
            self.0.iter().partition(|(key, _)| !key.starts_with("dfs."));
        write(&directory.join("core-site.xml"), xml(&core))?;
        write(&directory.join("hdfs-site.xml"), xml(&hdfs))
    }

    /// Writes the same with what a daemon looks for on its class path.
    pub(super) fn write_for_daemon(&self, directory: &Path) -> Result<(), TestbedError> {
        self.write(directory)?;
        write(&directory.join("log4j.properties"), LOG4J)?;
        // The jars have no pages; the daemons insist on the directories.
        make_dir(&directory.join("webapps/hdfs"))?;
        make_dir(&directory.join("webapps/datanode"))
    }
}

fn xml(properties: &[&(String, String)]) -> String {
    let properties: String = properties
        .iter()
        .map(|(key, value)| {
            format!(
                "  <property><name>{}</name><value>{}</value></property>\n",
                escape(key),
                escape(value)
            )
        })
        .collect();
    format!("<?xml version=\"1.0\"?>\n<configuration>\n{properties}</configuration>\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
