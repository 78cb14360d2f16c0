//! All that this program prints: results to stdout, everything else to stderr.
#![expect(clippy::print_stderr, reason = "the one place that prints")]

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde::Serialize;

use crate::args::Format;
use crate::failure::CliError;

/// Prints a result: `text` for people, `document` for programs.
pub(crate) fn result(format: Format, document: &impl Serialize, text: impl FnOnce() -> String) {
    match format {
        Format::Text => out(&text()),
        Format::Json => match serde_json::to_string_pretty(document) {
            Ok(json) => out(&format!("{json}\n")),
            Err(error) => eprintln!("error: cannot print the result: {error}"),
        },
    }
}

/// Prints text to stdout. A reader that went away, as `head` does, is no failure.
pub(crate) fn out(text: &str) {
    bytes(text.as_bytes());
}

/// Prints bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// Prints one line to stderr.
pub(crate) fn note(line: &str) {
    eprintln!("{line}");
}

/// Prints why the command failed. A hint is the part of a message that says what to do next; it
/// gets a line of its own.
pub(crate) fn failure(error: &CliError) -> ExitCode {
    for line in error.to_string().lines() {
        match line.split_once("; hint: ") {
            Some((problem, hint)) => eprintln!("error: {problem}\n\nhint: {hint}"),
            None => eprintln!("error: {line}"),
        }
    }
    error.exit_code()
}

/// Lines of columns that are as wide as their widest cell; the last one is never padded.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(cells) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width.saturating_sub(cell.chars().count()) + 2));
        }
        format!("{}\n", line.trim_end())
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// A size for people, in powers of 1024.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["ä".to_owned(), "2".to_owned()], vec!["long".to_owned(), String::new()]];
        assert_eq!(table(&["A", "B"], &rows), "A     B\nä     2\nlong\n");
        assert_eq!(table(&["A"], &[]), "A\n");
    }
}
