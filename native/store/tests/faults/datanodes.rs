//! Datanodes that die, hang or have lost what they keep.

use std::time::Duration;

use storm_oci_store::{ErrorKind, StoreSettings};

use super::Images;
use super::images::{LAYER, finish};

/// The datanode that has sent most.
fn busiest(images: &Images) -> usize {
    (0..3).max_by_key(|index| images.hdfs.proxy(*index).received()).unwrap()
}

/// Gives up soon.
fn impatient(images: &Images) -> StoreSettings {
    let mut settings = images.settings();
    settings.fetch_timeout = Duration::from_secs(4);
    settings.remote.request_timeout = Duration::from_secs(1);
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datanode_killed_in_mid_read_is_replaced_by_another() {
    let mut images = Images::new(&[LAYER]);
    let fetch = images.fetch_to_the_middle();
    let killed = busiest(&images);
    images.hdfs.datanode(killed).kill().unwrap();
    finish(fetch).await.unwrap();
    images.expect_fetched();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_datanodes_gone_is_an_error_until_one_is_back() {
    let mut images = Images::new(&[LAYER]);
    let fetch = images.fetch_to_the_middle_with(impatient(&images));
    for datanode in 0..3 {
        images.hdfs.datanode(datanode).kill().unwrap();
    }
    let error = finish(fetch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    images.expect_not_fetched();
    images.hdfs.heal().unwrap();
    images.fetch().await.unwrap();
    images.expect_fetched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_datanode_that_goes_on_in_time_costs_no_launch() {
    let mut images = Images::new(&[LAYER]);
    images.hdfs.wait_until_replicated(&images.layer_path()).unwrap();
    let fetch = images.fetch_to_the_middle();
    // It is in time whatever else this host does: a JVM that is started anew might not be.
    images.hdfs.datanode(2).hang().unwrap();
    for datanode in 0..2 {
        images.hdfs.datanode(datanode).kill().unwrap();
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    images.hdfs.datanode(2).go_on().unwrap();
    finish(fetch).await.unwrap();
    images.expect_fetched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_datanode_is_replaced_by_another() {
    let mut images = Images::new(&[LAYER]);
    let fetch = images.fetch_to_the_middle();
    let hung = busiest(&images);
    images.hdfs.datanode(hung).hang().unwrap();
    finish(fetch).await.unwrap();
    images.expect_fetched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_stalls_is_an_error_until_it_goes_on() {
    let images = Images::new(&[LAYER]);
    for datanode in 0..3 {
        images.hdfs.proxy(datanode).stall_after(2 << 20);
    }
    let error = finish(images.start_fetch_with(impatient(&images))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    images.expect_not_fetched();
    for datanode in 0..3 {
        images.hdfs.proxy(datanode).resume();
    }
    images.fetch().await.unwrap();
    images.expect_fetched();
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_are_made_anew() {
    let images = Images::new(&[LAYER]);
    let fetch = images.fetch_to_the_middle();
    for datanode in 0..3 {
        images.hdfs.proxy(datanode).cut();
    }
    finish(fetch).await.unwrap();
    images.expect_fetched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_replica_is_replaced_by_another() {
    let images = Images::new(&[LAYER]);
    for datanode in 0..2 {
        assert_eq!(images.hdfs.corrupt(&images.layer_path(), datanode).unwrap(), 5);
    }
    images.fetch().await.unwrap();
    images.expect_fetched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_with_no_good_replica_is_refused_until_it_is_published_again() {
    let images = Images::without_side_file();
    let content = images.first_content();
    for datanode in 0..3 {
        images.hdfs.corrupt(&images.layer_path(), datanode).unwrap();
    }
    let error = finish(images.start_fetch_with(impatient(&images))).await.unwrap_err();
    assert!(error.to_string().contains(&images.layer_path()), "{error}");
    images.expect_not_fetched();
    images.replace_layer(&content);
    images.fetch().await.unwrap();
    images.expect_fetched();
}
