//! The same image from a registry, in EROFS layers.

use std::process::Command;

use storm_oci_e2e::container::{self, Container};
use storm_oci_e2e::publish::publish;
use storm_oci_e2e::verdicts::{holds, same};
use storm_oci_e2e::{E2eError, Testbed, command, topology};
use storm_oci_test_stores::{Registry, RegistrySpec};

use crate::containment;

/// The topology.
pub(crate) const NAME: &str = "count-erofs";
/// The media type of an EROFS file, for itself.
const EROFS: &str = "application/vnd.erofs.layer.v1";
/// The image's tag.
pub(crate) const TAG: &str = "storm/erofs:1";

/// Puts the image into the store, from a registry.
pub(crate) fn create(testbed: &Testbed) -> Result<(), E2eError> {
    let registry = Registry::start(RegistrySpec::default())
        .map_err(|error| E2eError::unconfirmed("a registry runs", error.to_string()))?;
    let name = registry.name("storm/demo:1");
    let mut push = Command::new("skopeo");
    push.args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"]);
    push.arg(&testbed.reference).arg(format!("docker://{name}"));
    command::run("push the image to a registry", &mut push, &testbed.layout.log("registry"))?;
    let options = ["--plain-http", "--layer-format", "erofs"];
    publish(&testbed.layout, &name, TAG, &options).map(|_| ())
}

/// The topology counts, and sees what the EROFS layer has and hides.
pub(crate) fn runs(testbed: &mut Testbed) -> Result<(), E2eError> {
    let layout = testbed.layout.clone();
    let report = topology::report(&layout, NAME, 1, || testbed.check())?;
    let container = Container::of(&layout, NAME)?;
    containment::counted_in_the_container(testbed, &container, &report)?;
    containment::overlay(&container)?;

    let request = container.request()?;
    let asked = request.pointer("/layers/2/mediaType").and_then(serde_json::Value::as_str);
    same("the request says what the layer is", asked, Some(EROFS))?;
    let layer = container.record.layers.last();
    let key = layer.map(|layer| layer.key.to_string()).unwrap_or_default();
    let target = layout.run_root.join("layers").join(key).join("mnt");
    let mounts = container::mounted_layers(&layout)?;
    let kinds: Vec<&str> = mounts
        .iter()
        .filter(|mount| mount.target == target)
        .map(|mount| mount.kind.as_str())
        .collect();
    holds("the layer is mounted once, as EROFS", kinds == ["erofs"], format!("{kinds:?}"))
}
