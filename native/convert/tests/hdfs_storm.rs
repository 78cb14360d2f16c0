//! What is published, read with Storm's own class for manifests and Hadoop's own client.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod publishing;

use std::process::Command;

use publishing::{Sample, Site, reference, references};
use storm_oci_store::{Digest, HadoopSettings, RemoteSettings};
use storm_oci_test_stores::{Hdfs, HdfsSpec, cache};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/storm/ReadAsStorm.java");
const CLASS: &str = "org.apache.storm.container.oci.ReadAsStorm";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storm_reads_tags_and_manifests() {
    let hdfs = Hdfs::start(HdfsSpec::default()).unwrap();
    let hadoop = HadoopSettings { conf_dir: Some(hdfs.client_conf()), ..HadoopSettings::default() };
    let remote = RemoteSettings { hadoop, ..RemoteSettings::default() };
    let site = Site::new(&hdfs.url("/images"), remote);
    let publisher = site.publisher();
    let docker = Sample::small("docker");
    docker.publish(&publisher, &["storm/docker:1", "host:5000/docker:2"]).await.unwrap();
    // The same with what Storm's class refuses: keys, media types.
    let mut oci = Sample::small("oci");
    let text = String::from_utf8(oci.manifest).unwrap();
    let text = text
        .replace(publishing::MANIFEST, "application/vnd.oci.image.manifest.v1+json")
        .replace(publishing::CONFIG, "application/vnd.oci.image.config.v1+json")
        .replace(publishing::LAYER, "application/vnd.oci.image.layer.v1.tar+zstd");
    oci.manifest = text.replacen('{', r#"{"artifactType":"x/y","#, 1).into_bytes();
    let digest = oci.published(&publisher).await;
    assert_ne!(digest, oci.digest());
    publisher.tag(&digest, &references(&["oci:1"]), Some("docker://a/b:c, d # e")).await.unwrap();
    publisher.tag(&docker.digest(), &references(&["moved:1", "gone:1"]), None).await.unwrap();
    publisher.tag(&digest, &references(&["moved:1"]), None).await.unwrap();
    publisher.untag(&references(&["gone:1"])).await.unwrap();

    let jars = |directory: std::path::PathBuf| format!("{}/*", directory.display());
    let class_path = [
        hdfs.client_conf().display().to_string(),
        jars(cache::storm_jars().unwrap()),
        jars(cache::hadoop_jars().unwrap()),
    ];
    let classes = tempfile::tempdir().unwrap();
    let directory = classes.path().to_str().unwrap();
    let compiled = Command::new("javac")
        .args(["-d", directory, "-cp", &class_path.join(":"), PROGRAM])
        .status();
    assert!(compiled.unwrap().success());
    let class_path = format!("{directory}:{}", class_path.join(":"));
    let output = Command::new("java")
        .args(["-Xmx256m", "-cp", &class_path, CLASS, &site.top.to_string()])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let line = |tag: &str, digest: &Digest, sample: &Sample| {
        let sizes = sample.layers.iter().map(|content| format!("77/{}", content.len()));
        format!("{tag} {} {}\n", digest.as_hex(), sizes.collect::<Vec<_>>().join(" "))
    };
    let expected = [
        line("host:5000/docker:2", &docker.digest(), &docker),
        line("moved:1", &digest, &oci),
        line("oci:1", &digest, &oci),
        line("storm/docker:1", &docker.digest(), &docker),
    ];
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected.concat(), "{errors}");
    let shown = publisher.show(&reference("oci:1")).await.unwrap();
    assert!(shown.manifest.unwrap().contains(&oci.digest().to_string()), "whence it came");
}
