//! An image with every rule of layers in it, and what the rules make of it, applied by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};

use crate::archive::{Entry, archive};
use crate::filesystem::{Listing, list, run};
use crate::overlay::comparable;

/// Layers, lowest first.
pub(crate) fn layers() -> Vec<Vec<Entry>> {
    let file = |name: &str, content: &str| Entry::file(name, content);
    let hidden = |name: &str| Entry::file(name, "").mode(0);
    let directory = |name: &str| Entry::directory(name).mtime(1_600_000_000);
    vec![
        vec![
            directory("./"),
            directory("tmp").mode(0o1777),
            directory("etc").mode(0o750).owner(5, 6).xattr("user.k", "v"),
            file("etc/passwd", "base"),
            file("etc/hosts", "base"),
            directory("usr"),
            directory("usr/bin"),
            file("usr/bin/a", "base").mode(0o4755),
            Entry::hard_link("usr/bin/b", "usr/bin/a"),
            Entry::symlink("bin", "usr/bin"),
            directory("opt"),
            directory("opt/x"),
            file("opt/x/1", "base"),
            directory("opt/x/y").mode(0o700),
            file("opt/x/y/2", "base"),
            directory("srv"),
            file("srv/old", "base"),
            directory("var").mode(0o711),
            directory("var/lib").mode(0o700).owner(7, 8),
            file("var/lib/1", "base"),
            file("turns", "a file"),
            directory("gone"),
            directory("gone/below"),
            file("gone/below/1", "base"),
            file("foo.wh.bar", "base"),
            file("bar", "base"),
        ],
        vec![
            // Hidden, and hidden after and before what comes anew.
            hidden("etc/.wh.hosts"),
            hidden(".wh.foo.wh.bar"),
            file("opt/x/new", "second"),
            hidden("opt/.wh.x"),
            hidden("srv/.wh.old"),
            file("srv/old", "second"),
            // Directories that have no entry here.
            file("var/lib/2", "second"),
            file("tmp/note", "second"),
            hidden(".wh..wh.plnk/12.34"),
            hidden(".wh..wh.aufs"),
            hidden(".wh.turns"),
            directory("turns"),
            file("turns/inside", "second"),
            hidden(".wh.gone"),
        ],
        vec![
            // A link through which an entry goes, and links to what comes later.
            Entry::symlink("conf", "/etc"),
            file("conf/added", "third"),
            Entry::hard_link("first", "later"),
            Entry::hard_link("zero", "first"),
            file("later", "third").owner(9, 9),
            directory("gone").mode(0o700),
            file("gone/new", "third"),
            file("usr/bin/.wh..wh..opq", ""),
            file("usr/bin/c", "third"),
            file("opt/x/y/z/deep", "third"),
            file("bar", "twice"),
            file("bar", "third"),
            Entry::device(b'3', "null", 1, 3),
            Entry::of(b'6', "pipe"),
        ],
        vec![
            hidden("var/.wh..wh..opq"),
            directory("var/lib/new"),
            file("var/lib/new/1", "fourth"),
            directory("turns/inside.d"),
            hidden("turns/.wh.inside"),
            file("opt", "a file now"),
            hidden("missing/.wh.nothing"),
        ],
        // Everything but what is here.
        vec![
            hidden(".wh..wh..opq"),
            directory("etc"),
            file("etc/only", "fifth"),
            file("top", "fifth"),
        ],
        vec![file("etc/more", "sixth")],
    ]
}

/// A tree that layers are applied to one after another.
pub(crate) struct Image {
    root: PathBuf,
    tar: PathBuf,
}

impl Image {
    pub(crate) fn new(scratch: &Path) -> Self {
        let (root, tar) = (scratch.join("image"), scratch.join("image.tar"));
        fs::create_dir(&root).unwrap();
        Self { root, tar }
    }

    /// Removes what the layer hides, lets GNU tar unpack the rest over what is left, and gives
    /// directories that have no entry the times they had.
    pub(crate) fn apply(&mut self, layer: &[Entry]) {
        let mut times = self.times();
        // Where the link leads, which GNU tar must not follow out of the tree.
        let layer: Vec<Entry> = layer
            .iter()
            .map(|entry| {
                let name = String::from_utf8(entry.name().to_vec()).unwrap();
                entry.clone().named(name.replacen("conf/", "etc/", 1))
            })
            .collect();
        let name = |entry: &Entry| PathBuf::from(OsStr::from_bytes(entry.name()));
        let names: Vec<PathBuf> = layer.iter().map(name).collect();
        for name in &names {
            let Some(last) = name.file_name().and_then(|last| last.to_str()) else { continue };
            let directory = name.parent().unwrap();
            if last == ".wh..wh..opq" {
                for inside in list(&self.root.join(directory)).into_keys() {
                    if inside.components().count() == 1 {
                        self.remove(&directory.join(inside), &mut times);
                    }
                }
            } else if let Some(hidden) = last.strip_prefix(".wh.")
                && !hidden.starts_with(".wh.")
            {
                self.remove(&directory.join(hidden), &mut times);
            }
        }
        for (name, entry) in names.iter().zip(&layer) {
            // GNU tar would rather keep a directory that has something in it.
            if !entry.is_directory() && self.root.join(name).is_dir() {
                self.remove(name, &mut times);
            }
        }
        // What GNU tar has no idea of; a link to what comes later comes last.
        let is_plain = |entry: &&Entry| !String::from_utf8_lossy(entry.name()).contains(".wh.");
        let (mut links, mut plain): (Vec<&Entry>, Vec<&Entry>) = layer
            .iter()
            .filter(|entry| is_plain(entry) || entry.name() == b"foo.wh.bar")
            .partition(|entry| entry.target().is_some());
        plain.append(&mut links);
        fs::write(&self.tar, archive(plain)).unwrap();
        let mut command = Command::new("tar");
        command.args(["--numeric-owner", "--xattrs", "--xattrs-include=*"]);
        command
            .args([
                "--keep-directory-symlink",
                "--delay-directory-restore",
                "--absolute-names",
                "-xpf",
            ])
            .arg(&self.tar);
        run(command.arg("-C").arg(&self.root));
        let explicit: BTreeSet<&Path> = names.iter().map(PathBuf::as_path).collect();
        for (path, entry) in list(&self.root) {
            if entry.mode & 0o170_000 == 0o040_000 && !explicit.contains(path.as_path()) {
                let is_root = path.as_os_str().is_empty() && explicit.contains(Path::new("."));
                if !is_root {
                    self.set_time(&path, times.get(&path).copied().unwrap_or(0));
                }
            }
        }
        // Emptied and filled without an entry of its own.
        for name in &names {
            if name.starts_with("missing") && name != Path::new("missing") {
                fs::create_dir_all(self.root.join("missing")).unwrap();
                self.set_time(Path::new("missing"), 0);
                self.set_time(Path::new(""), times[Path::new("")]);
            }
        }
    }

    pub(crate) fn listing(&self) -> Listing {
        comparable(list(&self.root))
    }

    fn times(&self) -> BTreeMap<PathBuf, i64> {
        list(&self.root).into_iter().map(|(path, entry)| (path, entry.mtime)).collect()
    }

    fn remove(&self, path: &Path, times: &mut BTreeMap<PathBuf, i64>) {
        let full = self.root.join(path);
        times.retain(|known, _| !known.starts_with(path));
        match fs::symlink_metadata(&full) {
            Ok(there) if there.is_dir() => fs::remove_dir_all(full).unwrap(),
            Ok(_) => fs::remove_file(full).unwrap(),
            Err(_) => {}
        }
    }

    fn set_time(&self, path: &Path, seconds: i64) {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: seconds, tv_nsec: 0 },
        };
        utimensat(CWD, self.root.join(path), &times, AtFlags::empty()).unwrap();
    }
}
