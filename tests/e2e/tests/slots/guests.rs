//! Virtual machines with Debian's kernels and cgroups of version 2. They see this host's files, the
//! node among them, and what they write there is theirs.

use std::env;
use std::process::{Child, Command, Stdio};

use storm_oci_e2e::verdicts::Verdicts;
use storm_oci_e2e::{E2eError, Node, interrupt};

const KERNELS: [&str; 2] = ["6.1", "6.12"];

/// Ten times what it takes on an idle machine: then it is stuck.
const LIMIT_SECONDS: &str = "1800";

/// Boots all kernels at the same time, and says how each went.
pub(crate) fn check(node: &Node, kernels: &[&str], verdicts: &mut Verdicts) {
    let kernels = if kernels.is_empty() { KERNELS.as_slice() } else { kernels };
    let guests: Vec<_> = kernels.iter().map(|kernel| (kernel, Guest::boot(node, kernel))).collect();
    for (kernel, guest) in guests {
        verdicts.check(&format!("the_lives_on_linux_{kernel}"), guest.and_then(Guest::wait));
    }
}

/// A virtual machine. Dropped, it ends.
struct Guest(Child);

impl Guest {
    fn boot(node: &Node, kernel: &str) -> Result<Self, E2eError> {
        let failed = |source| E2eError::Start { program: "run-in-vm".to_owned(), source };
        let program = env::current_exe().map_err(failed)?;
        let directory = program.parent().unwrap_or(&program);
        let child = Command::new(node.layout.repository.join("tests/vm/run-in-vm"))
            .args([kernel, LIMIT_SECONDS])
            .arg(directory)
            .arg(&program)
            .arg("guest")
            .stdin(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok(Self(child))
    }

    fn wait(mut self) -> Result<(), E2eError> {
        loop {
            let ended = interrupt::poll(std::time::Duration::from_secs(60), || {
                self.0
                    .try_wait()
                    .map_err(|source| E2eError::Start { program: "run-in-vm".to_owned(), source })
            })?;
            if let Some(status) = ended {
                return if status.success() {
                    Ok(())
                } else {
                    Err(E2eError::unconfirmed("all lives pass in the guest", status.to_string()))
                };
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // All of the guest ends with it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
