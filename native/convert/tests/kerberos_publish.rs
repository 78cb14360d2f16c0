//! Publishing to HDFS with Kerberos, in a process of its own: the realm is a process's environment.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod publishing;

use std::process::Command;
use std::sync::Arc;

use publishing::{Site, scenarios, tending};
use storm_oci_store::{HadoopLogin, HadoopSettings, RemoteSettings};
use storm_oci_test_stores::{Hdfs, HdfsSpec, Kdc, Protection, Security};

const CONF: &str = "STORM_OCI_TEST_CONF";
const KEYTAB: &str = "STORM_OCI_TEST_KEYTAB";
const TOP: &str = "STORM_OCI_TEST_TOP";

#[test]
fn images_are_published_and_tended_with_a_login() {
    let kdc = Arc::new(Kdc::start().unwrap());
    let keytab = kdc.keytab("publisher", "publisher").unwrap();
    let security =
        Security::Kerberos { kdc: Arc::clone(&kdc), protection: Protection::Authentication };
    let hdfs = Hdfs::start(HdfsSpec { security, block_size: 1 << 20, ..HdfsSpec::default() });
    let hdfs = hdfs.unwrap();
    hdfs.shell(&["-chmod", "777", "/"]).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_one_that_logs_in", "--nocapture"])
        .env("KRB5_CONFIG", kdc.config())
        .env_remove("KRB5CCNAME")
        .env(CONF, hdfs.client_conf())
        .env(KEYTAB, &keytab)
        .env(TOP, hdfs.url("/"))
        .status();
    assert!(status.unwrap().success());
    let owners = hdfs.shell(&["-stat", "%u %a", "/an_image/images/image-tag-to-hash"]).unwrap();
    assert_eq!(owners.lines().next(), Some("publisher 444"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_that_logs_in() {
    let Some(keytab) = std::env::var_os(KEYTAB) else { return };
    let site = |name: &str| {
        let login = HadoopLogin { keytab: keytab.clone().into(), principal: "publisher".into() };
        let conf_dir = std::env::var_os(CONF).map(Into::into);
        let hadoop = HadoopSettings { conf_dir, login: Some(login), ..HadoopSettings::default() };
        let remote = RemoteSettings { hadoop, ..RemoteSettings::default() };
        Site::new(&format!("{}{name}/images", std::env::var(TOP).unwrap()), remote)
    };
    scenarios::an_image_is_published_once(&site("an_image")).await;
    scenarios::publishers_at_once_lose_nothing(&site("at_once"), 3).await;
    tending::a_sweep_takes_what_nobody_needs(&site("a_sweep")).await;
}
