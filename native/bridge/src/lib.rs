//! libstorm_oci.so: the JNI entry points of `org.apache.storm.container.oci.NativeContainers`.
//!
//! JSON comes in, JSON and numbers go out; [`storm_oci_supervisor`] does the work. What this crate
//! promises is that nothing a JVM can hand over ends the JVM: null, a closed handle, a handle of
//! the other kind, text that is not Unicode, calls from any number of threads, and panics all
//! become one Java exception, `OciNativeException`, with a code.
//!
//! No native thread ever calls into Java. Java learns what happens by waiting in `nextEvent`.

pub mod entry;
mod error;
mod exports;
mod handles;
mod libraries;
mod library;
mod logs;
mod text;

pub use error::BridgeError;
