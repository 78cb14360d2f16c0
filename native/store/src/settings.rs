//! What the supervisor's configuration says about images.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::location::Location;
use crate::platform::Platform;

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
    /// How much local copies may take.
    pub budget: CacheBudget,
    /// Which manifest of an image index is run: `storm.oci.image.platform`.
    pub platform: Platform,
    /// Which layers are accepted: `storm.oci.layer.verification`.
    pub verification: Verification,
    /// How long the layers of one image may take, all tries together:
    /// `storm.oci.store.fetch.timeout.secs`.
    pub fetch_timeout: Duration,
    /// How many requests for layers there may be at once, of all images together:
    /// `storm.oci.store.connections`.
    pub connections: NonZeroUsize,
    /// How remote stores are reached.
    pub remote: RemoteSettings,
}

/// How much disk the cache may take, in bytes as `du` counts them.
///
/// Kept by removing what was used longest ago, and never what is in use: with much in use the
/// cache stays above it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CacheBudget {
    /// All files of the cache together: `storm.oci.resources.cache.max.bytes`. `None`: as much as
    /// there is.
    pub max_bytes: Option<u64>,
    /// What stays free on its file system: `storm.oci.resources.cache.min.free.bytes`.
    pub min_free_bytes: u64,
}

/// What must be known of a layer before its bytes are accepted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Verification {
    /// The digest of its file, from the manifest or the side file.
    Required,
    /// That digest if the store has it. Otherwise the store's own checksums must do, and a warning
    /// says so.
    #[default]
    WhenAvailable,
}

/// How remote stores are reached. All of it comes from here, nothing from the environment.
#[derive(Clone, Debug)]
pub struct RemoteSettings {
    /// For `hdfs`.
    pub hadoop: HadoopSettings,
    /// For `s3`, `gs`, `az`, `http` and `https`.
    pub objects: ObjectSettings,
    /// How long a store may send nothing before a request counts as failed:
    /// `storm.oci.store.request.timeout.secs`.
    pub request_timeout: Duration,
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self {
            hadoop: HadoopSettings::default(),
            objects: ObjectSettings::default(),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// How HDFS is reached.
#[derive(Clone, Debug, Default)]
pub struct HadoopSettings {
    /// Where `core-site.xml` and `hdfs-site.xml` are: `storm.oci.hadoop.conf.dir`.
    pub conf_dir: Option<PathBuf>,
    /// Hadoop's keys, over those of the files: `storm.oci.hadoop.options`.
    pub options: StoreOptions,
    /// Who logs in to a cluster with Kerberos.
    pub login: Option<HadoopLogin>,
}

/// An account of a Kerberos realm and where its keys are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HadoopLogin {
    /// `storm.hdfs.login.keytab`.
    pub keytab: PathBuf,
    /// `storm.hdfs.login.principal`; `_HOST` in it stands for this host's name.
    pub principal: String,
}

/// How object stores are reached.
#[derive(Clone, Debug, Default)]
pub struct ObjectSettings {
    /// Options by the names of the `object_store` library: those of `storm.oci.store.options` and
    /// those of the file that `storm.oci.store.credentials.file` names.
    pub options: StoreOptions,
    /// Certificates of authorities that servers may have theirs from, beside the system's, in PEM
    /// form: `storm.oci.store.ca.file`.
    pub ca_file: Option<PathBuf>,
}

/// Options of a store. Their values may be secrets: `Debug` shows the names alone.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct StoreOptions(pub BTreeMap<String, String>);

impl fmt::Debug for StoreOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}
