//! Protected RPC and data transfer, in each of Hadoop's three ways.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod asker;

use std::fs;
use std::sync::Arc;

use asker::Asker;
use storm_oci_store::Digest;
use storm_oci_test_stores::{Hdfs, HdfsSpec, Kdc, Protection, Scratch, Security};

#[test]
fn files_are_read_and_written_under_each_protection() {
    let kdc = Arc::new(Kdc::start().unwrap());
    let keytab = kdc.keytab("storm", "storm").unwrap();
    let scratch = Scratch::new("protection").unwrap();
    let file = scratch.path().join("file");
    // More than a block, a window and a packet.
    let bytes: Vec<u8> = (0..1_300_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&file, &bytes).unwrap();
    for protection in [Protection::Authentication, Protection::Integrity, Protection::Privacy] {
        let security = Security::Kerberos { kdc: Arc::clone(&kdc), protection };
        let hdfs = Hdfs::start(HdfsSpec { security, block_size: 2 << 20, ..HdfsSpec::default() });
        let hdfs = hdfs.unwrap();
        hdfs.put(&file, "/file").unwrap();
        hdfs.shell(&["-chmod", "777", "/"]).unwrap();
        let mut storm = Asker::start(&[], &kdc, &hdfs.client_conf(), Some((&keytab, "storm")));
        let read = storm.ask(&format!("read {}", hdfs.url("/file")));
        assert_eq!(read, format!("ok {} {}", bytes.len(), Digest::of(&bytes)), "{protection:?}");
        let url = hdfs.url("/new");
        assert_eq!(storm.ask(&format!("write {url} some text")), "ok", "{protection:?}");
        let read = storm.ask(&format!("read {url}"));
        assert_eq!(read, format!("ok 9 {}", Digest::of(b"some text")));
    }
}
