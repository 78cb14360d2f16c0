//! A real S3 server that checks signatures.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fixture;

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use fixture::Fixture;
use futures_util::TryStreamExt;
use storm_oci_store::remote::{Entry, RemoteStore, Remotes};
use storm_oci_store::{
    Digest, ErrorKind, ImageStore, Location, ObjectSettings, RemoteSettings, StoreError,
    StoreOptions,
};
use storm_oci_test_stores::{Proxy, S3, Throttle};

static SERVER: LazyLock<S3> = LazyLock::new(|| S3::start().unwrap());

/// Settings that reach an endpoint, with these options over the right ones.
fn settings(endpoint: &str, change: &[(&str, &str)]) -> RemoteSettings {
    let mut options = S3::client_options(endpoint);
    options.extend(change.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    RemoteSettings {
        objects: ObjectSettings { options: StoreOptions(options), ca_file: None },
        ..RemoteSettings::default()
    }
}

fn location(path: &str) -> Location {
    Location::parse(&format!("s3://{}/{path}", S3::BUCKET)).unwrap()
}

fn open(settings: RemoteSettings) -> Arc<dyn RemoteStore> {
    Remotes::new(settings).open(&location("x")).unwrap()
}

fn store() -> Arc<dyn RemoteStore> {
    let endpoint = SERVER.endpoint();
    open(settings(&endpoint, &[]))
}

#[tokio::test]
async fn objects_are_published_once_and_replaced_whole() {
    let store = store();
    let object = location("published/a b+c%20:ü.sqsh");
    store.publish_new(&object, Bytes::from_static(b"first")).await.unwrap();
    let error = store.publish_new(&object, Bytes::from_static(b"second")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    let first = store.stat(&object).await.unwrap();
    assert_eq!(first.size, 5);
    assert_eq!(store.read(&object, &first, 1..4).await.unwrap(), "irs");
    assert_eq!(store.read(&object, &first, 0..5).await.unwrap(), "first");
    assert_eq!(store.read(&object, &first, 0..0).await.unwrap(), "");

    // As long as the first: only its version tells.
    store.replace(&object, Bytes::from_static(b"other")).await.unwrap();
    for range in [0..5, 1..4] {
        let error = store.read(&object, &first, range).await.unwrap_err();
        assert!(matches!(error, StoreError::Changed { .. }), "{error}");
    }
    let second = store.stat(&object).await.unwrap();
    assert_ne!(first.version, second.version);
    assert_eq!(store.read(&object, &second, 0..5).await.unwrap(), "other");
    for range in [0..6, 4..6, 5..6, 9..12] {
        assert!(store.read(&object, &second, range.clone()).await.is_err(), "{range:?}");
    }
}

#[tokio::test]
async fn a_listing_has_the_objects_of_one_directory() {
    let store = store();
    for (name, body) in [("list/b", "22"), ("list/a", "1"), ("list/deep/c", "3"), ("listed", "")] {
        store.replace(&location(name), Bytes::from(body)).await.unwrap();
    }
    let entry = |name: &str, size| Entry { name: name.to_owned(), size };
    let found = store.list(&location("list")).await.unwrap();
    assert_eq!(found, [entry("a", 1), entry("b", 2)]);
    assert_eq!(store.list(&location("nowhere")).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_missing_is_not_found() {
    let store = store();
    let object = location("nowhere/x");
    let error = store.stat(&object).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), format!("cannot stat {object}: not found in the store"));
    let other = Location::parse("s3://no-such-bucket/x").unwrap();
    let remotes = Remotes::new(settings(&SERVER.endpoint(), &[]));
    let error = remotes.open(&other).unwrap().stat(&other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn wrong_credentials_are_refused_for_good_and_never_shown() {
    let endpoint = SERVER.endpoint();
    let store = open(settings(&endpoint, &[("aws_secret_access_key", "hush hush")]));
    for error in [
        store.stat(&location("x")).await.unwrap_err(),
        store.list(&location("x")).await.unwrap_err(),
        store.replace(&location("x"), Bytes::from_static(b"x")).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(!error.is_retryable());
        let shown = format!("{error} {error:?} {store:?}");
        assert!(!shown.contains("hush") && !shown.contains("<"), "{shown}");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
}

#[tokio::test]
async fn a_server_that_stalls_or_is_gone_is_unreachable() {
    let (address, body) = (SERVER.address(), Bytes::from(vec![7; 8 << 20]));
    let object = location("stalled");
    store().replace(&object, body).await.unwrap();
    let proxy = Proxy::start(address, Throttle::NONE).unwrap();
    let endpoint = format!("http://{}", proxy.address());
    let patient = open(settings(&endpoint, &[]));
    let slow = open(RemoteSettings {
        request_timeout: Duration::from_secs(1),
        ..settings(&endpoint, &[])
    });
    let stat = patient.stat(&object).await.unwrap();

    proxy.stall_after(1 << 20);
    let error = slow.read(&object, &stat, 0..stat.size).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.is_retryable());
    let error = slow.stat(&object).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    let start = format!("cannot stat {object}: cannot reach {}: ", proxy.address());
    assert!(error.to_string().starts_with(&start), "{error}");

    proxy.resume();
    assert_eq!(patient.read(&object, &stat, 5..9).await.unwrap(), [7; 4].as_slice());
    let gone = proxy.address();
    drop(proxy);
    let error = slow.stat(&object).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().starts_with(&format!("cannot stat {object}: cannot reach {gone}")));
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_made_again() {
    let (address, size) = (SERVER.address(), 8 << 20);
    let object = location("broken-off");
    let body: Vec<u8> = (0_u32..size / 4).flat_map(u32::to_le_bytes).collect();
    store().replace(&object, Bytes::from(body.clone())).await.unwrap();
    let proxy = Proxy::start(address, Throttle::NONE).unwrap();
    let endpoint = format!("http://{}", proxy.address());
    let store = open(settings(&endpoint, &[]));
    let stat = store.stat(&object).await.unwrap();

    proxy.stall_after(1 << 20);
    let mut pieces = store.stream(&object, &stat, 3..stat.size);
    let mut found = pieces.try_next().await.unwrap().unwrap().to_vec();
    proxy.cut();
    proxy.resume();
    while let Some(piece) = pieces.try_next().await.unwrap() {
        found.extend_from_slice(&piece);
    }
    assert!(found == body[3..], "the bytes are others");
    assert!(proxy.connections() > 1);
}

/// Every file of a directory, by its path below it.
fn files(directory: &Path, below: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{below}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            found.extend(files(&path, &format!("{name}/")));
        } else {
            found.push((name, fs::read(path).unwrap()));
        }
    }
    found
}

#[tokio::test]
async fn layers_come_verified_from_a_bucket() {
    let fixture = Fixture::new();
    let content = vec![9; 3 << 20];
    let good = fixture.layer(&content);
    fixture.side_file(&good, &Digest::of(&content), 3 << 20);
    let bad = fixture.layer(b"hsqs and more");
    fixture.side_file(&bad, &Digest::of(b"something else"), 13);
    let store = store();
    for (name, body) in files(&fixture.top(), "image/") {
        store.replace(&location(&name), Bytes::from(body)).await.unwrap();
    }
    let endpoint = SERVER.endpoint();
    let mut image_settings = fixture.settings();
    image_settings.top_level = location("image");
    image_settings.remote_tag_map = Some(location("image/image-tag-to-hash"));
    image_settings.remote = settings(&endpoint, &[]);
    let images = ImageStore::open(image_settings).unwrap();
    let local = images.localize_layer(&good).await.unwrap();
    assert!(fs::read(&local.path).unwrap() == content);
    let error = images.localize_layer(&bad).await.unwrap_err();
    assert!(matches!(error, StoreError::DigestMismatch { .. }), "{error}");
}
