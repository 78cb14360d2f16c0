//! What the supervisor's configuration says about images.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::location::Location;

/// Where images come from and where they are kept. `…` stands for
/// `storm.oci.local.or.hdfs.image.tag.to.manifest.plugin`.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The store: `storm.oci.image.hdfs.toplevel.dir`.
    pub top_level: Location,
    /// The tag map of this host, searched first: `….local.hash.file`. May be missing on disk.
    pub local_tag_map: Option<PathBuf>,
    /// The tag map of the cluster: `….hdfs.hash.file`.
    pub remote_tag_map: Option<Location>,
    /// How long tag maps are used before they are looked at again:
    /// `….cache.refresh.interval.secs`.
    pub refresh_interval: Duration,
    /// How many manifests are kept in memory: `….num.manifests.to.cache`.
    pub manifests_to_cache: NonZeroUsize,
    /// The directory of local copies: `storm.oci.resources.local.dir`.
    pub local_dir: PathBuf,
}
