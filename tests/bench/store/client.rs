//! Our library in a process of its own, so that what it uses is its own too.

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use storm_oci_store::{
    CacheBudget, HadoopSettings, ImageStore, Location, Platform, Reference, RemoteSettings,
    StoreError, StoreOptions, StoreSettings, Verification,
};
use tokio::task::JoinSet;

/// The first argument of a process that runs [`serve`].
pub(crate) const ROLE: &str = "fetch";

/// As many as the supervisor gives to its images.
const WORKERS: usize = 2;

/// The default of `storm.oci.store.connections`.
const CONNECTIONS: usize = 8;

/// Fetches images into empty caches. The arguments are Hadoop's configuration directory and
/// `name=value` over it. Each line of the input is `STORE TAG,... DIRECTORY SLOTS` and is answered
/// with the milliseconds until as many slots as that, all at once, had all layers of each image.
pub(crate) fn serve(mut arguments: impl Iterator<Item = String>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .unwrap();
    let conf_dir = arguments.next().map(PathBuf::from);
    let options: BTreeMap<String, String> = arguments
        .map(|option| option.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).unwrap())
        .collect();
    let hadoop = HadoopSettings { conf_dir, options: StoreOptions(options), login: None };
    for request in io::stdin().lock().lines() {
        let request = request.unwrap();
        let [store, tags, directory, slots] = *request.split(' ').collect::<Vec<_>>() else {
            panic!("cannot read a request: {request}");
        };
        let settings = StoreSettings {
            top_level: Location::parse(store).unwrap(),
            local_tag_map: None,
            remote_tag_map: Some(Location::parse(&format!("{store}/tags")).unwrap()),
            refresh_interval: Duration::from_secs(60),
            manifests_to_cache: NonZeroUsize::new(10).unwrap(),
            local_dir: directory.into(),
            budget: CacheBudget::default(),
            platform: Platform::host(),
            verification: Verification::Required,
            fetch_timeout: Duration::from_secs(600),
            connections: NonZeroUsize::new(CONNECTIONS).unwrap(),
            remote: RemoteSettings { hadoop: hadoop.clone(), ..RemoteSettings::default() },
        };
        let start = Instant::now();
        runtime.block_on(localize(settings, tags, slots.parse().unwrap())).unwrap();
        println!("{}", start.elapsed().as_secs_f64() * 1e3);
    }
}

/// What the supervisor does for a launch, once for each slot.
async fn localize(settings: StoreSettings, tags: &str, slots: usize) -> Result<(), StoreError> {
    let store = Arc::new(ImageStore::open(settings)?);
    let tags = tags.split(',').map(Reference::parse).collect::<Result<Vec<_>, _>>()?;
    let mut launches = JoinSet::new();
    for tag in std::iter::repeat_n(tags, slots).flatten() {
        let store = Arc::clone(&store);
        launches.spawn(async move {
            let digest = store.resolve(&tag).await?;
            let manifest = store.manifest(&digest).await?;
            store.config(&manifest).await?;
            store.localize_layers(&manifest.layers).await.map(drop)
        });
    }
    while let Some(launch) = launches.join_next().await {
        launch.unwrap()?;
    }
    Ok(())
}
