//! What a directory tree looks like: modes, owners, links.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// One line an entry, sorted: type and mode as `ls` has them, uid, gid, path below `root`.
pub(crate) fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    add(root, root, &mut lines);
    lines.sort_by(|one, other| one.rsplit(' ').next().cmp(&other.rsplit(' ').next()));
    lines
}

fn add(root: &Path, path: &Path, lines: &mut Vec<String>) {
    let stat = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("stat {path:?}: {error}"));
    let below = path.strip_prefix(root).expect("below the root").display();
    lines.push(format!("{} {} {} ./{below}", symbolic(stat.mode()), stat.uid(), stat.gid()));
    if stat.is_dir() {
        for entry in fs::read_dir(path).unwrap_or_else(|error| panic!("list {path:?}: {error}")) {
            add(root, &entry.expect("a directory entry").path(), lines);
        }
    }
}

/// A mode as `ls -l` shows it.
pub(crate) fn symbolic(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o120_000 => 'l',
        0o010_000 => 'p',
        0o140_000 => 's',
        0o100_000 => '-',
        _ => '?',
    };
    let mut text = String::from(kind);
    for (shift, special, on, off) in
        [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        text.push(if mode >> shift & 4 == 0 { '-' } else { 'r' });
        text.push(if mode >> shift & 2 == 0 { '-' } else { 'w' });
        text.push(match (mode >> shift & 1 != 0, mode & special != 0) {
            (true, true) => on,
            (false, true) => off,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}
