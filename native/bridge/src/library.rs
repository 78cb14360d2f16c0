//! The library's one instance in a JVM.

use std::panic;

use once_cell::sync::OnceCell;
use tracing::error;

use crate::error::BridgeError;
use crate::handles::Handles;
use crate::logs::LogSinks;

/// What the library keeps between calls.
///
/// It is `static` because JNI gives a native method nothing but its arguments. It holds no thread
/// and needs no end: the JVM may exit at any time.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) handles: Handles,
    pub(crate) logs: LogSinks,
}

static LIBRARY: OnceCell<Library> = OnceCell::new();

/// The library, set up by the first call.
pub(crate) fn library() -> Result<&'static Library, BridgeError> {
    LIBRARY.get_or_try_init(|| {
        let logs = LogSinks::default();
        logs.install()?;
        // A panic becomes an exception where it was caught; where it happened is only told here.
        panic::set_hook(Box::new(|panic| {
            error!(target: "storm_oci.panic", "{panic}");
        }));
        Ok(Library { handles: Handles::default(), logs })
    })
}
