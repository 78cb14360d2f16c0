//! Test switches: what a build with the feature `test-switches` can be told to go without.
//!
//! A guard whose removal no test notices is not tested, and a fallback that never runs does not
//! work. Such a build reads names from the variable `STORM_OCI_WITHOUT`, separated by commas, and
//! [`without`] says of each guard and of each kernel feature whether it was named. In every other
//! build it is `false` when the program is compiled, and nothing of this is left. `make install`
//! refuses a test build.

/// Whether this build goes without the guard or kernel feature of this name.
#[cfg(not(feature = "test-switches"))]
pub(crate) const fn without(_name: &str) -> bool {
    false
}

/// Whether this build was told to go without the guard or kernel feature of this name.
#[cfg(feature = "test-switches")]
pub(crate) fn without(name: &str) -> bool {
    NAMES.get().is_some_and(|names| names.split(',').any(|one| one == name))
}

/// Reads the names, before the environment is cleared.
#[cfg(feature = "test-switches")]
pub(crate) fn read() {
    let _first = NAMES.set(std::env::var("STORM_OCI_WITHOUT").unwrap_or_default());
}

#[cfg(feature = "test-switches")]
static NAMES: std::sync::OnceLock<String> = std::sync::OnceLock::new();
