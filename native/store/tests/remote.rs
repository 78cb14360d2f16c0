//! What every remote store must do, run on a directory.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fixture;

use std::fs;

use bytes::Bytes;
use fixture::names;
use storm_oci_store::remote::{Entry, Remotes};
use storm_oci_store::{
    ErrorKind, Location, ObjectSettings, RemoteSettings, StoreError, StoreOptions,
};
use tempfile::TempDir;

fn location(directory: &TempDir, name: &str) -> Location {
    // Names that other parts of a URL would be made of.
    let text = format!("{}/a b%20c+d:ü/{name}", directory.path().display());
    Location::parse(&text).unwrap()
}

#[tokio::test]
async fn objects_are_published_once_and_replaced_whole() {
    let directory = TempDir::new().unwrap();
    let object = location(&directory, "layers/x.sqsh");
    let store = Remotes::new(RemoteSettings::default()).open(&object).unwrap();

    store.publish_new(&object, Bytes::from_static(b"first")).await.unwrap();
    let error = store.publish_new(&object, Bytes::from_static(b"second")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    let first = store.stat(&object).await.unwrap();
    assert_eq!(first.size, 5);
    assert_eq!(store.read(&object, &first, 1..4).await.unwrap(), "irs");
    assert_eq!(store.read(&object, &first, 0..0).await.unwrap(), "");

    store.replace(&object, Bytes::from_static(b"another")).await.unwrap();
    let error = store.read(&object, &first, 0..5).await.unwrap_err();
    assert!(matches!(error, StoreError::Changed { .. }), "{error}");
    assert!(error.is_retryable());
    let second = store.stat(&object).await.unwrap();
    assert_eq!(store.read(&object, &second, 0..7).await.unwrap(), "another");
    let path = directory.path().join("a b%20c+d:ü/layers");
    assert_eq!(names(&path), ["x.sqsh"], "no temporary file stays, no name is encoded");
}

#[tokio::test]
async fn a_range_is_whole_or_an_error() {
    let directory = TempDir::new().unwrap();
    let object = location(&directory, "x");
    let store = Remotes::new(RemoteSettings::default()).open(&object).unwrap();
    store.replace(&object, Bytes::from_static(b"12345")).await.unwrap();
    let stat = store.stat(&object).await.unwrap();
    for range in [0..6, 4..6, 5..6, 9..12] {
        assert!(store.read(&object, &stat, range.clone()).await.is_err(), "{range:?}");
    }
}

#[tokio::test]
async fn missing_objects_are_not_found_and_missing_directories_empty() {
    let directory = TempDir::new().unwrap();
    let object = location(&directory, "x");
    let store = Remotes::new(RemoteSettings::default()).open(&object).unwrap();
    let error = store.stat(&object).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        format!("cannot stat {object}: No such file or directory (os error 2)")
    );
    assert_eq!(store.list(&object).await.unwrap(), []);
    // A file where a directory should be.
    fs::write(directory.path().join("a b%20c+d:ü"), "").unwrap();
    assert_eq!(store.stat(&object).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_listing_has_the_objects_of_one_directory() {
    let directory = TempDir::new().unwrap();
    let top = location(&directory, "layers");
    let store = Remotes::new(RemoteSettings::default()).open(&top).unwrap();
    for (name, body) in [("layers/b", "22"), ("layers/a", "1"), ("layers/deep/c", ""), ("d", "")] {
        store.replace(&location(&directory, name), Bytes::from(body)).await.unwrap();
    }
    let entry = |name: &str, size| Entry { name: name.to_owned(), size };
    assert_eq!(store.list(&top).await.unwrap(), [entry("a", 1), entry("b", 2)]);
}

#[test]
fn options_are_checked_without_asking_anybody() {
    let open = |url: &str, options: &[(&str, &str)]| {
        let text = |text: &&str| (*text).to_owned();
        let options = options.iter().map(|(name, value)| (text(name), text(value))).collect();
        let objects = ObjectSettings { options: StoreOptions(options), ca_file: None };
        let remotes = Remotes::new(RemoteSettings { objects, ..RemoteSettings::default() });
        remotes.open(&Location::parse(url).unwrap()).map_err(|error| {
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            error.to_string()
        })
    };
    let key = ("aws_secret_access_key", "geheim");
    for (url, options) in [
        ("s3://bucket/x", &[][..]),
        ("s3a://bucket/x", &[key, ("aws_access_key_id", "storm"), ("azure_tenant_id", "x")]),
        ("http://host:1/x", &[("proxy_url", "http://proxy:1")]),
        ("https://host/x", &[("connect_timeout", "2 seconds")]),
        ("az://container/x", &[("azure_storage_account_name", "storm")]),
    ] {
        let store = open(url, options).unwrap();
        assert!(!format!("{store:?}").contains("geheim"), "{store:?}");
    }
    let not_one = |name: &str| format!("the value of option `{name}` is not one");
    for (url, options, problem) in [
        ("s3://b/x", &[key][..], not_one("aws_secret_access_key")),
        ("s3://b/x", &[("aws_allow_http", "geheim")], not_one("aws_allow_http")),
        ("https://h/x", &[("connect_timeout", "geheim")], not_one("connect_timeout")),
        ("az://c/x", &[], "Account must be specified".to_owned()),
    ] {
        let error = open(url, options).unwrap_err();
        assert_eq!(error, format!("cannot use store {url}: {problem}"));
    }
}
