//! The demo and the end-to-end tests on real Storm.
//!
//! A [`Testbed`] is one stock Storm on this host: accounts, an installation of this project, an
//! image store, ZooKeeper, Nimbus and a supervisor. It needs root. What it makes, it removes, on
//! success, on failure and on Ctrl-C, and [`Traces`] says whether it did.

pub mod accounts;
pub mod census;
pub mod cgroups;
pub mod cluster;
pub mod command;
pub mod commanded;
pub mod container;
pub mod daemon;
pub mod error;
pub mod exit_note;
pub mod files;
pub mod image;
pub mod image_store;
pub mod install;
pub mod interrupt;
pub mod layout;
pub mod mountinfo;
pub mod node;
pub mod operate;
pub mod packages;
pub mod process;
pub mod publish;
pub mod say;
pub mod slots;
pub mod storm_conf;
pub mod storm_home;
pub mod supervisor_log;
pub mod testbed;
pub mod topology;
pub mod traces;
pub mod verdicts;

pub use error::E2eError;
pub use layout::Layout;
pub use node::Node;
pub use slots::Slots;
pub use testbed::Testbed;
pub use traces::Traces;
