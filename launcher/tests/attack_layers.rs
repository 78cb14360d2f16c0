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
use std::process::Command;

use support::container::{Worker, eventually, give, loops};
use support::image::{Image, copy_layer, layer_directory};
use support::{Host, SUPERVISOR, USER, outcome};

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
    let cases: [(&str, &Path, Vec<u8>, Spoil<'_>, &str); 15] = [
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
        (
            "roots",
            &directory,
            sound.clone(),
            &|path| {
                std::os::unix::fs::chown(path, Some(0), Some(0)).unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
            },
            "Permission denied",
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

/// A kernel before 6.4 opens, as root, whatever files such an image names.
#[test]
fn an_erofs_is_sound_and_names_no_other_device() {
    let host = Host::new();
    let directory = layer_directory(&host);
    let image = Image::busybox(&host);
    let source = image.clone().with_erofs(&directory, &["-zlz4hc"], |root| {
        fs::write(root.join("file"), "text".repeat(10_000)).unwrap();
    });
    let sound = fs::read(&source.layers()[1]).unwrap();
    let changed = |offset: usize, bytes: &[u8]| {
        let mut copy = sound.clone();
        copy[1024 + offset..1024 + offset + bytes.len()].copy_from_slice(bytes);
        copy
    };
    let content = host.storm().join("content");
    host.directory(&content, None, 0o755);
    fs::write(content.join("file"), "text".repeat(10_000)).unwrap();
    let divided = directory.join("divided.erofs");
    let mut command = Command::new("mkfs.erofs");
    command.arg("--blobdev").arg(host.storm().join("blob")).args(["--chunksize", "4096"]);
    command.args([&divided, &content]);
    outcome::run(command).expect_success();
    for (content, problem) in [
        (fs::read(&divided).unwrap(), "1 extra devices, must be none"),
        (sound[..4096].to_vec(), "truncated"),
        (sound[..1100].to_vec(), "shorter than"),
        (changed(0, b"hsqs"), "not an EROFS"),
        (changed(80, &[0x81]), "features 0x81"),
        (changed(12, &[16]), "block size 2^16"),
        (changed(14, &[0xff, 0xff]), "root directory outside"),
        // Its checksum is the kernel's to check.
        (changed(16, &[0xff]), "cannot mount layer"),
    ] {
        let file = directory.join("spoilt.erofs");
        host.file(&file, Some(SUPERVISOR), 0o644, "");
        fs::write(&file, content).unwrap();
        let worker = Worker::new(&host, &image.clone().with_file(&file), "");
        worker.launch(&host).expect_failure(50, problem);
        nothing_is_left(&host, &worker);
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn no_directory_above_a_layer_is_the_users_or_everybodys() {
    let host = Host::new();
    let image = Image::busybox(&host);
    for (name, owner, mode, allowed) in [
        ("users", Some(USER), 0o755, false),
        ("open", Some(SUPERVISOR), 0o757, false),
        ("group", None, 0o775, false),
        ("sticky", None, 0o1777, true),
    ] {
        let above = host.storm().join(name);
        host.directory(&above, owner, mode);
        host.directory(above.join("layers"), Some(SUPERVISOR), 0o755);
        let file = above.join("layers/base.sqsh");
        copy_layer(&image.layers()[0], &file);
        give(&file, SUPERVISOR);
        let worker = Worker::new(&host, &Image::default().with_file(&file), "");
        let outcome = worker.launch(&host);
        if allowed {
            outcome.expect_success();
        } else {
            outcome.expect_failure(50, "a directory above it is owned by uid");
            assert_eq!(fs::metadata(&file).unwrap().uid(), SUPERVISOR.uid);
        }
    }
}

/// CVE-2026-48785 (Apptainer: `/scratch` matched `/scratch2`).
#[test]
fn cve_2026_48785_layers_lie_below_allowed_directories_only() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let (layers, storm) = (layer_directory(&host), host.storm());
    let elsewhere = storm.join("elsewhere");
    host.directory(&elsewhere, Some(SUPERVISOR), 0o755);
    let name = image.layers()[0].file_name().unwrap().to_owned();
    copy_layer(&image.layers()[0], &elsewhere.join("copy.sqsh"));
    give(&elsewhere.join("copy.sqsh"), SUPERVISOR);
    host.link(layers.to_str().unwrap(), storm.join("link"), Some(SUPERVISOR));
    host.link(elsewhere.to_str().unwrap(), layers.join("out"), Some(SUPERVISOR));
    let inside = layers.join(&name);
    for (allowed, file, accepted) in [
        ("/mnt/storm/layers", inside.clone(), true),
        ("/mnt/storm/elsewhere,/mnt/storm", inside.clone(), true),
        ("/mnt/storm/layers", storm.join("link").join(&name), true),
        ("/mnt/storm/lay", inside.clone(), false),
        ("/mnt/storm/elsewhere", inside.clone(), false),
        ("", inside.clone(), false),
        ("/mnt/storm/link", storm.join("link").join(&name), false),
        ("/mnt/storm/layers", layers.join("out/copy.sqsh"), false),
    ] {
        host.configure(&format!("worker.launcher.oci.layer-dirs={allowed}"));
        let worker = Worker::new(&host, &Image::default().with_file(&file), "");
        let outcome = worker.launch(&host);
        if accepted {
            outcome.expect_success();
        } else {
            outcome.expect_failure(50, "below none of worker.launcher.oci.layer-dirs");
            nothing_is_left(&host, &worker);
        }
    }
    assert_eq!(fs::metadata(elsewhere.join("copy.sqsh")).unwrap().uid(), SUPERVISOR.uid);
}

#[test]
fn a_layer_that_somebody_can_still_write_is_refused() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let worker = Worker::new(&host, &image, "echo .");
    let writer = fs::OpenOptions::new().append(true).open(&image.layers()[0]).unwrap();
    worker.launch(&host).expect_failure(50, "open for writing");
    nothing_is_left(&host, &worker);
    drop(writer);
    let mapping = support::mapping::writable(&image.layers()[0]);
    worker.write_request();
    worker.launch(&host).expect_failure(50, "open for writing");
    drop(mapping);
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
