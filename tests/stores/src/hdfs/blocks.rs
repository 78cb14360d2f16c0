//! The blocks of a file, on the datanodes' disks.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Hdfs, NameNode};
use crate::error::{Doing, TestbedError};
use crate::local_http;

impl Hdfs {
    /// Changes a byte in the middle of a replica of each of a file's blocks, behind the datanode's
    /// back; gives the number of replicas that were changed.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when there is no such file, or the datanode has no replica of it. A cluster
    /// with Kerberos does not say which blocks a file has.
    pub fn corrupt(&self, path: &str, datanode: usize) -> Result<usize, TestbedError> {
        let replicas = self.replicas(path, datanode)?;
        for replica in &replicas {
            flip(replica).doing(format_args!("corrupt {}", replica.display()))?;
        }
        Ok(replicas.len())
    }

    fn replicas(&self, path: &str, datanode: usize) -> Result<Vec<PathBuf>, TestbedError> {
        let doing = format!("find the blocks of {path}");
        let active = self.namenodes.iter().find(|node| node.is_active());
        let query = format!("/fsck?ugi={}&path={path}&files=1&blocks=1", superuser());
        let page = active.and_then(|NameNode { web, .. }| local_http::get(*web, &query));
        let page = page.ok_or("no namenode answers").doing(&doing)?;
        // A line of the report: `0. BP-…:blk_1073741825_1001 len=16777216 Live_repl=3`
        let names: Vec<String> = page
            .split(|letter: char| !(letter == '_' || letter.is_ascii_alphanumeric()))
            .filter(|word| word.starts_with("blk_"))
            .filter_map(|word| word.rsplit_once('_').map(|(name, _)| name.to_owned()))
            .collect();
        let data = self.datanodes.get(datanode).map(|node| node.data.clone());
        let data = data.ok_or("there is no such datanode").doing(&doing)?;
        let mut found = Vec::new();
        search(&data, &names, &mut found).doing(&doing)?;
        if found.is_empty() || found.len() != names.len() {
            return Err(TestbedError::new(
                doing,
                format_args!("{} replicas of {} blocks\n{page}", found.len(), names.len()),
            ));
        }
        Ok(found)
    }
}

/// The account that started the daemons.
fn superuser() -> String {
    std::process::Command::new("id")
        .arg("-un")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

fn search(directory: &Path, names: &[String], found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            search(&path, names, found)?;
        } else if path
            .file_name()
            .is_some_and(|name| names.iter().any(|wanted| name == wanted.as_str()))
        {
            found.push(path);
        }
    }
    Ok(())
}

fn flip(replica: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(replica)?;
    let middle = file.metadata()?.len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle)?;
    file.write_all_at(&[!byte[0]], middle)
}
