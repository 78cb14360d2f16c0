//! `conf/seccomp.json.example`: loads, refuses softly what it does not know, and permits what the
//! list in Storm's documentation permits, except for the calls named here.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test reads its own fixtures by path and may panic"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use storm_oci_request::{Action, Bounded, LaunchRequest, Seccomp, SyscallRule};

/// `ENOSYS`: "this kernel does not have it", on which libraries fall back to an older call.
const NOT_IMPLEMENTED: i64 = 38;
/// `EPERM`.
const NOT_PERMITTED: i64 = 1;

/// What the documentation's list permits and the example does not. Each needs a capability a
/// worker never has, or a user namespace, in which a worker would have them all.
const REFUSED_NOW: [&str; 5] = ["mount", "name_to_handle_at", "reboot", "umount2", "unshare"];

fn file(path: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read(root.join(path)).unwrap()
}

fn example() -> Seccomp {
    Seccomp::parse(&file("conf/seccomp.json.example")).unwrap()
}

fn documented() -> Seccomp {
    let request = LaunchRequest::parse(&file("tests/fixtures/appendix/oci-config.json")).unwrap();
    request.oci_runtime_config.linux.seccomp.unwrap()
}

fn names(seccomp: &Seccomp, fits: impl Fn(&SyscallRule) -> bool) -> BTreeSet<String> {
    let rules = seccomp.syscalls.iter().filter(|rule| fits(rule));
    rules.flat_map(|rule| rule.names.iter().map(|name| name.as_str().to_owned())).collect()
}

fn permits(rule: &SyscallRule) -> bool {
    rule.action == Action::Allow
}

#[test]
fn unknown_calls_are_not_implemented() {
    let example = example();
    assert_eq!(example.default_action, Action::Errno);
    assert_eq!(example.default_errno_ret.map(Bounded::get), Some(NOT_IMPLEMENTED));
}

#[test]
fn clone3_is_not_implemented_so_that_clones_flags_can_be_filtered() {
    let example = example();
    let soft = |rule: &SyscallRule| {
        rule.action == Action::Errno && rule.errno_ret.map(Bounded::get) == Some(NOT_IMPLEMENTED)
    };
    assert_eq!(names(&example, soft), BTreeSet::from(["clone3".to_owned()]));

    // All of CLONE_NEW* but CLONE_NEWTIME, which `clone` cannot take.
    const NEW_NAMESPACES: u64 = 0x7e02_0000;
    let rule = example
        .syscalls
        .iter()
        .find(|rule| rule.names.iter().any(|name| name.as_str() == "clone"))
        .unwrap();
    let condition = rule.args.first().unwrap();
    assert_eq!((condition.value, condition.value_two), (NEW_NAMESPACES, Some(0)));
}

#[test]
fn what_the_documentation_permits_is_permitted() {
    let missing: BTreeSet<String> =
        names(&documented(), permits).difference(&names(&example(), permits)).cloned().collect();
    assert_eq!(missing, REFUSED_NOW.map(str::to_owned).into());
}

#[test]
fn no_call_is_both_permitted_and_refused() {
    let example = example();
    let hard = |rule: &SyscallRule| {
        rule.action == Action::Errno && rule.errno_ret.map(Bounded::get) == Some(NOT_PERMITTED)
    };
    let refused = names(&example, hard);
    assert!(refused.is_disjoint(&names(&example, permits)));
    for name in REFUSED_NOW {
        assert!(refused.contains(name), "{name} would look like an old kernel");
    }
}
