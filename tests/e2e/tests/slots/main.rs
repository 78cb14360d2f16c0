//! Workers' lives without a cluster: stock Storm's container classes with this project's plugin
//! drive real containers, as a supervisor's slots do. Needs root.
//!
//! ```text
//! slots                     lives, and a few rounds of endurance
//! slots endurance [ROUNDS]  rounds of lives on eight slots, with figures before and after
//! slots vm [KERNEL...]      the lives on Debian's kernels with cgroups of version 2
//! slots guest               the lives on a node that is there: in such a virtual machine
//! ```

mod endurance;
mod guests;
mod lives;
mod metrics;

use std::env;
use std::process::ExitCode;

use storm_oci_e2e::say::{self, Steps};
use storm_oci_e2e::verdicts::Verdicts;
use storm_oci_e2e::{E2eError, Layout, Node, files, node};

/// In CI: enough to see what each launch leaves.
const FEW_ROUNDS: u32 = 10;
const MANY_ROUNDS: u32 = 500;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (what, rest) = arguments.split_first().unwrap_or((&"lives", &[]));
    Verdicts::of(|verdicts| run(what, rest, verdicts))
}

fn run(what: &str, rest: &[&str], verdicts: &mut Verdicts) -> Result<(), E2eError> {
    let layout = Layout::new("slots");
    if what == "guest" {
        let outcome = lives::check(&Node::of_host(layout.clone())?, verdicts);
        // It is gone with the machine.
        for line in files::read(&layout.scratch("logs/slots.log"))?.lines() {
            if line.contains("[WARN]") || line.contains("[ERROR]") {
                say::plain(line);
            }
        }
        return outcome;
    }
    let mut steps = Steps::new(node::STEPS + 1);
    let node = Node::create(layout, &mut steps)?;
    steps.begin(what);
    match what {
        "endurance" => {
            let rounds = rest.first().and_then(|rounds| rounds.parse().ok());
            let outcome = endurance::check(&node, rounds.unwrap_or(MANY_ROUNDS));
            verdicts.check("rounds_of_lives_leave_nothing", outcome);
        }
        "vm" => guests::check(&node, rest, verdicts),
        _ => {
            lives::check(&node, verdicts)?;
            let outcome = endurance::check(&node, FEW_ROUNDS);
            verdicts.check("rounds_of_lives_leave_nothing", outcome);
        }
    }
    node.remove()
}
