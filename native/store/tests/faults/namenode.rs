//! A namenode that is restarted, or that hangs.

use std::time::Duration;

use storm_oci_store::ErrorKind;

use super::Images;
use super::images::{LAYER, finish};

#[tokio::test(flavor = "multi_thread")]
async fn a_namenode_restarted_in_mid_fetch_costs_no_launch() {
    let mut images = Images::new(&[LAYER, 1 << 20]);
    let fetch = images.fetch_to_the_middle();
    images.hdfs.namenode(0).kill().unwrap();
    images.hdfs.heal().unwrap();
    finish(fetch).await.unwrap();
    images.expect_fetched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namenode_that_hangs_for_a_moment_costs_no_launch() {
    let mut images = Images::new(&[LAYER, 1 << 20]);
    let fetch = images.fetch_to_the_middle();
    images.hdfs.namenode(0).hang().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    images.hdfs.namenode(0).go_on().unwrap();
    finish(fetch).await.unwrap();
    images.expect_fetched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_namenode_is_an_error_until_it_goes_on() {
    let mut images = Images::new(&[1 << 20]);
    images.hdfs.namenode(0).hang().unwrap();
    let mut settings = images.settings();
    settings.fetch_timeout = Duration::from_secs(4);
    settings.remote.request_timeout = Duration::from_secs(1);
    let error = finish(images.start_fetch_with(settings)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    images.expect_not_fetched();
    images.hdfs.namenode(0).go_on().unwrap();
    images.fetch().await.unwrap();
    images.expect_fetched();
}
