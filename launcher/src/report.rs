//! The only module that writes to the caller's standard streams.

use std::collections::BTreeMap;
use std::io::Write;

use crate::error::LauncherError;

/// Prints a failure with its chain of causes on one line, below it the layer file that was at
/// fault, and the next step.
///
/// A caller that closed its end of the pipe loses the text, nothing else.
pub(crate) fn failure(error: &LauncherError) {
    let mut text = one_line(&error.to_string());
    if let Some(layer) = error.refused_layer() {
        text.push_str(&format!("layer: {layer}\n"));
    }
    if let Some(hint) = error.hint() {
        text.push_str(&format!("hint: {hint}\n"));
    }
    let _lost = std::io::stderr().write_all(text.as_bytes());
}

/// Prints one line of progress or warning on the error stream, as the original does.
pub(crate) fn note(line: &str) {
    let _lost = std::io::stderr().write_all(one_line(line).as_bytes());
}

/// Prints one problem of `--checksetup`, with its fix on the same line.
pub(crate) fn problem(error: &LauncherError, fix: &str) {
    note(&format!("{error} (hint: {fix})"));
}

/// Prints what `--checksetup` says when there is no problem.
pub(crate) fn fine(line: &str) {
    let _lost = std::io::stdout().write_all(one_line(line).as_bytes());
}

/// Names in a message come from arguments, files and directories: none of them may end the line
/// or drive a terminal.
fn one_line(text: &str) -> String {
    let mut line = String::from("worker-launcher: ");
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

/// Prints `--version`.
pub(crate) fn version() {
    let text = format!("worker-launcher {}\n", env!("CARGO_PKG_VERSION"));
    let _lost = std::io::stdout().write_all(text.as_bytes());
}

/// Prints `--print-config`: one `key=value` line a key, defaults filled in.
pub(crate) fn configuration(effective: &BTreeMap<&'static str, String>) {
    let text: String = effective
        .iter()
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect();
    let _lost = std::io::stdout().write_all(text.as_bytes());
}
