//! Attacks with layer files, by the supervisor's user, the topology's user and the author of an
//! image: each is refused with its own code, and nothing is left.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes and read what they made by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use support::container::{Image, Worker, eventually, give, layer_directory, loops};
use support::{Host, SUPERVISOR, USER};

#[track_caller]
fn nothing_is_left(host: &Host, worker: &Worker) {
    assert_eq!(worker.traces(host), support::container::NOTHING);
}

/// CVE-2023-30549 (Apptainer: the kernel parses a user's image).
#[test]
fn a_layer_must_be_the_supervisors_alone_and_a_sound_squashfs() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let sound = fs::read(&image.layers()[0]).unwrap();
    let inodes = u64::from_le_bytes(sound[64..72].try_into().unwrap());
    let inodes = usize::try_from(inodes).unwrap();
    let directory = layer_directory(&host);
    let open = host.storm().join("open");
    host.directory(&open, Some(SUPERVISOR), 0o775);
    let changed = |offset: usize, bytes: &[u8]| {
        let mut copy = sound.clone();
        copy[offset..offset + bytes.len()].copy_from_slice(bytes);
        copy
    };
    type Spoil<'a> = &'a dyn Fn(&Path);
    let as_it_is: Spoil<'_> = &|_| {};
    let cases: [(&str, &Path, Vec<u8>, Spoil<'_>, &str); 14] = [
        ("truncated", &directory, sound[..sound.len() / 2].to_vec(), as_it_is, "truncated"),
        ("tiny", &directory, b"hsqs".to_vec(), as_it_is, "shorter than"),
        ("text", &directory, vec![b'x'; 8192], as_it_is, "not a squashfs"),
        ("version", &directory, changed(28, &[3, 0]), as_it_is, "version 3.0"),
        ("compressor", &directory, changed(20, &[2, 0]), as_it_is, "compressor 2"),
        ("table", &directory, changed(64, &[0xff; 8]), as_it_is, "inode table"),
        ("noise", &directory, changed(inodes, &[0xff; 64]), as_it_is, "cannot mount layer"),
        (
            "linked",
            &directory,
            sound.clone(),
            &|path| {
                fs::hard_link(path, path.with_extension("also")).unwrap();
            },
            "2 links",
        ),
        (
            "group",
            &directory,
            sound.clone(),
            &|path| {
                fs::set_permissions(path, fs::Permissions::from_mode(0o664)).unwrap();
            },
            "mode 0664",
        ),
        (
            "others",
            &directory,
            sound.clone(),
            &|path| {
                fs::set_permissions(path, fs::Permissions::from_mode(0o646)).unwrap();
            },
            "mode 0646",
        ),
        ("users", &directory, sound.clone(), &|path| give(path, USER), "owned by uid 64110"),
        (
            "symbolic",
            &directory,
            sound.clone(),
            &|path| {
                fs::rename(path, path.with_extension("real")).unwrap();
                symlink(path.with_extension("real"), path).unwrap();
            },
            "Too many levels",
        ),
        (
            "fifo",
            &directory,
            Vec::new(),
            &|path| {
                fs::remove_file(path).unwrap();
                nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
                give(path, SUPERVISOR);
            },
            "not a regular file",
        ),
        ("place", &open, sound.clone(), as_it_is, "its directory is owned"),
    ];
    for (name, place, content, spoil, problem) in cases {
        let file = place.join(format!("{name}.sqsh"));
        host.file(&file, Some(SUPERVISOR), 0o644, "");
        fs::write(&file, content).unwrap();
        spoil(&file);
        let image = Image::busybox(&host).with_file(&file);
        let worker = Worker::new(&host, &image, "");
        let refused = worker.launch(&host).expect_failure(50, problem);
        let line = format!("layer: {}", file.display());
        assert!(refused.stderr.lines().any(|found| found == line), "{refused:#?}");
        nothing_is_left(&host, &worker);
        eventually("no loop device is left", || loops(std::slice::from_ref(&file)) == 0);
        let layers = host.run_root().join("layers");
        let empty = fs::read_dir(&layers).into_iter().flatten().filter(|entry| {
            let place = entry.as_ref().unwrap().path().join("mnt");
            place.exists() && fs::read_dir(place).unwrap().next().is_none()
        });
        assert_eq!(empty.count(), 0, "{name} left its directory");
    }
}

#[test]
fn a_layer_that_is_still_being_written_is_refused() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let worker = Worker::new(&host, &image, "echo .");
    let writer = fs::OpenOptions::new().append(true).open(&image.layers()[0]).unwrap();
    worker.launch(&host).expect_failure(50, "open for writing");
    nothing_is_left(&host, &worker);
    drop(writer);
    worker.write_request();
    worker.launch(&host).expect_success();
}

#[test]
fn a_file_of_roots_stays_as_it_is() {
    let host = Host::new();
    let file = layer_directory(&host).join("secret");
    host.file(&file, None, 0o640, "not a layer");
    nix::unistd::chown(&file, None, Some(SUPERVISOR.gid.into())).unwrap();
    let worker = Worker::new(&host, &Image::busybox(&host).with_file(&file), "");
    worker.launch(&host).expect_failure(50, "shorter than");
    let stat = fs::metadata(&file).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.gid()), (0o640, SUPERVISOR.gid));
}
