//! Where an image's files are, as Storm's plugin interface asks: of a server that knows how many
//! requests it has at once.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fixture;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fixture::Fixture;
use serde_json::json;
use storm_oci_store::{Digest, ImageStore, Location, Manifest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;

/// How many requests the store may have at once in these tests.
const CONNECTIONS: usize = 4;
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\netag: \"1\"\r\n\
    last-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n";
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// What the connections of one server share.
struct Shared {
    /// Answers so many requests at a time, and none before they are all there.
    together: Barrier,
    here: AtomicUsize,
    /// The most requests that were there at once.
    most: AtomicUsize,
    /// Whether it has an answer for a path.
    answers: Box<dyn Fn(&str) -> bool + Send + Sync>,
}

async fn start(
    together: usize,
    answers: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> (SocketAddr, Arc<Shared>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::new(Shared {
        together: Barrier::new(together),
        here: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        answers: Box::new(answers),
    });
    let of_server = Arc::clone(&shared);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve(connection, Arc::clone(&of_server)));
        }
    });
    (address, shared)
}

async fn serve(mut connection: TcpStream, shared: Arc<Shared>) {
    let mut request = Vec::new();
    while connection.read_buf(&mut request).await.is_ok_and(|bytes| bytes > 0) {
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut request)).unwrap();
        let path = text.split(' ').nth(1).unwrap();
        let here = shared.here.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most.fetch_max(here, Ordering::SeqCst);
        shared.together.wait().await;
        let answer = if (shared.answers)(path) { HEAD } else { UNAVAILABLE };
        // Before the answer, which lets the next one come.
        shared.here.fetch_sub(1, Ordering::SeqCst);
        if connection.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn store(fixture: &Fixture, address: SocketAddr, connections: usize) -> ImageStore {
    let mut settings = fixture.settings();
    settings.top_level = Location::parse(&format!("http://{address}/images")).unwrap();
    settings.connections = NonZeroUsize::new(connections).unwrap();
    ImageStore::open(settings).unwrap()
}

fn manifest(layers: &[Digest]) -> Manifest {
    let descriptor = |media_type, digest: &Digest| {
        let digest = digest.to_string();
        json!({"mediaType": media_type, "size": 5, "digest": digest})
    };
    let layers: Vec<_> = layers.iter().map(|layer| descriptor(fixture::LAYER, layer)).collect();
    let document = json!({
        "schemaVersion": 2,
        "mediaType": fixture::MANIFEST,
        "config": descriptor(fixture::CONFIG, &Digest::of(b"config")),
        "layers": layers,
    });
    Manifest::parse(document.to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn layers_are_asked_for_side_by_side_and_not_more_than_the_bound() {
    let fixture = Fixture::new();
    let (address, server) = start(CONNECTIONS, |_| true).await;
    let layers: Vec<_> =
        (0..2 * CONNECTIONS).map(|index| Digest::of(&[index.to_le_bytes()[0]])).collect();
    let resources =
        store(&fixture, address, CONNECTIONS).layer_resources(&manifest(&layers)).await.unwrap();
    let names: Vec<_> = resources.iter().map(|resource| resource.file_name.as_str()).collect();
    let expected: Vec<_> = layers.iter().map(|layer| format!("{}.sqsh", layer.as_hex())).collect();
    assert_eq!(names, expected);
    assert_eq!(server.most.load(Ordering::SeqCst), CONNECTIONS);
}

#[tokio::test]
async fn a_server_that_fails_for_a_moment_is_asked_again() {
    let fixture = Fixture::new();
    let count = AtomicUsize::new(0);
    // More often than the library below tries by itself.
    let (address, _) = start(1, move |_| count.fetch_add(1, Ordering::SeqCst) >= 6).await;
    let store = store(&fixture, address, CONNECTIONS);
    let manifest = manifest(&[Digest::of(b"layer")]);
    assert_eq!(store.layer_resources(&manifest).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_pause_between_tries_keeps_no_other_from_its_turn() {
    let fixture = Fixture::new();
    let (bad, good) = (Digest::of(b"bad"), Digest::of(b"good"));
    // The bad layer comes back once the good one was asked for.
    let (hex, is_answered) = (good.as_hex().to_owned(), AtomicBool::new(false));
    let (address, _) = start(1, move |path| {
        is_answered.fetch_or(path.contains(&hex), Ordering::SeqCst) || path.contains(&hex)
    })
    .await;
    let store = store(&fixture, address, 1);
    let (first, second) = (manifest(&[bad]), manifest(&[good]));
    let (bad, good) = tokio::join!(store.layer_resources(&first), store.layer_resources(&second));
    assert_eq!((bad.unwrap().len(), good.unwrap().len()), (1, 1));
}
