//! Compiles in the one directory that `worker-launcher.cfg` is read from, as the original does:
//! a setuid program must not be told by its caller where its configuration is.

use std::env;

/// Where Storm's own build puts it.
const DEFAULT_CONF_DIR: &str = "/etc/storm";

fn main() {
    println!("cargo::rerun-if-env-changed=STORM_OCI_CONF_DIR");
    let directory = env::var("STORM_OCI_CONF_DIR").unwrap_or_else(|_| DEFAULT_CONF_DIR.to_owned());
    let normal = directory.strip_prefix('/').is_some_and(|inner| {
        inner.split('/').all(|component| !matches!(component, "" | "." | ".."))
    });
    assert!(normal, "STORM_OCI_CONF_DIR must be an absolute, normal path, not {directory:?}");
    println!("cargo::rustc-env=STORM_OCI_CONF_DIR={directory}");
}
