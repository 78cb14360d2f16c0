//! Prints the `config.json` that a launch request leads to: `spec-of <request> [seccomp profile]`.
//!
//! The launcher's part is fixed to the values of the appendix of Storm's OCI documentation. With
//! a profile, the request's own system call filter is replaced by it.
#![expect(
    clippy::disallowed_methods,
    reason = "reads the files its caller names, without privilege"
)]

use std::env::args_os;
use std::error::Error;
use std::fs;
use std::io::{self, Write};

use storm_oci_request::{HostPath, LaunchRequest, Seccomp, SpecInputs, runtime_spec};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = args_os().skip(1);
    let file = arguments.next().ok_or("no request named")?;
    let mut request = LaunchRequest::parse(&fs::read(file)?)?;
    if let Some(profile) = arguments.next() {
        request.oci_runtime_config.linux.seccomp = Some(Seccomp::parse(&fs::read(profile)?)?);
    }
    let directory = format!("/run/worker-launcher/{}", request.container_id);
    let inputs = SpecInputs {
        uid: 31315,
        gid: 100,
        additional_gids: &[5548],
        hostname: "hostname1",
        rootfs: &HostPath::parse(&format!("{directory}/rootfs"))?,
        binds: &HostPath::parse(&format!("{directory}/binds"))?,
        rlimits: &[],
        recursive_options: true,
    };
    write!(io::stdout(), "{}", runtime_spec(&request, &inputs))?;
    Ok(())
}
