//! From image tag to running container and back: a plain Rust API without JNI.
//!
//! [`Containers`] is what Storm's `ResourceIsolationInterface` needs, [`Images`] what its three
//! image plugin interfaces need. Everything goes in and out as JSON text, numbers and
//! [`SupervisorError`]; how containers end is told by [`Containers::next_event`].
#![forbid(unsafe_code)]

mod beneath;
mod config;
mod containers;
mod documents;
mod end;
mod ends;
mod error;
mod events;
mod executor;
mod exit_note;
mod heartbeat;
mod hierarchy;
mod image;
mod in_use;
mod installation;
mod launch;
mod launcher;
mod lifecycle;
mod limits;
mod metering;
mod metrics;
mod mounts;
mod oom;
mod phases;
mod process;
mod profile;
mod records;
mod relaunch;
mod request;
mod requested;
mod reservation;
mod scope;
mod switches;
mod text;
mod watch;
mod worker;
mod workfiles;

pub use config::StoreAccess;
pub use containers::Containers;
pub use error::{ErrorCode, SupervisorError};
pub use events::{EventQueue, ExitEvent, LogLevel};
pub use image::Images;
