//! Which store is written, and how.

use std::time::Duration;

use storm_oci_store::{Location, RemoteSettings};

/// Which store is written, and how.
#[derive(Clone, Debug)]
pub struct PublishSettings {
    /// The store.
    pub top_level: Location,
    /// The tag map. Its lock is beside it, so all who write this store must name the same one.
    pub tag_map: Location,
    /// How the store is reached.
    pub remote: RemoteSettings,
    /// How many datanodes shall have each block of a file in HDFS. `None`: the cluster's default.
    pub replication: Option<u32>,
    /// Whether a layer that is in the store already is read and hashed before it is used again.
    /// Otherwise its size and its side file must do.
    pub verify_existing: bool,
    /// Whether a layer that is there and good is written again, if its bytes are others. All that is
    /// there is hashed then.
    pub force: bool,
    /// How long another's lock is waited for.
    pub lock_patience: Duration,
    /// After how long without a sign of its holder a lock is taken over. The same for all who
    /// write one store.
    pub stale_lock: Duration,
}

impl PublishSettings {
    /// Settings that fit most stores.
    #[must_use]
    pub fn new(top_level: Location, tag_map: Location, remote: RemoteSettings) -> Self {
        Self {
            top_level,
            tag_map,
            remote,
            replication: None,
            verify_existing: false,
            force: false,
            lock_patience: Duration::from_secs(60),
            stale_lock: Duration::from_secs(600),
        }
    }
}
