//! Test switches: what the crate's own tests can be told to go without.
//!
//! A guard whose removal no test notices is not tested. [`without`] says of a guard whether the
//! variable `STORM_OCI_WITHOUT` names it, in the crate's unit tests only; everywhere else it is
//! `false` when the library is compiled, and nothing of this is left. `launcher/tests/guards.rs`
//! takes the guards out.

/// Whether this build goes without the guard of this name.
#[cfg(not(test))]
pub(crate) const fn without(_name: &str) -> bool {
    false
}

/// Whether these tests were told to go without the guard of this name.
#[cfg(test)]
pub(crate) fn without(name: &str) -> bool {
    std::env::var("STORM_OCI_WITHOUT").is_ok_and(|names| names.split(',').any(|one| one == name))
}
