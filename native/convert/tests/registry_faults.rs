//! What registries and the network between do wrong.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod sources;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::TryStreamExt;
use serde_json::Value;
use storm_oci_convert::source::{Credentials, SourceError, SourceSettings, open};
use storm_oci_store::{Digest, ErrorKind};
use storm_oci_test_stores::{
    Answer, Asked, Front, Login, OciLayout, Packing, Registry, RegistrySpec, Types,
};

use sources::{assert_is, layers, refusal, resolve};

const IMAGE: &str = "storm/worker:1.0";

fn plain() -> SourceSettings {
    SourceSettings {
        plain_http: true,
        retries: 3,
        retry_delay: Duration::from_millis(5),
        ..SourceSettings::default()
    }
}

fn with_password() -> SourceSettings {
    let credentials = Credentials::Password {
        username: Registry::USERNAME.into(),
        password: Registry::PASSWORD.into(),
    };
    SourceSettings { credentials: Some(credentials), ..plain() }
}

/// A registry with one image, whose only layer is `archive`, and what is asked of it.
struct Scene {
    registry: Registry,
    layout: OciLayout,
    made: Value,
    asked: Arc<Mutex<Vec<Asked>>>,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn new(login: Login, archive: &[u8]) -> Self {
        let registry = Registry::start(RegistrySpec { login, tls: None }).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let layout = OciLayout::create(directory.path()).unwrap();
        let layers = [(archive, Packing::Plain)];
        let made = layout.image(Types::Docker, "linux/amd64", &layers).unwrap();
        registry.push(&layout, &made, IMAGE).unwrap();
        Self { registry, layout, made, asked: Arc::default(), _directory: directory }
    }

    fn small() -> Self {
        Self::new(Login::None, b"an archive")
    }

    /// A server before the registry. `decide` gets the number of requests of this sort before.
    fn front(
        &self,
        of_sort: impl Fn(&Asked) -> bool + Send + Sync + 'static,
        decide: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static,
    ) -> Front {
        let (asked, count) = (Arc::clone(&self.asked), AtomicUsize::new(0));
        Front::start(self.registry.address(), move |request| {
            asked.lock().unwrap().push(request.clone());
            if of_sort(request) {
                decide(count.fetch_add(1, Ordering::SeqCst), request)
            } else {
                Answer::Pass
            }
        })
        .unwrap()
    }

    /// The requests for such paths so far.
    fn asked(&self, of_sort: impl Fn(&Asked) -> bool) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| of_sort(asked)).cloned().collect()
    }

    fn manifest(&self) -> Value {
        serde_json::from_slice(&self.layout.read(&self.made).unwrap()).unwrap()
    }
}

fn is_manifest(asked: &Asked) -> bool {
    asked.path.contains("/manifests/")
}

/// The layer and the config are told apart by their length only; the config comes first.
fn is_blob(asked: &Asked) -> bool {
    asked.path.contains("/blobs/")
}

fn own(status: u16, lines: &[&str], body: &[u8]) -> Answer {
    Answer::Own(status, lines.iter().map(|line| (*line).to_owned()).collect(), body.to_vec())
}

fn megabytes(count: usize) -> Vec<u8> {
    (0..count << 18).flat_map(|word| u32::try_from(word).unwrap().to_le_bytes()).collect()
}

#[tokio::test]
async fn what_may_pass_is_asked_again() {
    let scene = Scene::small();
    for (status, lines) in [
        (503, &[][..]),
        (503, &["Retry-After: 0"]),
        (429, &["Retry-After: 0"]),
        (429, &["Retry-After: Fri, 31 Dec 1999 23:59:59 GMT"]),
        (500, &[]),
        (502, &[]),
        (504, &[]),
    ] {
        let front = scene.front(
            |_| true,
            move |number, _| {
                if number % 3 < 2 { own(status, lines, b"busy") } else { Answer::Pass }
            },
        );
        let (source, image) = resolve(&front.name(IMAGE), &plain()).await.unwrap();
        assert_is(&image, &scene.layout, &scene.made);
        assert_eq!(layers(&*source, &image).await, [b"an archive"]);
    }
}

#[tokio::test]
async fn what_stays_is_an_error_with_the_registrys_words() {
    let scene = Scene::small();
    let envelope = br#"{"errors": [{"code": "TOOMANYREQUESTS", "message": "come back tomorrow"}]}"#;
    for (status, body, times, said) in [
        (429, &envelope[..], 4, "answers 429: come back tomorrow"),
        (503, b"", 4, "answers 503: no reason is given"),
        (500, b"<html>\n", 4, "answers 500: <html>"),
        (418, b"teapot", 1, "answers 418: teapot"),
    ] {
        let front = scene.front(|_| true, move |_, _| own(status, &["Retry-After: 0"], body));
        scene.asked.lock().unwrap().clear();
        let (error, text) = refusal(&front.name(IMAGE), &plain()).await;
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{text}");
        assert!(text.contains(said) && text.contains("/v2/storm/worker/manifests/1.0"), "{text}");
        assert_eq!(scene.asked(|_| true).len(), times, "{text}");
    }
    let front = scene.front(|_| true, |_, _| own(403, &[], br#"{"errors": [{"code": "DENIED"}]}"#));
    let (error, text) = refusal(&front.name(IMAGE), &plain()).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{text}");
    assert!(text.contains("DENIED"), "{text}");
}

#[tokio::test]
async fn a_redirected_blob_is_read_and_its_server_sees_no_secret() {
    for (login, settings) in
        [(Login::Password, with_password()), (Login::Token { anonymous: false }, with_password())]
    {
        let scene = Scene::new(login, b"an archive");
        let (seen, archive) = (Arc::new(Mutex::new(Vec::new())), b"an archive".to_vec());
        let recording = Arc::clone(&seen);
        let config = scene.layout.read(&scene.manifest()["config"]).unwrap();
        let storage = Front::start(scene.registry.address(), move |asked| {
            recording.lock().unwrap().push(asked.clone());
            let body = if asked.path.contains("config") { &config } else { &archive };
            Answer::Own(200, Vec::new(), body.clone())
        })
        .unwrap();
        let address = storage.address();
        let config = scene.manifest()["config"]["digest"].as_str().unwrap().to_owned();
        let front = scene.front(
            |asked| is_blob(asked) && asked.header("authorization").is_some(),
            move |_, asked| {
                let what = if asked.path.ends_with(&config) { "config" } else { "layer" };
                own(307, &[&format!("Location: http://{address}/{what}?signature=secret")], b"")
            },
        );
        let (source, image) = resolve(&front.name(IMAGE), &settings).await.unwrap();
        assert_eq!(layers(&*source, &image).await, [b"an archive"]);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 2);
        for asked in &*seen {
            assert_eq!(asked.header("authorization"), None, "{asked:?}");
        }
        assert!(scene.asked(is_blob).iter().all(|asked| asked.header("authorization").is_some()));
    }
}

#[tokio::test]
async fn where_a_redirection_leads_nobody_asks_for_credentials() {
    let scene = Scene::new(Login::Password, b"an archive");
    let storage = Front::start(scene.registry.address(), |_| {
        own(401, &[r#"WWW-Authenticate: Basic realm="elsewhere""#], b"signature expired")
    })
    .unwrap();
    let address = storage.address();
    let front = scene.front(is_blob, move |_, _| {
        own(307, &[&format!("Location: http://{address}/x?signature=secret")], b"")
    });
    let (error, text) = refusal(&front.name(IMAGE), &with_password()).await;
    assert!(matches!(error, SourceError::Registry { status: 401, .. }), "{text}");
    assert!(text.contains("signature expired") && !text.contains("secret"), "{text}");

    // Round and round ends.
    let front = scene
        .front(is_blob, |_, asked| own(307, &[&format!("Location: {}?again", asked.path)], b""));
    let (error, text) = refusal(&front.name(IMAGE), &with_password()).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{text}");
    assert!(scene.asked(is_blob).len() < 20);
}

#[tokio::test]
async fn a_token_that_ends_is_renewed() {
    let scene = Scene::new(Login::Token { anonymous: true }, b"an archive");
    let page = sources::run(
        "curl",
        &["--silent", "--head", &format!("http://{}/v2/", scene.registry.address())],
    );
    let page = String::from_utf8(page).unwrap();
    let line = page.lines().find(|line| line.to_lowercase().starts_with("www-auth")).unwrap();
    let challenge = line.to_owned();
    // The layer's first request finds its token ended, as the registry says it; the first of all
    // has none.
    let front = scene.front(is_blob, move |number, _| match number {
        1 => own(401, &[&challenge], b""),
        _ => Answer::Pass,
    });
    let (source, image) = resolve(&front.name(IMAGE), &plain()).await.unwrap();
    assert_eq!(layers(&*source, &image).await, [b"an archive"]);
    assert_eq!(scene.registry.tokens_given(), 2);
    // A registry that takes none is not asked for ever.
    let line = line.to_owned();
    let front = scene.front(|_| true, move |_, _| own(401, &[&line], b""));
    let (error, text) = refusal(&front.name(IMAGE), &plain()).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{text}");
}

#[tokio::test]
async fn a_broken_transfer_goes_on_where_it_broke() {
    let archive = megabytes(6);
    let scene = Scene::new(Login::None, &archive);
    let front = scene.front(
        is_blob,
        // The first is the config's.
        |number, _| if (1..5).contains(&number) { Answer::Cut(1 << 20) } else { Answer::Pass },
    );
    let (source, image) = resolve(&front.name(IMAGE), &plain()).await.unwrap();
    assert!(layers(&*source, &image).await == [&*archive]);
    let ranges: Vec<_> =
        scene.asked(is_blob).iter().map(|asked| asked.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges.len(), 6, "{ranges:?}");
    assert!(ranges[..2].iter().all(Option::is_none), "{ranges:?}");
    assert!(ranges[2..].iter().all(Option::is_some), "{ranges:?}");

    // A server without ranges sends all of it again.
    let all = archive.clone();
    let front = scene.front(is_blob, move |number, _| match number {
        1 => Answer::Cut(1 << 20),
        2 => Answer::Own(200, Vec::new(), all.clone()),
        _ => Answer::Pass,
    });
    let (source, image) = resolve(&front.name(IMAGE), &plain()).await.unwrap();
    assert!(layers(&*source, &image).await == [&*archive]);
}

/// The error of reading the only layer.
async fn broken_layer(front: &Front) -> SourceError {
    let (source, image) = resolve(&front.name(IMAGE), &plain()).await.unwrap();
    let stream = match source.blob(&image.layers[0]).await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    stream.try_collect::<Vec<_>>().await.unwrap_err()
}

#[tokio::test]
async fn a_transfer_that_stays_broken_is_an_error() {
    let archive = megabytes(2);
    let scene = Scene::new(Login::None, &archive);
    // Headers alone, then nothing.
    let front = scene.front(is_blob, |number, asked| match (number, asked.header("range")) {
        (0, _) => Answer::Pass,
        (1, _) => Answer::Cut(1 << 20),
        _ => Answer::Cut(0),
    });
    let error = broken_layer(&front).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    // Other bytes than those that are asked for are not taken.
    let front = scene.front(is_blob, |number, _| match number {
        0 => Answer::Pass,
        1 => Answer::Cut(1 << 20),
        _ => own(206, &["Content-Range: bytes 0-9/2097152"], b"0123456789"),
    });
    let error = broken_layer(&front).await;
    assert!(matches!(error, SourceError::Registry { status: 206, .. }), "{error}");
    let front = scene.front(is_blob, |number, _| match number {
        0 => Answer::Pass,
        1 => Answer::Cut(1 << 20),
        _ => own(404, &[], b"{}"),
    });
    let error = broken_layer(&front).await;
    assert!(matches!(error, SourceError::Registry { status: 404, .. }), "{error}");
    // More than the manifest says is not read.
    let front = scene.front(is_blob, |number, _| match number {
        0 => Answer::Pass,
        _ => Answer::Endless(Vec::new()),
    });
    let error = broken_layer(&front).await;
    assert!(matches!(error, SourceError::SizeMismatch { .. }), "{error}");
}

#[tokio::test]
async fn a_truncated_or_spoilt_blob_is_passed_on_as_it_is() {
    let archive = megabytes(1);
    let scene = Scene::new(Login::None, &archive);
    let file = scene.registry.file_of(&scene.manifest()["layers"][0]);
    let mut spoilt = archive.clone();
    spoilt[100] ^= 1;
    for content in [&archive[..1000], &spoilt] {
        std::fs::write(&file, content).unwrap();
        let name = scene.registry.name(IMAGE);
        let (source, image) = resolve(&name, &plain()).await.unwrap();
        let chunks: Vec<_> =
            source.blob(&image.layers[0]).await.unwrap().try_collect().await.unwrap();
        assert!(chunks.concat() == content);
        assert_ne!(Digest::of(content), image.layers[0].digest);
    }
}

#[tokio::test]
async fn documents_have_an_end() {
    let scene = Scene::small();
    for lines in [&[][..], &["Content-Length: 100000000000"]] {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        for of_sort in [is_manifest, is_blob] {
            let lines = lines.clone();
            let front = scene.front(of_sort, move |_, _| Answer::Endless(lines.clone()));
            let (error, text) = refusal(&front.name(IMAGE), &plain()).await;
            assert!(matches!(error, SourceError::OverLimit { .. }), "{text}");
        }
    }
    // Endless tags keep nobody from saying what is missing.
    let front =
        scene.front(|asked| asked.path.ends_with("/tags/list"), |_, _| Answer::Endless(Vec::new()));
    let (error, text) = refusal(&front.name("storm/worker:none"), &plain()).await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{text}");
}

#[tokio::test]
async fn documents_are_what_the_registry_says() {
    let scene = Scene::small();
    let document = scene.layout.read(&scene.made).unwrap();
    let other = format!("Docker-Content-Digest: {}", Digest::of(b"other"));
    let sha512 = format!("Docker-Content-Digest: sha512:{}", "0".repeat(128));
    let index = format!("Content-Type: {}", Types::Oci.index());
    let manifest = format!("Content-Type: {}; charset=utf-8", Types::Docker.manifest());
    for (line, body, wanted) in [
        (manifest.as_str(), &document[..], None),
        ("Content-Type: application/json", &document[..], None),
        (sha512.as_str(), &document[..], None),
        (other.as_str(), &document[..], Some(ErrorKind::Mismatch)),
        (index.as_str(), &document[..], Some(ErrorKind::Unsupported)),
        (manifest.as_str(), &document[..document.len() / 2], Some(ErrorKind::Malformed)),
        ("Content-Type: text/html", b"<html>log in</html>", Some(ErrorKind::Malformed)),
        (manifest.as_str(), b"", Some(ErrorKind::Malformed)),
        (manifest.as_str(), b"{\"schemaVersion\": 2, \"\xff\": 1}", Some(ErrorKind::Malformed)),
    ] {
        let (line, body) = (line.to_owned(), body.to_vec());
        let front = scene.front(is_manifest, move |_, _| own(200, &[&line], &body));
        match (resolve(&front.name(IMAGE), &plain()).await, wanted) {
            (Ok((_, image)), None) => assert_is(&image, &scene.layout, &scene.made),
            (Err(error), Some(kind)) => assert_eq!(error.kind(), kind, "{error}"),
            (Err(error), None) => panic!("{error}"),
            (Ok(_), Some(kind)) => panic!("it should be {kind}"),
        }
    }
    // One that breaks off is read again.
    let front = scene
        .front(is_manifest, |number, _| if number < 2 { Answer::Cut(600) } else { Answer::Pass });
    let (_, image) = resolve(&front.name(IMAGE), &plain()).await.unwrap();
    assert_is(&image, &scene.layout, &scene.made);
}

#[tokio::test]
async fn a_registry_that_is_gone_or_hangs_ends_the_wait() {
    let mut scene = Scene::small();
    let name = scene.registry.name(IMAGE);
    let hasty = SourceSettings { read_timeout: Duration::from_millis(200), retries: 1, ..plain() };
    scene.registry.daemon().hang().unwrap();
    let (error, text) = refusal(&name, &hasty).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{text}");
    assert!(text.contains("no answer in time"), "{text}");
    scene.registry.daemon().go_on().unwrap();
    let source = open(&name, &plain()).unwrap();
    let limits = storm_oci_convert::Limits::default();
    let image = source.resolve(&sources::amd64(), &limits).await.unwrap();
    scene.registry.daemon().kill().unwrap();
    let (error, text) = refusal(&name, &plain()).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{text}");
    let error = source.blob(&image.layers[0]).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    scene.registry.restart().unwrap();
    assert_eq!(layers(&*source, &image).await, [b"an archive"]);
    let (error, text) = refusal("no-such-host.invalid/x:1", &plain()).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{text}");
}
