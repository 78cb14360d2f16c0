//! Which layers this host runs on: the store never removes those.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use storm_oci_request::{FileIdentity, LayerKey};
use storm_oci_store::InUse;

use crate::records::Records;

/// What this process' mount namespace has mounted; the launcher mounts layers in the host's.
const MOUNT_TABLE: &str = "/proc/self/mountinfo";

/// The layers that are mounted, and those of containers on record, whoever's they are.
#[derive(Debug)]
pub(crate) struct LayersInUse {
    records: Records,
}

impl LayersInUse {
    pub(crate) fn new(records: Records) -> Self {
        Self { records }
    }
}

impl InUse for LayersInUse {
    fn is_in_use(&self, layer: &Path, file: &Metadata) -> io::Result<bool> {
        let key = key_of(file);
        if is_mounted(&fs::read_to_string(MOUNT_TABLE)?, &key) {
            return Ok(true);
        }
        let records =
            self.records.of_everybody().map_err(|error| io::Error::other(error.report()))?;
        let mut layers = records.iter().flat_map(|record| &record.layers);
        // The key alone would do, were it not that the file may have been replaced.
        Ok(layers.any(|used| used.key == key || Path::new(used.path.as_str()) == layer))
    }
}

fn key_of(file: &Metadata) -> LayerKey {
    LayerKey::of(FileIdentity {
        device: file.dev(),
        inode: file.ino(),
        size: file.size(),
        modified_seconds: file.mtime(),
        modified_nanos: file.mtime_nsec().unsigned_abs(),
    })
}

/// Whether a mount table has the layer at `<anything>/<key>/mnt`: another supervisor's launcher
/// may have another run root.
///
/// # References
///
/// `proc_pid_mountinfo(5)`: the mount point is the fifth field.
fn is_mounted(table: &str, key: &LayerKey) -> bool {
    let end = format!("/{key}/mnt");
    table.lines().filter_map(|line| line.split(' ').nth(4)).any(|point| point.ends_with(&end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hierarchy::tests::UUID;
    use crate::records::tests::{RunRoot, launch_record};

    #[test]
    fn a_layer_is_found_in_records_by_path_and_by_key() {
        let root = RunRoot::new();
        let in_use = LayersInUse::new(root.records());
        let directory = tempfile::tempdir().unwrap();
        let layer = directory.path().join("layer.sqsh");
        fs::write(&layer, "layer").unwrap();
        let file = fs::metadata(&layer).unwrap();
        assert!(!in_use.is_in_use(&layer, &file).unwrap());

        let record = |key: &str, path: &str| {
            let layers = format!(r#""layers":[{{"key":"{key}","path":"{path}","mounted":false}}]"#);
            // Of another account and another supervisor: its layers are in use all the same.
            let text = launch_record(6700, None)
                .replace(r#""layers":[]"#, &layers)
                .replace(r#""uid":1000"#, r#""uid":4321"#)
                .replace("/srv/workers", "/srv/others");
            root.write(&format!("6700-{UUID}.json"), &text);
        };
        let key = key_of(&file);
        for (key, path, expected) in [
            (key.as_str(), "/another/name.sqsh", true),
            (&"a".repeat(64), layer.to_str().unwrap(), true),
            (&"a".repeat(64), "/another/name.sqsh", false),
        ] {
            record(key, path);
            assert_eq!(in_use.is_in_use(&layer, &file).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn a_mount_is_known_by_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let key = key_of(&fs::metadata(directory.path()).unwrap());
        let line =
            |point: &str| format!("36 35 7:3 / {point} ro shared:1 - squashfs /dev/loop3 ro\n");
        let root = line("/");
        for (point, expected) in [
            (format!("/run/worker-launcher/layers/{key}/mnt"), true),
            (format!("/srv/my\\040run/layers/{key}/mnt"), true),
            (format!("/run/worker-launcher/layers/{key}"), false),
            (format!("/run/worker-launcher/layers/{}/mnt", "a".repeat(64)), false),
        ] {
            assert_eq!(is_mounted(&(root.clone() + &line(&point)), &key), expected, "{point}");
        }
    }
}
