//! Brings an image's files to this host and says where they are.
//!
//! `localize <store> <tag map> <local directory> <tag> [hold]` prints one line a layer. With
//! `hold` it then keeps its leases until its standard input ends. `HADOOP_CONF_DIR` is where HDFS is
//! configured.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to people")]

use std::error::Error;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use storm_oci_store::{
    CacheBudget, HadoopSettings, ImageStore, Location, Platform, Reference, RemoteSettings,
    StoreError, StoreSettings, Verification,
};

/// As many as the supervisor has when nothing else is configured.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not 0");

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [top_level, tag_map, local_dir, tag, hold @ ..] = arguments.as_slice() else {
        return Err("usage: localize <store> <tag map> <local directory> <tag> [hold]".into());
    };
    let store = ImageStore::open(StoreSettings {
        top_level: Location::parse(top_level)?,
        local_tag_map: None,
        remote_tag_map: Some(Location::parse(tag_map)?),
        refresh_interval: Duration::from_secs(60),
        manifests_to_cache: NonZeroUsize::MIN,
        local_dir: PathBuf::from(local_dir),
        budget: CacheBudget::default(),
        platform: Platform::host(),
        verification: Verification::WhenAvailable,
        fetch_timeout: Duration::from_secs(600),
        connections: CONNECTIONS,
        remote: RemoteSettings {
            hadoop: HadoopSettings {
                conf_dir: std::env::var_os("HADOOP_CONF_DIR").map(PathBuf::from),
                ..HadoopSettings::default()
            },
            ..RemoteSettings::default()
        },
    })?;
    let digest = store.resolve(&Reference::parse(tag)?).await?;
    let manifest = store.manifest(&digest).await?;
    let config = store.config(&manifest).await?;
    println!("config {}", config.path.display());
    let mut held = Vec::new();
    for layer in store.localize_layers(&manifest.layers).await? {
        let how = if layer.fetched { "fetched" } else { "present" };
        println!("{how} {}", layer.path.display());
        held.push(layer);
    }
    io::stdout().flush()?;
    if !hold.is_empty() {
        io::stdin().read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match error.downcast_ref::<StoreError>() {
                Some(store_error) => eprintln!("{} {store_error}", store_error.kind()),
                None => eprintln!("{error}"),
            }
            ExitCode::FAILURE
        }
    }
}
