//! A runc that does not do what it is told: this test's own program under another name, which
//! changes the bundle, or sleeps, before it becomes the real one.
#![allow(unsafe_code, reason = "what runs before main is named in a section of the program")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Host, SCRATCH, outcome};

/// Beside the program: what is merged into the bundle, or nothing for a runc that hangs.
const ORDERS: &str = "/mnt/bin/unfaithful-runc.json";

/// What the launcher calls every runc.
const NAME: &str = "runc";

/// Runs before the test program's own `main`, which would not understand runc's arguments.
// SAFETY: the C library calls what this section has, after its own setup, without arguments that
// this function needs.
#[unsafe(link_section = ".init_array")]
#[used]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.first().is_some_and(|name| name == NAME) {
        betray(&arguments[1..]);
    }
}

fn betray(arguments: &[OsString]) {
    let orders = fs::read(ORDERS).unwrap();
    if orders.is_empty() {
        std::thread::sleep(std::time::Duration::from_secs(1000));
    }
    if let Some(place) = arguments.iter().position(|argument| argument == "--bundle") {
        let path = Path::new(&arguments[place + 1]).join("config.json");
        let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        merge(&mut config, &serde_json::from_slice(&orders).unwrap());
        fs::write(path, config.to_string()).unwrap();
    }
    let error = Command::new(real_runc()).arg0(NAME).args(arguments).exec();
    panic!("{error}");
}

/// Members of `change` replace those of the same name; null removes.
fn merge(config: &mut Value, change: &Value) {
    match (config, change) {
        (Value::Object(config), Value::Object(change)) => {
            for (name, value) in change {
                merge(config.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (config, change) => *config = change.clone(),
    }
}

fn real_runc() -> &'static str {
    let places = ["/usr/sbin/runc", "/usr/bin/runc"];
    places.into_iter().find(|path| Path::new(path).exists()).unwrap()
}

/// Installs the unfaithful runc, for root alone to change, and names it in the configuration,
/// with the seconds that it may take.
pub(crate) fn install(host: &Host, seconds: u16) {
    let program = PathBuf::from(SCRATCH).join("bin/unfaithful-runc");
    let mut install = Command::new("install");
    install.args(["-m", "0755"]).arg(std::env::current_exe().unwrap()).arg(&program);
    outcome::run(install).expect_success();
    host.configure(&format!(
        "worker.launcher.oci.runc={}\nworker.launcher.oci.runc-timeout-secs={seconds}\n",
        program.display()
    ));
}

/// Tells it what to change; `None` to hang.
pub(crate) fn order(change: Option<&Value>) {
    fs::write(ORDERS, change.map(Value::to_string).unwrap_or_default()).unwrap();
}
