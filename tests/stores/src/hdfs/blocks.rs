//! The blocks of a file, on the datanodes' disks.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::Hdfs;
use crate::error::{Doing, TestbedError};
use crate::local_http;

/// The namenode looks every few seconds for blocks that lack a replica.
const REPLICATION_LIMIT: Duration = Duration::from_secs(60);

impl Hdfs {
    /// Changes a byte in the middle of a replica of each of a file's blocks, behind the datanode's
    /// back; gives the number of replicas that were changed.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] when there is no such file, or the datanode has no replica of it. A cluster
    /// with Kerberos does not say which blocks a file has.
    pub fn corrupt(&self, path: &str, datanode: usize) -> Result<usize, TestbedError> {
        self.wait_until_replicated(path)?;
        let replicas = self.replicas(path, datanode)?;
        for replica in &replicas {
            flip(replica).doing(format_args!("corrupt {}", replica.display()))?;
        }
        Ok(replicas.len())
    }

    /// Waits until the namenode knows of a replica of each block on every datanode: a datanode that
    /// was slow when the file was written gets its replica later, as a copy of any other.
    ///
    /// # Errors
    ///
    /// [`TestbedError`] with the namenode's report, when that is not so after a minute.
    pub fn wait_until_replicated(&self, path: &str) -> Result<(), TestbedError> {
        let whole = format!("Live_repl={}", self.datanodes.len());
        let begin = Instant::now();
        loop {
            let page = self.fsck(path).unwrap_or_default();
            let blocks = page.matches("Live_repl=").count();
            if blocks > 0 && page.split_whitespace().filter(|word| *word == whole).count() == blocks
            {
                return Ok(());
            }
            if begin.elapsed() > REPLICATION_LIMIT {
                return Err(TestbedError::new(format_args!("have {path} on every datanode"), page));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// One file of the datanode for each block.
    fn replicas(&self, path: &str, datanode: usize) -> Result<Vec<PathBuf>, TestbedError> {
        let doing = format!("find the blocks of {path}");
        let data = self.datanodes.get(datanode).map(|node| node.data.clone());
        let data = data.ok_or("there is no such datanode").doing(&doing)?;
        let names = self.blocks(path).ok_or("no namenode answers").doing(&doing)?;
        let mut found = Vec::new();
        search(&data, &names, &mut found).doing(&doing)?;
        if found.is_empty() || found.len() != names.len() {
            let cause = format!("{} replicas of {} blocks", found.len(), names.len());
            return Err(TestbedError::new(doing, cause));
        }
        Ok(found)
    }

    /// The names of the files of a file's blocks.
    fn blocks(&self, path: &str) -> Option<BTreeSet<String>> {
        let page = self.fsck(path)?;
        // A line of the report: `0. BP-…:blk_1073741825_1001 len=16777216 Live_repl=3`
        let words = page.split(|letter: char| letter != '_' && !letter.is_ascii_alphanumeric());
        let blocks = words.filter(|word| word.starts_with("blk_"));
        Some(blocks.filter_map(|word| Some(word.rsplit_once('_')?.0.to_owned())).collect())
    }

    fn fsck(&self, path: &str) -> Option<String> {
        let active = self.namenodes.iter().find(|node| node.is_active())?;
        let query = format!("/fsck?ugi={}&path={path}&files=1&blocks=1", superuser());
        local_http::get(active.web, &query)
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

fn search(
    directory: &Path,
    names: &BTreeSet<String>,
    found: &mut Vec<PathBuf>,
) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            // What is still being written, or has been given up, is no replica.
            if !path.ends_with("rbw") && !path.ends_with("tmp") {
                search(&path, names, found)?;
            }
        } else if path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| names.contains(name))
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
