//! A real web server, and the ways web servers differ.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fixture;

use std::fs::{self, File};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fixture::Fixture;
use storm_oci_store::remote::{RemoteStore, Remotes};
use storm_oci_store::{ErrorKind, ImageStore, Location, RemoteSettings, StoreError};
use storm_oci_test_stores::{Http, Proxy, Throttle};
use tokio::sync::{Mutex, MutexGuard};

// One test makes it refuse everything.
static SERVER: LazyLock<Mutex<Http>> = LazyLock::new(|| Mutex::new(Http::start().unwrap()));

async fn server() -> MutexGuard<'static, Http> {
    SERVER.lock().await
}

/// Writes a file that the server serves, a second older than any before it: the server's times
/// have no more digits.
fn publish(server: &Http, name: &str, content: &[u8], age: u64) {
    let path = server.files().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    let modified = SystemTime::now() - Duration::from_secs(age);
    File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

fn open(url: &str) -> (Arc<dyn RemoteStore>, Location) {
    let location = Location::parse(url).unwrap();
    (Remotes::new(RemoteSettings::default()).open(&location).unwrap(), location)
}

#[tokio::test]
async fn objects_are_read_in_whole_and_in_part() {
    let server = server().await;
    publish(&server, "read/a b+c%20:ü", b"12345", 9);
    for place in ["plain", "no-etag", "redirect"] {
        let (store, object) = open(&server.url(&format!("/{place}/read/a b+c%20:ü")));
        let stat = store.stat(&object).await.unwrap();
        assert_eq!(stat.size, 5, "{place}");
        assert_eq!(stat.version.is_none(), place == "no-etag");
        assert_eq!(store.read(&object, &stat, 0..5).await.unwrap(), "12345");
        assert_eq!(store.read(&object, &stat, 1..3).await.unwrap(), "23");
        for range in [0..6, 4..6, 5..6, 9..12] {
            assert!(store.read(&object, &stat, range.clone()).await.is_err(), "{range:?}");
        }
    }
}

#[tokio::test]
async fn an_object_that_was_replaced_has_changed() {
    let server = server().await;
    for place in ["plain", "no-etag", "no-ranges"] {
        publish(&server, "changing", b"first", 9);
        let (store, object) = open(&server.url(&format!("/{place}/changing")));
        let stat = store.stat(&object).await.unwrap();
        publish(&server, "changing", b"other", 5);
        let error = store.read(&object, &stat, 0..5).await.unwrap_err();
        assert!(matches!(error, StoreError::Changed { .. }), "{place}: {error}");
        if place != "no-ranges" {
            let error = store.read(&object, &stat, 1..5).await.unwrap_err();
            assert!(matches!(error, StoreError::Changed { .. }), "{place}: {error}");
        }
        publish(&server, "changing", b"fir", 9);
        let error = store.read(&object, &stat, 4..5).await.unwrap_err();
        assert!(
            place == "no-ranges" || matches!(error, StoreError::Changed { .. }),
            "{place}: {error}"
        );
    }
}

#[tokio::test]
async fn a_server_without_ranges_is_good_for_whole_objects() {
    let server = server().await;
    publish(&server, "whole", b"12345", 9);
    let (store, object) = open(&server.url("/no-ranges/whole"));
    let stat = store.stat(&object).await.unwrap();
    assert_eq!(store.read(&object, &stat, 0..5).await.unwrap(), "12345");
    let error = store.read(&object, &stat, 1..5).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        error.to_string(),
        format!(
            "cannot read {object}: the server does not answer requests for a part of an object"
        )
    );
}

#[tokio::test]
async fn a_server_that_tells_no_length_cannot_be_used() {
    let server = server().await;
    publish(&server, "endless", b"12345", 9);
    let (store, object) = open(&server.url("/chunked/endless"));
    let error = store.stat(&object).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        error.to_string(),
        format!(
            "cannot stat {object}: its answer cannot be used: Content-Length Header missing from \
             response"
        )
    );
}

#[tokio::test]
async fn a_refusal_is_told_by_its_kind() {
    let server = server().await;
    publish(&server, "x", b"12345", 9);
    let address = server.address();
    for (path, kind, cause) in [
        ("/plain/nowhere", ErrorKind::NotFound, "not found in the store".to_owned()),
        ("/denied/x", ErrorKind::Denied, format!("{address} answered 403 Forbidden")),
        ("/password/x", ErrorKind::Denied, format!("{address} answered 401 Unauthorized")),
        (
            "/broken/x",
            ErrorKind::Unreachable,
            format!("{address} answered 500 Internal Server Error"),
        ),
    ] {
        let (store, object) = open(&server.url(path));
        let error = store.stat(&object).await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot stat {object}: {cause}"));
        assert_eq!(error.kind(), kind, "{path}");
        assert_eq!(error.is_retryable(), kind == ErrorKind::Unreachable);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_back_soon_is_asked_again() {
    let server = server().await;
    publish(&server, "busy", b"12345", 9);
    let proxy = Proxy::start(server.address(), Throttle::NONE).unwrap();
    let (store, object) = open(&format!("http://{}/plain/busy", proxy.address()));
    server.set_unavailable(true).unwrap();
    // Nothing gets through after the refusal until the server is back.
    proxy.stall_after(1);
    let asking = tokio::spawn(async move { store.stat(&object).await });
    let proxy = tokio::task::spawn_blocking(move || proxy.wait_received(1).map(|()| proxy));
    let proxy = proxy.await.unwrap().unwrap();
    server.set_unavailable(false).unwrap();
    proxy.resume();
    assert_eq!(asking.await.unwrap().unwrap().size, 5);
}

#[tokio::test]
async fn a_server_that_stalls_is_unreachable() {
    let server = server().await;
    publish(&server, "stalled", &vec![7; 8 << 20], 9);
    let proxy = Proxy::start(server.address(), Throttle::NONE).unwrap();
    let (store, object) = open(&format!("http://{}/plain/stalled", proxy.address()));
    let stat = store.stat(&object).await.unwrap();
    let settings =
        RemoteSettings { request_timeout: Duration::from_secs(1), ..RemoteSettings::default() };
    let impatient = Remotes::new(settings).open(&object).unwrap();
    proxy.stall_after(1 << 20);
    let error = impatient.read(&object, &stat, 0..stat.size).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_web_server_is_only_read() {
    let server = server().await;
    let (store, object) = open(&server.url("/plain/new"));
    for error in [
        store.publish_new(&object, Bytes::from_static(b"x")).await.unwrap_err(),
        store.replace(&object, Bytes::from_static(b"x")).await.unwrap_err(),
        store.list(&object).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let end = "a web server is only read, never written or listed";
        assert!(error.to_string().ends_with(end), "{error}");
    }
}

#[tokio::test]
async fn what_does_not_speak_tls_is_not_asked_again() {
    let server = server().await;
    let (store, object) = open(&format!("https://{}/plain/x", server.address()));
    let error = store.stat(&object).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    let start = format!("cannot stat {object}: cannot connect to {} with TLS: ", server.address());
    assert!(error.to_string().starts_with(&start), "{error}");
}

#[tokio::test]
async fn a_large_layer_comes_from_any_server() {
    let server = server().await;
    let fixture = Fixture::new();
    // More than one part.
    let content = vec![9; (64 << 20) + 5];
    let layer = fixture.layer(&content);
    let name = format!("layers/{}.sqsh", layer.digest.as_hex());
    publish(&server, &name, &content, 9);
    for place in ["plain", "no-etag", "no-ranges"] {
        let mut settings = fixture.settings();
        settings.top_level = Location::parse(&server.url(&format!("/{place}"))).unwrap();
        settings.local_dir = fixture.local().join(place);
        let local = ImageStore::open(settings).unwrap().localize_layer(&layer).await.unwrap();
        assert!(fs::read(&local.path).unwrap() == content, "{place}");
    }
}
