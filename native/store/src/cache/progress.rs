//! What a fetch that ended early left, `partial/<name>.progress`.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cache::ranges::Ranges;
use crate::location::Location;
use crate::remote::Stat;

/// Which bytes of which object are in a partial file.
///
/// Written without a sync, after the bytes it names: what a process wrote outlives the process, and
/// what a crash of the machine loses is told by the boot.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Progress {
    location: String,
    size: u64,
    modified_millis: i64,
    version: Option<String>,
    /// The kernel's boot id.
    boot: String,
    /// Of the partial file, which is not the one meant here when somebody made it anew.
    inode: u64,
    ranges: Ranges,
}

impl Progress {
    /// `ranges` of the object that `stat` describes are in the file.
    pub(crate) fn of(
        location: &Location,
        stat: &Stat,
        boot: &str,
        file: &Metadata,
        ranges: Ranges,
    ) -> Self {
        Self {
            location: location.to_string(),
            size: stat.size,
            modified_millis: stat.modified_millis,
            version: stat.version.clone(),
            boot: boot.to_owned(),
            inode: file.ino(),
            ranges,
        }
    }

    /// Reads a record. One that a crash or an editor spoilt is as good as none.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }

    /// Whether it was made since the machine started.
    pub(crate) fn is_of_boot(&self, boot: &str) -> bool {
        self.boot == boot
    }

    /// The bytes to go on with, if they are of the object and the file as these are now.
    pub(crate) fn into_ranges(
        self,
        location: &Location,
        stat: &Stat,
        boot: &str,
        file: &Metadata,
    ) -> Option<Ranges> {
        let fits = self.ranges.end() <= file.len().min(stat.size);
        let ranges = self.ranges.clone();
        (fits && self == Self::of(location, stat, boot, file, ranges)).then_some(self.ranges)
    }

    /// Replaces the record in one step; `next` is a free name beside it.
    pub(crate) fn write(&self, path: &Path, next: &Path) -> io::Result<()> {
        serde_json::to_writer(File::create(next)?, self)?;
        fs::rename(next, path)
    }
}

/// The kernel's name for the time since the machine started.
pub(crate) fn boot_id() -> io::Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn only_the_same_bytes_of_the_same_object_are_gone_on_with() {
        let directory = TempDir::new().unwrap();
        let path = |name| directory.path().join(name);
        let file = File::create(path("x")).unwrap();
        file.set_len(10).unwrap();
        let metadata = file.metadata().unwrap();
        let location = Location::parse("/srv/x").unwrap();
        let stat = Stat { size: 10, modified_millis: 7, version: Some("v".to_owned()) };
        let mut ranges = Ranges::default();
        ranges.insert(2..5);
        let progress = Progress::of(&location, &stat, "boot", &metadata, ranges.clone());
        progress.write(&path("x.progress"), &path("x.progress.next")).unwrap();
        let written = fs::read(path("x.progress")).unwrap();

        let resumed = |bytes: &[u8]| {
            fs::write(path("x.progress"), bytes).unwrap();
            Progress::read(&path("x.progress"))?.into_ranges(&location, &stat, "boot", &metadata)
        };
        assert_eq!(resumed(&written), Some(ranges));
        for (key, value) in [
            ("location", json!("file:///srv/y")),
            ("size", json!(9)),
            ("modifiedMillis", json!(8)),
            ("version", Value::Null),
            ("boot", json!("")),
            ("inode", json!(0)),
            ("ranges", json!([[2, 11]])),
            ("ranges", json!([[5, 2]])),
            ("more", json!(1)),
        ] {
            let mut changed: Value = serde_json::from_slice(&written).unwrap();
            changed[key] = value.clone();
            assert_eq!(resumed(changed.to_string().as_bytes()), None, "{key}: {value}");
        }
        for torn in [0, 1, written.len() / 2, written.len() - 1] {
            assert_eq!(resumed(&written[..torn]), None, "{torn}");
        }
    }
}
