//! Publishing to a directory.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod publishing;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use publishing::{Sample, Site, killed, reference, scenarios, tending};
use storm_oci_store::RemoteSettings;
use tempfile::TempDir;

/// A directory of its own for each test.
fn site() -> (TempDir, Site) {
    let directory = TempDir::new().unwrap();
    let top = directory.path().join("my store/images").to_str().unwrap().to_owned();
    (directory, Site::new(&top, RemoteSettings::default()))
}

macro_rules! scenarios {
    ($($module:ident :: $name:ident ( $($argument:expr),* );)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let (_directory, site) = site();
            $module::$name(&site $(, $argument)*).await;
        }
    )*};
}

scenarios! {
    scenarios::an_image_is_published_once();
    scenarios::what_is_broken_is_repaired();
    scenarios::a_good_layer_is_written_again_if_asked();
    scenarios::an_upload_of_other_bytes_leaves_nothing();
    scenarios::publishers_at_once_lose_nothing(16);
    scenarios::a_dead_holders_lock_is_taken_over();
    scenarios::who_lost_the_lock_changes_nothing();
    scenarios::a_tag_map_that_changes_meanwhile_is_not_written_over();
    scenarios::a_dropped_future_gives_its_lock_back_when_asked();
    scenarios::a_malformed_tag_map_is_left_alone();
    scenarios::a_layer_that_goes_meanwhile_is_noticed();
    tending::a_sweep_takes_what_nobody_needs();
    tending::a_sweep_follows_dead_holders();
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
    let ((_one, from), (_other, to)) = (site(), site());
    tending::an_image_is_copied(&from, &to).await;
}

#[tokio::test]
async fn modes_are_storms_and_those_of_directories_above_are_left_alone() {
    let (directory, site) = site();
    let above = directory.path().join("my store");
    fs::create_dir(&above).unwrap();
    fs::set_permissions(&above, Permissions::from_mode(0o710)).unwrap();
    let publisher = site.publisher();
    let sample = Sample::small("modes");
    sample.publish(&publisher, &["modes:1"]).await.unwrap();
    publisher.init().await.unwrap();
    let mode = |name: &str| fs::metadata(above.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(""), 0o710);
    for directory in
        ["images", "images/layers", "images/config", "images/manifests", "images/unreferenced"]
    {
        assert_eq!(mode(directory), 0o755, "{directory}");
    }
    let manifest = format!("images/manifests/{}", sample.hex());
    let layer = format!("images/{}", sample.layer_name(0));
    for file in ["images/image-tag-to-hash", &manifest, &layer, &format!("{layer}.json")] {
        assert_eq!(mode(file), 0o444, "{file}");
    }
    // What the script hid is shown again.
    fs::set_permissions(above.join(&manifest), Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(above.join(&layer), Permissions::from_mode(0o400)).unwrap();
    let problems = publisher.verify(&[reference("modes:1")]).await.unwrap().remove(0).problems;
    assert_eq!(problems.len(), 2, "{problems:?}");
    sample.publish(&publisher, &["modes:1"]).await.unwrap();
    assert_eq!((mode(&manifest), mode(&layer)), (0o444, 0o444));
}
