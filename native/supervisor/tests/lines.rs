//! What is logged for a container names it, whichever thread writes the line.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod node;

use std::io;
use std::sync::Mutex;

use node::{CONTAINER, Node, WORKER};
use serde_json::json;
use tracing::Level;

/// Where all lines of this process go.
static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        WRITTEN.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines since the last call.
fn take() -> Vec<String> {
    let bytes = std::mem::take(&mut *WRITTEN.lock().unwrap());
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

/// Expects lines with these words, and the container's name in each line there is.
fn expect(lines: &[String], words: &[&str]) {
    let name = format!("container{{container={CONTAINER}}}");
    for line in lines {
        assert!(line.contains(&name), "{line}");
    }
    for word in words {
        assert!(lines.iter().any(|line| line.contains(word)), "no `{word}` in {lines:#?}");
    }
}

#[test]
fn every_line_about_a_container_names_it() {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(Level::DEBUG)
        .with_writer(|| Writer)
        .init();
    let node = Node::new();
    node.let_launch_succeed(WORKER);
    let supervisor = node.prepare();
    take();

    supervisor.launch(&node.launch_document(WORKER));
    // The watch has told of the end then.
    supervisor.event();
    expect(
        &take(),
        &["read a tag map", "fetched layers", "fetched layer=", "launched for", "exit code 7"],
    );

    let containers = &supervisor.containers;
    containers.kill("no account", WORKER, false).unwrap();
    let profile = json!({
        "user": "stormtest",
        "workerId": WORKER,
        "targetDir": "/",
        "command": ["", "1", "jstack", "/"],
        "environment": {},
    });
    assert!(containers.profile(&profile.to_string()).unwrap());
    containers.cleanup("no account", WORKER, -1).unwrap();
    expect(&take(), &["cannot signal", "cannot profile", "cannot clean up"]);

    let mut document = node.launch_document(WORKER);
    document["image"]["tag"] = json!("storm/none:9");
    supervisor.launch(&document);
    expect(&take(), &["cannot launch worker of topology wc-1-2"]);

    drop(supervisor);
    let _again = node.prepare();
    let lines = take();
    let lines: Vec<_> = lines.into_iter().filter(|line| line.contains("adopted")).collect();
    assert_eq!(lines.len(), 1);
    expect(&lines, &[]);
}
