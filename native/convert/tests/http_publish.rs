//! A web server is a store to read.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod publishing;

use publishing::{Sample, Site, reference, references};
use storm_oci_store::{ErrorKind, RemoteSettings};
use storm_oci_test_stores::Http;

#[tokio::test]
async fn a_web_server_is_never_written() {
    let server = Http::start().unwrap();
    let remote = RemoteSettings::default();
    let directory = server.files().join("images");
    let behind = Site::new(directory.to_str().unwrap(), remote.clone());
    let sample = Sample::small("served");
    sample.publish(&behind.publisher(), &["served:1"]).await.unwrap();
    let before = behind.tag_map_text().await;

    let site = Site::new(&server.url("/images"), remote);
    let publisher = site.publisher();
    for error in [
        publisher.init().await.unwrap_err(),
        sample.put(&publisher).await.unwrap_err(),
        publisher.tag(&sample.digest(), &references(&["b:1"]), None).await.unwrap_err(),
        publisher.untag(&references(&["served:1"])).await.unwrap_err(),
        publisher.gc(&Default::default()).await.unwrap_err(),
        publisher.remove(&references(&["served:1"]), &Default::default()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        let text = error.to_string();
        assert!(text.contains("a web server is only read, never written or listed"), "{text}");
    }
    assert_eq!(behind.tag_map_text().await, before);
    assert_eq!(behind.names("").await, ["image-tag-to-hash"]);
    let tags = publisher.tags().await.unwrap();
    assert_eq!(tags.digest(&reference("served:1")), Some(&sample.digest()));
    site.must_run("served:1", &sample).await;
}
