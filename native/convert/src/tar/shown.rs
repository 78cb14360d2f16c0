//! Names from archives in messages.

/// The longest name that a message repeats, in bytes.
const LONGEST: usize = 200;

/// A name from an archive, as a message may have it: on one line and not endless.
pub(crate) fn shown(name: &[u8]) -> String {
    match name.get(..LONGEST) {
        Some(start) if name.len() > LONGEST => format!("{}...", start.escape_ascii()),
        _ => name.escape_ascii().to_string(),
    }
}
