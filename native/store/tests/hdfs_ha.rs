//! A name service with two namenodes: whichever is active answers, however the other fails.

use std::time::{Duration, Instant};

use bytes::Bytes;
use storm_oci_store::remote::Remotes;
use storm_oci_store::{ErrorKind, HadoopSettings, Location, RemoteSettings};
use storm_oci_test_stores::{Hdfs, HdfsSpec};

/// Several times what asking both namenodes may take; the library alone asks a hung one for minutes.
const BOUND: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_active_namenode_is_found_however_the_other_fails() {
    let mut hdfs = Hdfs::start(HdfsSpec { ha: true, ..HdfsSpec::default() }).unwrap();
    let hadoop = HadoopSettings { conf_dir: Some(hdfs.client_conf()), ..HadoopSettings::default() };
    let request_timeout = Duration::from_secs(16);
    let remotes =
        Remotes::new(RemoteSettings { hadoop, request_timeout, ..RemoteSettings::default() });
    let object = Location::parse(&hdfs.url("/images/a")).unwrap();
    assert_eq!(object.to_string(), "hdfs://images/images/a");
    let store = remotes.open(&object).unwrap();
    store.replace(&object, Bytes::from_static(b"text")).await.unwrap();

    // The first is the standby from now on, and says so.
    hdfs.activate(1).unwrap();
    let stat = store.stat(&object).await.unwrap();
    assert_eq!(store.read(&object, &stat, 0..4).await.unwrap(), "text");

    // The active one hangs: nothing answers but the standby.
    hdfs.namenode(1).hang().unwrap();
    let begin = Instant::now();
    let error = store.stat(&object).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    hdfs.namenode(1).go_on().unwrap();
    assert_eq!(store.stat(&object).await.unwrap(), stat);

    // It is the first that hangs, and that new clients would begin with.
    hdfs.namenode(0).hang().unwrap();
    let fresh = Remotes::new(RemoteSettings {
        hadoop: HadoopSettings { conf_dir: Some(hdfs.client_conf()), ..HadoopSettings::default() },
        request_timeout,
        ..RemoteSettings::default()
    });
    let fresh = fresh.open(&object).unwrap();
    assert_eq!(fresh.stat(&object).await.unwrap(), stat);
    let begin = Instant::now();
    // Each would wait seven seconds for the hung one first.
    for _ in 0..20 {
        assert_eq!(fresh.stat(&object).await.unwrap(), stat);
    }
    assert!(begin.elapsed() < BOUND, "it is remembered: {:?}", begin.elapsed());

    // And when it is gone for good.
    hdfs.namenode(0).kill().unwrap();
    assert_eq!(store.stat(&object).await.unwrap(), stat);
}
