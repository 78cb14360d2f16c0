//! Publishing to HDFS.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod publishing;

use std::time::Duration;

use publishing::{Sample, Site, killed, references, scenarios, tending};
use storm_oci_convert::publish::Publisher;
use storm_oci_store::{ErrorKind, HadoopSettings, RemoteSettings};
use storm_oci_test_stores::{Hdfs, HdfsSpec};
use tokio::sync::{Mutex, MutexGuard};

static HDFS: std::sync::LazyLock<Mutex<Hdfs>> = std::sync::LazyLock::new(|| {
    let spec = HdfsSpec { datanodes: 2, block_size: 1 << 20, ..HdfsSpec::default() };
    Mutex::new(Hdfs::start(spec).unwrap())
});

/// The cluster, whole again after an earlier test.
async fn cluster() -> MutexGuard<'static, Hdfs> {
    let mut hdfs = HDFS.lock().await;
    hdfs.heal().unwrap();
    hdfs
}

/// A directory of its own for each test.
fn site(hdfs: &Hdfs, name: &str) -> Site {
    let hadoop = HadoopSettings { conf_dir: Some(hdfs.client_conf()), ..HadoopSettings::default() };
    let remote = RemoteSettings { hadoop, ..RemoteSettings::default() };
    Site::new(&hdfs.url(&format!("/{name}/images")), remote)
}

macro_rules! scenarios {
    ($($module:ident :: $name:ident ( $($argument:expr),* );)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let hdfs = cluster().await;
            $module::$name(&site(&hdfs, stringify!($name)) $(, $argument)*).await;
        }
    )*};
}

scenarios! {
    scenarios::an_image_is_published_once();
    scenarios::what_is_broken_is_repaired();
    scenarios::a_good_layer_is_written_again_if_asked();
    scenarios::an_upload_of_other_bytes_leaves_nothing();
    scenarios::publishers_at_once_lose_nothing(8);
    scenarios::a_dead_holders_lock_is_taken_over();
    scenarios::who_lost_the_lock_changes_nothing();
    scenarios::a_tag_map_that_changes_meanwhile_is_not_written_over();
    scenarios::a_malformed_tag_map_is_left_alone();
    scenarios::a_layer_that_goes_meanwhile_is_noticed();
    tending::a_sweep_takes_what_nobody_needs();
    tending::an_odd_manifest_keeps_what_it_may_need();
    tending::removing_an_image_breaks_no_other();
    tending::an_untagged_image_goes_in_steps();
    killed::a_killed_publisher_is_made_up_for("the_one_that_is_killed");
}

#[tokio::test]
async fn the_one_that_is_killed() {
    killed::die_if_asked().await;
}

#[tokio::test]
async fn an_image_is_copied() {
    let hdfs = cluster().await;
    tending::an_image_is_copied(&site(&hdfs, "from"), &site(&hdfs, "to")).await;
}

#[tokio::test]
async fn modes_and_replicas_are_as_asked_and_ancestors_are_left_alone() {
    let hdfs = cluster().await;
    let site = site(&hdfs, "modes");
    hdfs.shell(&["-mkdir", "/modes"]).unwrap();
    hdfs.shell(&["-chmod", "711", "/modes"]).unwrap();
    let mut settings = site.settings();
    settings.replication = Some(2);
    let publisher = Publisher::open(settings).unwrap();
    let sample = Sample::small("modes");
    sample.publish(&publisher, &["modes:1"]).await.unwrap();
    publisher.init().await.unwrap();
    let shown =
        hdfs.shell(&["-stat", "%a %r %n", "/modes", "/modes/images/*", "/modes/images/*/*"]);
    let shown = shown.unwrap();
    let line = |name: &str| shown.lines().find(|line| line.ends_with(name)).unwrap();
    assert_eq!(line(" modes"), "711 0 modes");
    for directory in ["images/layers", "layers", "config", "manifests", "unreferenced"] {
        let name = directory.trim_start_matches("images/");
        assert_eq!(line(&format!(" {name}")), format!("755 0 {name}"));
    }
    let layer = sample.layer_name(1).replace("layers/", "");
    for file in ["image-tag-to-hash", &sample.hex(), &layer, &format!("{layer}.json")] {
        assert_eq!(line(file), format!("444 2 {file}"), "{shown}");
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_an_error_and_the_next_run_completes_it() {
    let mut hdfs = cluster().await;
    let site = site(&hdfs, "down");
    let mut settings = site.settings();
    settings.remote.request_timeout = Duration::from_secs(10);
    let publisher = Publisher::open(settings).unwrap();
    let sample = Sample::small("down");
    sample.put(&publisher).await.unwrap();
    hdfs.namenode(0).kill().unwrap();
    let other = Sample::small("other");
    let error = other.put(&publisher).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    let error = publisher.tag(&sample.digest(), &references(&["down:1"]), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    hdfs.heal().unwrap();
    other.publish(&publisher, &["down:1"]).await.unwrap();
    site.must_run("down:1", &other).await;
}
