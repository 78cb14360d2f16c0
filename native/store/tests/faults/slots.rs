//! Many slots that want the same image.

use std::process::Stdio;
use std::sync::Arc;

use storm_oci_store::ImageStore;

use super::Images;

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_slots_and_a_second_supervisor_fetch_each_byte_once() {
    let sizes = [9 * MIB, 5 * MIB, 3 * MIB, MIB, MIB / 2, 4096, 1];
    let images = Images::new(&sizes);
    let before = images.hdfs.received();
    let store = Arc::new(ImageStore::open(images.settings()).unwrap());
    let other = images.process().stdout(Stdio::piped()).spawn().unwrap();
    let slots: Vec<_> = (0..16)
        .map(|_| {
            let (store, layers) = (Arc::clone(&store), images.layers.clone());
            tokio::spawn(async move {
                let layers = store.localize_layers(&layers).await.unwrap();
                layers.iter().filter(|layer| layer.fetched).count()
            })
        })
        .collect();
    let mut fetched = 0;
    for slot in slots {
        fetched += slot.await.unwrap();
    }
    let output = other.wait_with_output().unwrap();
    assert!(output.status.success());
    fetched += String::from_utf8(output.stdout).unwrap().matches("fetched ").count();
    assert_eq!(fetched, sizes.len());
    images.expect_fetched();
    // Beside the layers: a checksum of 4 bytes for 512, packets' heads, and the documents.
    let total: usize = sizes.iter().sum();
    let received = images.hdfs.received() - before;
    let whole = u64::try_from(total).unwrap();
    assert!((whole..whole + whole / 20).contains(&received), "{received} of {whole}");
}
