//! Publishing to a real S3 server.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod publishing;

use std::sync::LazyLock;

use publishing::{Site, scenarios, tending};
use storm_oci_store::{ObjectSettings, RemoteSettings, StoreOptions};
use storm_oci_test_stores::S3;

static SERVER: LazyLock<S3> = LazyLock::new(|| S3::start().unwrap());

/// A part of the bucket of its own for each test.
fn site(name: &str) -> Site {
    let options = StoreOptions(S3::client_options(&SERVER.endpoint()));
    let objects = ObjectSettings { options, ca_file: None };
    let remote = RemoteSettings { objects, ..RemoteSettings::default() };
    Site::new(&format!("s3://{}/{name}", S3::BUCKET), remote)
}

macro_rules! scenarios {
    ($($module:ident :: $name:ident ( $($argument:expr),* );)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $module::$name(&site(stringify!($name)) $(, $argument)*).await;
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
    tending::a_sweep_follows_dead_holders();
    tending::an_odd_manifest_keeps_what_it_may_need();
    tending::removing_an_image_breaks_no_other();
    tending::an_untagged_image_goes_in_steps();
}

#[tokio::test]
async fn an_image_is_copied() {
    let directory = tempfile::tempdir().unwrap();
    let from = Site::new(directory.path().to_str().unwrap(), RemoteSettings::default());
    tending::an_image_is_copied(&from, &site("an_image_is_copied")).await;
}
