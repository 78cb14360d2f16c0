//! What the libraries tell, on stderr.

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How much is told; `None`: nothing.
pub(crate) fn level(quiet: bool, verbose: u8) -> Option<Level> {
    match (quiet, verbose) {
        (true, _) => None,
        (false, 0) => Some(Level::WARN),
        (false, 1) => Some(Level::INFO),
        (false, _) => Some(Level::DEBUG),
    }
}

/// Lets libraries tell from now on.
pub(crate) fn begin(level: Option<Level>) {
    let Some(level) = level else { return };
    // Other libraries' debugging is about their own insides.
    let others = if level > Level::INFO { Level::INFO } else { Level::ERROR };
    let targets = Targets::new()
        .with_default(others)
        .with_targets([("storm_oci_convert", level), ("storm_oci_store", level)]);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time();
    tracing_subscriber::registry().with(lines).with(targets).init();
}
