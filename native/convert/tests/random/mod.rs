//! Random archives that GNU tar unpacks without a complaint.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::archive::Entry;

/// `cap_net_raw+ep`, as the kernel keeps it.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// One more entry.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    parent: Index,
    name: Vec<u8>,
    what: What,
    mode: u32,
    owner: (u32, u32),
    mtime: u32,
    xattrs: u8,
    is_gnu: bool,
}

#[derive(Clone, Debug)]
enum What {
    Directory,
    File(Vec<(u8, usize)>),
    Symlink(Vec<u8>),
    Device(u8, u32, u32),
    Fifo,
    Link(Index),
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = prop_oneof![
        8 => "[a-c]{1,2}".prop_map(String::into_bytes),
        1 => Just(vec![b'n'; 255]),
        1 => Just(vec![b'm'; 90]),
        1 => prop::collection::vec(0x80..=0xff_u8, 1..4),
        1 => select(vec!["with space", "new\nline", "...", "-", ".wh", "a=b"])
            .prop_map(|name| name.as_bytes().to_vec()),
    ];
    // Zeros long enough to be holes, and what is between them.
    let part = (0..3_u8, select(vec![0, 1, 511, 512, 4096, 100_000, 131_072, 300_000]));
    let what = prop_oneof![
        4 => Just(What::Directory),
        6 => prop::collection::vec(part, 0..4).prop_map(What::File),
        2 => select(vec![1_usize, 99, 100, 101, 255, 4095])
            .prop_map(|length| What::Symlink(b"../".iter().copied().cycle().take(length).collect())),
        1 => (select(vec![b'3', b'4']), 0..4096_u32, 1..1_u32 << 20)
            .prop_map(|(sort, major, minor)| What::Device(sort, major, minor)),
        1 => Just(What::Fifo),
        3 => any::<Index>().prop_map(What::Link),
    ];
    let id = || prop_oneof![Just(0), Just(4242), 0..u32::MAX - 1];
    let mtime = prop_oneof![Just(0), Just(u32::MAX), any::<u32>()];
    let step =
        (any::<Index>(), name, what, 0..0o10000_u32, (id(), id()), mtime, 0..8_u8, any::<bool>());
    let step = step.prop_map(|(parent, name, what, mode, owner, mtime, xattrs, is_gnu)| Step {
        parent,
        name,
        what,
        mode,
        owner,
        mtime,
        xattrs,
        is_gnu,
    });
    prop::collection::vec(step, 1..40)
}

/// The entries: each in a directory that is there, and links to files that are.
pub(crate) fn entries(steps: &[Step]) -> Vec<Entry> {
    let mut entries = vec![Entry::directory("./").mode(0o750).owner(3, 4)];
    let mut there: BTreeMap<Vec<u8>, bool> = BTreeMap::from([(b".".to_vec(), true)]);
    for step in steps {
        let of = |is_directory: bool| -> Vec<Vec<u8>> {
            let all = there.iter().filter(|(_, directory)| **directory == is_directory);
            all.map(|(path, _)| path.clone()).collect()
        };
        let path = [step.parent.get(&of(true)), b"/".as_slice(), &step.name].concat();
        if path.len() > 3000 {
            continue;
        }
        let entry = match &step.what {
            What::Directory => Entry::directory(&path),
            What::File(parts) => {
                let part = |(byte, length): &(u8, usize)| {
                    vec![if *byte == 0 { 0 } else { b'a' + byte }; *length]
                };
                Entry::file(&path, parts.iter().flat_map(part).collect::<Vec<_>>())
            }
            What::Symlink(target) => Entry::symlink(&path, target),
            What::Device(sort, major, minor) => Entry::device(*sort, &path, *major, *minor),
            What::Fifo => Entry::of(b'6', &path),
            What::Link(to) => {
                // Not to what the new name replaces.
                let files: Vec<_> = of(false).into_iter().filter(|file| *file != path).collect();
                if files.is_empty() {
                    continue;
                }
                Entry::hard_link(&path, to.get(&files))
            }
        };
        let is_directory = matches!(step.what, What::Directory);
        let inside = [path.as_slice(), b"/"].concat();
        if !is_directory && there.keys().any(|name| name.starts_with(&inside)) {
            // GNU tar would rather keep the directory.
            continue;
        }
        if !is_directory || there.get(&path) == Some(&false) {
            there.remove(&path);
        }
        there.insert(path, is_directory);
        entries.push(changed(entry, step));
    }
    entries
}

fn changed(entry: Entry, step: &Step) -> Entry {
    let (uid, gid) = step.owner;
    let entry = entry.owner(uid.into(), gid.into()).mtime(step.mtime.into());
    let entry = if step.is_gnu { entry.gnu() } else { entry };
    if matches!(step.what, What::Symlink(_)) {
        return entry;
    }
    let entry = entry.mode(step.mode);
    match (&step.what, step.xattrs) {
        (What::File(_), 0) => {
            entry.xattr("security.capability", CAPABILITY).xattr("user.z", "\n\0=")
        }
        (What::File(_) | What::Directory, 1) => entry.xattr("user.a", "1").xattr("user.empty", ""),
        (What::File(_) | What::Directory, 2) => {
            entry.xattr("user.\u{e9}", [0, 1, 255]).xattr("user.large", vec![b'x'; 3000])
        }
        _ => entry,
    }
}

/// Without the entries whose names come again, those below them, and links to them.
pub(crate) fn last_of_each(entries: &[Entry]) -> Vec<Entry> {
    let mut kept: Vec<Entry> = Vec::new();
    for entry in entries {
        let is_free = kept.iter().all(|other| other.name() != entry.name());
        let is_below_directory = entry.parent().is_none_or(|parent| {
            kept.iter().any(|other| other.name() == parent && other.is_directory())
        });
        let has_target = entry.target().is_none_or(|target| {
            kept.iter().any(|other| other.name() == target && !other.is_directory())
        });
        if is_free && is_below_directory && has_target {
            kept.push(entry.clone());
        }
    }
    kept
}

/// In an order that follows from the seed.
pub(crate) fn shuffled(mut entries: Vec<Entry>, seed: u64) -> Vec<Entry> {
    let mut state = seed | 1;
    for place in (1..entries.len()).rev() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from(state >> 33).unwrap() % (place + 1);
        entries.swap(place, other);
    }
    entries
}
