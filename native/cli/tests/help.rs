//! What the command says of itself, and its exit codes.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod command;

use std::fs;

use command::Place;

/// The commands that a page of help lists.
fn commands_of(help: &str) -> Vec<String> {
    let section = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let section = section.split("\n\n").next().unwrap_or_default();
    let name = |line: &str| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        (!name.is_empty() && name != "help").then(|| name.to_owned())
    };
    section.lines().filter_map(name).collect()
}

#[test]
fn each_command_has_help_with_examples_and_a_manual_page() {
    let place = Place::new();
    let pages = place.text("man");
    fs::create_dir(&pages).unwrap();
    place.done(&["man", &pages]);
    let mut waiting = vec![Vec::<String>::new()];
    let mut seen = 0;
    while let Some(command) = waiting.pop() {
        let words: Vec<_> = command.iter().map(String::as_str).collect();
        let help = place.done(&[&words[..], &["--help"]].concat());
        assert!(help.out.contains("Usage: storm-oci") && help.err.is_empty(), "{help:?}");
        let name = [&["storm-oci"], &words[..]].concat().join("-");
        let page = fs::read_to_string(place.path("man").join(format!("{name}.1")));
        let page = page.unwrap_or_else(|error| panic!("{name}.1: {error}"));
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
        seen += 1;
        for sub in commands_of(&help.out) {
            waiting.push([&command[..], &[sub]].concat());
        }
    }
    assert!(seen >= 25, "{seen}");
}

#[test]
fn completions_know_each_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.done(&["completions", shell]).out;
        for word in ["publish", "pull-build-push-update", "gc", "verify"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn wrong_usage_is_told_from_what_cannot_be_done() {
    let place = Place::new();
    for usage in [
        &[][..],
        &["image"],
        &["image", "no-such-command"],
        &["image", "publish"],
        &["image", "publish", "x:1", "--no-such-option"],
        &["image", "publish", "x:1", "--store", "/srv/x", "--threads", "0"],
        &["image", "publish", "oci:x:1", "--store", "/srv/x"],
    ] {
        let outcome = place.run(usage);
        assert_eq!(outcome.code, Some(2), "{usage:?}: {outcome:?}");
        assert!(outcome.out.is_empty(), "{outcome:?}");
    }
    let missing = place.text("none");
    for failing in [
        &["image", "list", "--store", &missing][..],
        &["image", "publish", "oci:none:1", "--tag", "x:1", "--store", &missing],
        &["image", "publish", "x:1", "--store", "ftp://host/x"],
        &["image", "list", "--storm-conf", &missing],
    ] {
        let outcome = place.run(failing);
        assert_eq!(outcome.code, Some(1), "{failing:?}: {outcome:?}");
        assert!(outcome.err.starts_with("error: cannot "), "{outcome:?}");
        assert!(outcome.out.is_empty(), "{outcome:?}");
    }
}
