//! worker-launcher.
fn main() {}
