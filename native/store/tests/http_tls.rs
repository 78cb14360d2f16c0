//! Servers whose certificates come from an authority of the cluster's own.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fixture;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use fixture::{Fixture, TAG, tag};
use storm_oci_store::remote::{RemoteStore, Remotes};
use storm_oci_store::{
    ErrorKind, ImageStore, Location, ObjectSettings, RemoteSettings, StoreError, StoreOptions,
};
use storm_oci_test_stores::{Authority, Http, S3};

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new().unwrap());
/// Its certificate is for `localhost`.
static WEB: LazyLock<Http> =
    LazyLock::new(|| Http::start_tls(&AUTHORITY.issue("localhost").unwrap()).unwrap());
static S3_SERVER: LazyLock<S3> =
    LazyLock::new(|| S3::start_tls(&AUTHORITY.issue("localhost").unwrap()).unwrap());

/// Both servers by the name that the certificates are for.
fn named(url: &str) -> String {
    url.replace("127.0.0.1", "localhost")
}

fn settings(ca_file: Option<PathBuf>) -> RemoteSettings {
    RemoteSettings {
        objects: ObjectSettings { ca_file, ..ObjectSettings::default() },
        request_timeout: Duration::from_secs(20),
        ..RemoteSettings::default()
    }
}

/// Settings for the S3 server at an endpoint.
fn s3_settings(endpoint: &str, ca_file: Option<PathBuf>) -> RemoteSettings {
    let options = StoreOptions(S3::client_options(endpoint));
    let objects = ObjectSettings { options, ca_file };
    RemoteSettings { objects, ..settings(None) }
}

fn open(url: &str, settings: RemoteSettings) -> (Arc<dyn RemoteStore>, Location) {
    let location = Location::parse(url).unwrap();
    (Remotes::new(settings).open(&location).unwrap(), location)
}

/// Fetches an image whose store is at this URL.
async fn fetch(fixture: &Fixture, url: &str, remote: RemoteSettings) {
    let mut settings = fixture.settings();
    settings.top_level = Location::parse(url).unwrap();
    settings.remote_tag_map = Some(Location::parse(&format!("{url}/image-tag-to-hash")).unwrap());
    settings.remote = remote;
    let store = ImageStore::open(settings).unwrap();
    let digest = store.resolve(&tag(TAG)).await.unwrap();
    let manifest = store.manifest(&digest).await.unwrap();
    let layers = store.localize_layers(&manifest.layers).await.unwrap();
    let found: Vec<_> = layers.iter().map(|layer| fs::read(&layer.path).unwrap()).collect();
    assert_eq!(found, [b"first layer".to_vec(), b"second layer".to_vec()]);
}

fn image() -> Fixture {
    let fixture = Fixture::new();
    let layers = [fixture.layer(b"first layer"), fixture.layer(b"second layer")];
    fixture.image(TAG, &layers);
    fixture
}

/// The name and port in a URL.
fn host(url: &str) -> &str {
    url.split('/').nth(2).unwrap()
}

/// What is said of an object whose server, which has this URL, cannot be spoken to.
fn untrusted(object: &Location, url: &str, why: &str) -> String {
    format!("cannot stat {object}: cannot connect to {} with TLS: {why}", host(url))
}

/// Neither server, at these URLs, can be spoken to.
async fn expect_untrusted(web: &str, s3: &str, ca_file: Option<PathBuf>, why: &str) {
    let web_server = (web, web, settings(ca_file.clone()));
    for (url, object, settings) in [web_server, (s3, "s3://images/x", s3_settings(s3, ca_file))] {
        let (store, object) = open(object, settings);
        let error = store.stat(&object).await.unwrap_err();
        expect_misconfigured(&error, &untrusted(&object, url, why));
    }
}

const UNKNOWN: &str = "its certificate is from an authority that is not trusted here; hint: name \
                       that authority's certificate in `storm.oci.store.ca.file`, or add it to \
                       the system's";
const OTHER_NAME: &str = "its certificate is for another name; hint: ";

fn expect_misconfigured(error: &StoreError, start: &str) {
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(!error.is_retryable());
    assert!(error.to_string().starts_with(start), "{error}");
}

#[tokio::test]
async fn an_image_comes_from_a_web_server_with_a_certificate_of_the_clusters_own() {
    let fixture = image();
    // As its administrator copies it.
    let target = WEB.files().join("image");
    let copied = Command::new("cp").arg("-r").arg(fixture.top()).arg(target).status();
    assert!(copied.unwrap().success());
    let url = named(&WEB.url("/redirect/image"));
    fetch(&fixture, &url, settings(Some(AUTHORITY.certificate()))).await;
}

#[tokio::test]
async fn an_image_comes_from_s3_with_a_certificate_of_the_clusters_own() {
    let fixture = image();
    let remote = s3_settings(&named(&S3_SERVER.endpoint()), Some(AUTHORITY.certificate()));
    let top = format!("s3://{}/image", S3::BUCKET);
    let store = open(&top, remote.clone()).0;
    for name in ["layers", "config", "manifests"] {
        for file in fixture::names(&fixture.top().join(name)) {
            let body = fs::read(fixture.top().join(name).join(&file)).unwrap();
            let object = Location::parse(&format!("{top}/{name}/{file}")).unwrap();
            store.publish_new(&object, Bytes::from(body)).await.unwrap();
        }
    }
    let map = Location::parse(&format!("{top}/image-tag-to-hash")).unwrap();
    store.replace(&map, Bytes::from(fs::read(fixture.tag_map()).unwrap())).await.unwrap();
    fetch(&fixture, &top, remote).await;
}

#[tokio::test]
async fn an_authority_that_nobody_trusts_is_told_with_what_to_do() {
    let other = Authority::new().unwrap();
    let (web, s3) = (named(&WEB.url("/plain/x")), named(&S3_SERVER.endpoint()));
    // Without the setting, and with one for another authority, which has the same name.
    for ca_file in [None, Some(other.certificate())] {
        expect_untrusted(&web, &s3, ca_file, UNKNOWN).await;
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let (web, s3) = (WEB.url("/plain/x"), S3_SERVER.endpoint());
    expect_untrusted(&web, &s3, Some(AUTHORITY.certificate()), OTHER_NAME).await;
}

#[tokio::test]
async fn a_server_with_tls_is_not_read_without_it() {
    let plain = named(&WEB.url("/plain/x")).replace("https:", "http:");
    let (store, object) = open(&plain, settings(Some(AUTHORITY.certificate())));
    let error = store.stat(&object).await.unwrap_err();
    let answered = format!("cannot stat {object}: {} answered 400", host(&plain));
    expect_misconfigured(&error, &answered);
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_that_is_not_trusted() {
    let server = Http::start().unwrap();
    let url = named(&server.url("/plain/x")).replace("http:", "https:");
    let (store, object) = open(&url, settings(Some(AUTHORITY.certificate())));
    let error = store.stat(&object).await.unwrap_err();
    let why = "what it answers is not TLS; hint: use `http://`, or the right port";
    expect_misconfigured(&error, &untrusted(&object, &url, why));
}

#[test]
fn a_file_that_is_no_authority_is_named_when_the_store_is_opened() {
    let fixture = Fixture::new();
    let file = fixture.top().join("ca.pem");
    let fails = |why: &str| {
        let location = Location::parse("https://images.test/x").unwrap();
        let remotes = Remotes::new(settings(Some(file.clone())));
        let error = remotes.open(&location).err().unwrap();
        let start = format!(
            "cannot use store {location}: the file of `storm.oci.store.ca.file`, {}: {why}",
            file.display()
        );
        expect_misconfigured(&error, &start);
    };
    fails("No such file or directory");
    fs::write(&file, "rubbish").unwrap();
    fails("it has no certificate in PEM form");
    let broken = "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n";
    fs::write(&file, broken).unwrap();
    fails("it has a certificate that cannot be read");
}
