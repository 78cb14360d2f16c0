//! HDFS without security: what every store must do, and what the client must not do to us.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use storm_oci_store::remote::{CHUNK, Entry, RemoteStore, Remotes};
use storm_oci_store::{
    ErrorKind, HadoopSettings, Location, RemoteSettings, StoreError, StoreOptions,
};
use storm_oci_test_stores::{Hdfs, HdfsSpec};
use tokio::sync::{Mutex, MutexGuard};

static HDFS: LazyLock<Mutex<Hdfs>> = LazyLock::new(|| {
    let spec = HdfsSpec { datanodes: 2, block_size: 1 << 20, ..HdfsSpec::default() };
    Mutex::new(Hdfs::start(spec).unwrap())
});

/// Several times what our own limits add up to; the library alone waits for minutes.
const BOUND: Duration = Duration::from_secs(60);

/// The cluster, whole again after an earlier test.
async fn cluster() -> MutexGuard<'static, Hdfs> {
    let mut hdfs = HDFS.lock().await;
    hdfs.heal().unwrap();
    hdfs
}

fn settings(hdfs: &Hdfs, options: &[(&str, &str)]) -> RemoteSettings {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    RemoteSettings {
        hadoop: HadoopSettings {
            conf_dir: Some(hdfs.client_conf().to_owned()),
            options: StoreOptions(options.collect::<BTreeMap<_, _>>()),
            login: None,
        },
        ..RemoteSettings::default()
    }
}

fn open(hdfs: &Hdfs, path: &str) -> (Arc<dyn RemoteStore>, Location) {
    let location = Location::parse(&hdfs.url(path)).unwrap();
    let store = Remotes::new(settings(hdfs, &[])).open(&location).unwrap();
    (store, location)
}

/// Those of one that gives up sooner, for what does not answer.
fn impatient(hdfs: &Hdfs) -> RemoteSettings {
    RemoteSettings { request_timeout: Duration::from_secs(10), ..settings(hdfs, &[]) }
}

fn open_impatient(hdfs: &Hdfs, path: &str) -> (Arc<dyn RemoteStore>, Location) {
    let location = Location::parse(&hdfs.url(path)).unwrap();
    (Remotes::new(impatient(hdfs)).open(&location).unwrap(), location)
}

/// A file of this size in the cluster, and its bytes.
async fn put(hdfs: &Hdfs, path: &str, size: usize) -> Bytes {
    let body: Vec<u8> = (0..size).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect();
    let (store, object) = open(hdfs, path);
    store.replace(&object, body.clone().into()).await.unwrap();
    body.into()
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> ErrorKind {
    let error = outcome.unwrap_err();
    let text = error.to_string();
    assert!(!text.contains('\n') && !text.contains("\tat "), "{text}");
    assert!(text.chars().count() < 600, "{text}");
    error.kind()
}

#[tokio::test]
async fn a_file_is_read_in_any_range() {
    let hdfs = cluster().await;
    let body = put(&hdfs, "/read/a", 9 * (1 << 20) + 17).await;
    let (store, object) = open(&hdfs, "/read/a");
    let stat = store.stat(&object).await.unwrap();
    assert_eq!(stat.size, u64::try_from(body.len()).unwrap());
    for (start, end) in [
        (0, body.len()),
        (0, 1),
        (body.len() - 1, body.len()),
        (1_048_575, 1_048_577),
        (4_194_303, 8_388_609),
        (5, 5),
    ] {
        let range = u64::try_from(start).unwrap()..u64::try_from(end).unwrap();
        let pieces: Vec<Bytes> =
            store.stream(&object, &stat, range.clone()).try_collect().await.unwrap();
        assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= CHUNK));
        assert_eq!(pieces.concat(), body[start..end], "{range:?}");
    }
    for range in [0..stat.size + 1, stat.size..stat.size + 1, stat.size + 5..stat.size + 9] {
        assert_eq!(kind(store.read(&object, &stat, range).await), ErrorKind::Mismatch);
    }
}

#[tokio::test]
async fn a_replaced_file_is_not_mixed_with_its_successor() {
    let hdfs = cluster().await;
    put(&hdfs, "/changed/a", 1000).await;
    let (store, object) = open(&hdfs, "/changed/a");
    let first = store.stat(&object).await.unwrap();
    store.replace(&object, Bytes::from_static(b"another")).await.unwrap();
    let error = store.read(&object, &first, 0..5).await.unwrap_err();
    assert!(matches!(error, StoreError::Changed { .. }), "{error}");
    let second = store.stat(&object).await.unwrap();
    assert_eq!(store.read(&object, &second, 0..7).await.unwrap(), "another");
}

#[tokio::test]
async fn objects_are_published_once_and_leave_nothing_else() {
    let hdfs = cluster().await;
    let (store, object) = open(&hdfs, "/published/a b%20c+d;ü/x");
    store.publish_new(&object, Bytes::from_static(b"first")).await.unwrap();
    let again = store.publish_new(&object, Bytes::from_static(b"second")).await;
    assert_eq!(kind(again), ErrorKind::AlreadyExists);
    let stat = store.stat(&object).await.unwrap();
    assert_eq!(store.read(&object, &stat, 0..5).await.unwrap(), "first");
    let directory = Location::parse(&hdfs.url("/published/a b%20c+d;ü")).unwrap();
    let entries = store.list(&directory).await.unwrap();
    assert_eq!(entries, [Entry { name: "x".to_owned(), size: 5 }]);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let hdfs = cluster().await;
    put(&hdfs, "/there/a", 10).await;
    let (store, missing) = open(&hdfs, "/missing/a");
    let (_, below_a_file) = open(&hdfs, "/there/a/b");
    let (_, directory) = open(&hdfs, "/there");
    let (_, file) = open(&hdfs, "/there/a");
    for object in [&missing, &below_a_file, &directory] {
        assert_eq!(kind(store.stat(object).await), ErrorKind::NotFound, "{object}");
    }
    let stat = store.stat(&file).await.unwrap();
    hdfs.shell(&["-rm", "-skipTrash", "/there/a"]).unwrap();
    assert_eq!(kind(store.read(&file, &stat, 0..10).await), ErrorKind::NotFound);
    for object in [&missing, &directory, &file] {
        assert_eq!(store.list(object).await.unwrap(), [], "{object}");
    }
}

#[tokio::test]
async fn a_namenode_that_is_down_or_hangs_costs_a_bounded_time_and_is_found_again() {
    let mut hdfs = cluster().await;
    let body = put(&hdfs, "/namenode/a", 100).await;
    let (store, object) = open_impatient(&hdfs, "/namenode/a");
    let stat = store.stat(&object).await.unwrap();

    hdfs.namenode(0).hang().unwrap();
    let start = Instant::now();
    let error = store.stat(&object).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let text = error.to_string();
    assert!(text.contains("no answer from namenode localhost:"), "{text}");
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    hdfs.namenode(0).go_on().unwrap();
    assert_eq!(store.read(&object, &stat, 0..100).await.unwrap(), body);

    hdfs.namenode(0).kill().unwrap();
    let start = Instant::now();
    let error = store.stat(&object).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    hdfs.heal().unwrap();
    assert_eq!(store.read(&object, &stat, 0..100).await.unwrap(), body);
}

#[tokio::test]
async fn datanodes_that_come_back_are_used_again() {
    let mut hdfs = cluster().await;
    let body = put(&hdfs, "/datanodes/a", 3 << 20).await;
    let (store, object) = open_impatient(&hdfs, "/datanodes/a");
    let stat = store.stat(&object).await.unwrap();

    // A part of the replicas is enough.
    hdfs.datanode(0).hang().unwrap();
    assert_eq!(store.read(&object, &stat, 0..stat.size).await.unwrap(), body);
    hdfs.datanode(1).kill().unwrap();
    let error = store.read(&object, &stat, 0..stat.size).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let text = error.to_string();
    assert!(text.contains("no datanode gave the bytes of a block: "), "{text}");
    assert!(!text.contains("DatanodeInfo"), "{text}");

    hdfs.heal().unwrap();
    assert_eq!(store.read(&object, &stat, 0..stat.size).await.unwrap(), body);
}

#[tokio::test]
async fn a_damaged_replica_is_passed_over() {
    let hdfs = cluster().await;
    let body = put(&hdfs, "/damaged/a", 3 << 20).await;
    let (store, object) = open(&hdfs, "/damaged/a");
    let stat = store.stat(&object).await.unwrap();
    assert_eq!(hdfs.corrupt("/damaged/a", 0).unwrap(), 3);
    assert_eq!(store.read(&object, &stat, 0..stat.size).await.unwrap(), body);
    assert_eq!(hdfs.corrupt("/damaged/a", 1).unwrap(), 3);
    let damaged = store.read(&object, &stat, 0..stat.size).await;
    assert_eq!(kind(damaged), ErrorKind::Unreachable);
}

#[tokio::test]
async fn what_is_no_namenode_is_an_error() {
    let hdfs = cluster().await;
    let address = hdfs.datanode_address(0);
    let location = Location::parse(&format!("hdfs://{address}/x")).unwrap();
    let store = Remotes::new(impatient(&hdfs)).open(&location).unwrap();
    assert_eq!(kind(store.stat(&location).await), ErrorKind::Unreachable);
    let location = Location::parse("hdfs://no-such-host.invalid/x").unwrap();
    let store = Remotes::new(impatient(&hdfs)).open(&location).unwrap();
    assert_eq!(kind(store.stat(&location).await), ErrorKind::Unreachable);
}

#[tokio::test]
async fn the_default_file_system_is_the_configurations() {
    let hdfs = cluster().await;
    put(&hdfs, "/default/a", 10).await;
    let location = Location::parse("hdfs:///default/a").unwrap();
    let remotes = Remotes::new(settings(&hdfs, &[]));
    let store = remotes.open(&location).unwrap();
    assert_eq!(store.stat(&location).await.unwrap().size, 10);

    let nowhere = Remotes::new(settings(&hdfs, &[("fs.defaultFS", "viewfs://x")]));
    let error = nowhere.open(&location).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().starts_with("cannot use hdfs:///default/a: "), "{error}");
}
