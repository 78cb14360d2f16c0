//! What the person at the terminal reads. The only module that prints.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the module that prints")]

use std::fmt::Display;
use std::time::Instant;

/// The steps of a run, told one after the other.
#[derive(Debug)]
pub struct Steps {
    next: usize,
    of: usize,
    began: Instant,
}

impl Steps {
    /// A run of so many steps.
    #[must_use]
    pub fn new(of: usize) -> Self {
        Self { next: 1, of, began: Instant::now() }
    }

    /// Begins the next step.
    pub fn begin(&mut self, title: &str) {
        println!(
            "\n[{}/{}] {title} ({:.0} s)",
            self.next,
            self.of,
            self.began.elapsed().as_secs_f64()
        );
        self.next += 1;
    }
}

/// One line of what a step does or finds.
pub fn line(text: impl Display) {
    println!("      {text}");
}

/// One fact: a name and a value, aligned.
pub fn fact(name: &str, value: impl Display) {
    println!("      {name:<22} {value}");
}

/// A line without indent.
pub fn plain(text: impl Display) {
    println!("{text}");
}

/// What went wrong.
pub fn failure(program: &str, error: &dyn Display) {
    eprintln!("\n{program}: {error}");
}
