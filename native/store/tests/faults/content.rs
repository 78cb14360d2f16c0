//! Layers that are not, or no longer, what they should be.

use std::fs;

use storm_oci_store::ErrorKind;

use super::Images;
use super::images::{LAYER, bytes, finish};

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_replaced_in_mid_fetch_is_never_a_mix() {
    let images = Images::without_side_file();
    let (old, new) = (images.first_content(), bytes(LAYER, 77));
    let fetch = images.fetch_to_the_middle();
    images.replace_layer(&new);
    finish(fetch).await.unwrap();
    let found = fs::read(images.fixture.cached(&images.layers[0]).0).unwrap();
    assert!(found == old || found == new, "the layer is a mix of the old and the new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_replaced_against_its_side_file_is_refused() {
    let images = Images::new(&[LAYER]);
    let right = images.first_content();
    images.replace_layer(&bytes(LAYER, 78));
    let error = images.fetch().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
    images.expect_not_fetched();
    images.replace_layer(&right);
    images.fetch().await.unwrap();
    images.expect_fetched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_layer_is_refused() {
    let images = Images::new(&[LAYER]);
    let right = images.first_content();
    images.replace_layer(&right[..LAYER - 1]);
    let error = images.fetch().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
    assert!(error.to_string().contains(&LAYER.to_string()), "{error}");
    images.expect_not_fetched();
    images.replace_layer(&right);
    images.fetch().await.unwrap();
    images.expect_fetched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_truncated_in_mid_fetch_is_never_taken_for_whole() {
    let images = Images::new(&[LAYER]);
    let right = images.first_content();
    let fetch = images.fetch_to_the_middle();
    images.hdfs.shell(&["-truncate", "5000000", &images.layer_path()]).unwrap();
    // It may have been read to its end before.
    if finish(fetch).await.is_err() {
        images.expect_not_fetched();
        images.hdfs.shell(&["-rm", "-skipTrash", &images.layer_path()]).unwrap();
        images.replace_layer(&right);
        images.fetch().await.unwrap();
    }
    images.expect_fetched();
}
