//! Attacks on and through the mounts of a container: what may be mounted, what the host sees of
//! it, and what can be reached from inside.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes and read what they made by path, in their own mount namespace"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};
use support::container::{Worker, mount_table};
use support::image::Image;
use support::{Host, SCRATCH, USER};

fn bind(destination: &str, source: &Path, access: &str) -> Value {
    json!({
        "destination": destination, "type": "bind", "source": source,
        "options": [access, "rbind", "rprivate"],
    })
}

fn add_mount(worker: &mut Worker, mount: Value) {
    worker.amend(|request| {
        request["ociRuntimeConfig"]["mounts"].as_array_mut().unwrap().push(mount);
    });
}

fn listed(ro: Option<&str>, rw: Option<&str>) -> String {
    let line = |key: &str, list: Option<&str>| {
        list.map(|list| format!("worker.launcher.oci.{key}-mounts={list}\n")).unwrap_or_default()
    };
    line("ro", ro) + &line("rw", rw)
}

/// CVE-2026-48785 (Apptainer: `/scratch` allowed `/scratch2`).
#[test]
fn cve_2026_48785_lists_of_sources_hold_by_component() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let scratch = Path::new(SCRATCH);
    for name in ["data", "data/deep", "data2", "data2/deep"] {
        host.directory(scratch.join(name), Some(USER), 0o777);
    }
    symlink(scratch.join("data2"), host.storm().join("link")).unwrap();
    symlink(scratch.join("data"), host.storm().join("allowed-link")).unwrap();
    let storm = host.storm().display().to_string();
    let ro = format!("/sys/fs/cgroup,{SCRATCH}/data");
    host.configure(&listed(Some(&ro), Some(&storm)));
    let launch = |source: &Path, access: &str| {
        let mut worker = Worker::new(&host, &image, "echo .");
        add_mount(&mut worker, bind("/data", source, access));
        (worker.launch(&host), worker)
    };
    let allowed = [
        (scratch.join("data"), "ro"),
        (scratch.join("data/deep"), "ro"),
        (host.storm().join("allowed-link"), "ro"),
        (host.storm().join("workers"), "ro"),
        (host.storm().join("workers"), "rw"),
    ];
    for (source, access) in &allowed {
        let (outcome, worker) = launch(source, access);
        outcome.expect_success();
        assert_eq!(worker.stdout(), ".\n");
    }
    let refused = [
        (scratch.join("data2"), "ro", "is below no path in worker.launcher.oci.ro-mounts"),
        (scratch.join("data2/deep"), "ro", "ro-mounts or rw-mounts"),
        (host.storm().join("link"), "ro", "`/mnt/data2` is below no path"),
        (host.storm().join("link/deep"), "rw", "`/mnt/data2/deep` is below no path"),
        (scratch.join("data/deep"), "rw", "is below no path in worker.launcher.oci.rw-mounts"),
        (scratch.to_owned(), "ro", "is below no path"),
        (PathBuf::from("/etc"), "ro", "is below no path"),
    ];
    for (source, access, problem) in &refused {
        let (outcome, worker) = launch(source, access);
        outcome.expect_failure(52, problem);
        assert_eq!(worker.traces(&host), support::container::NOTHING);
    }
}

#[test]
fn with_one_list_set_the_other_is_empty_and_storms_own_mounts_count() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let storm = host.storm().display().to_string();
    for (ro, rw, problem) in [
        // Without the cgroups, then without the worker's directory.
        (None, Some(storm.as_str()), "`/sys/fs/cgroup` is below no path"),
        (Some("/sys/fs/cgroup"), Some(""), "is below no path in worker.launcher.oci.rw-mounts"),
        (Some("/sys/fs/cgroup,/mnt"), None, "is below no path in worker.launcher.oci.rw-mounts"),
    ] {
        host.configure(&listed(ro, rw));
        let worker = Worker::new(&host, &image, "echo .");
        worker.launch(&host).expect_failure(52, problem);
    }
}

/// CVE-2018-19295 (Singularity: shared propagation): on a host whose mounts are all shared, as
/// systemd makes them, a container leaves its mount table as it was, layers aside.
#[test]
fn cve_2018_19295_nothing_propagates_to_the_host() {
    let host = Host::new();
    let shared = MsFlags::MS_REC | MsFlags::MS_SHARED;
    mount(None::<&str>, "/", None::<&str>, shared, None::<&str>).unwrap();
    let before = mount_table();
    let worker = Worker::new(&host, &Image::busybox(&host), "exec sleep 1000");
    worker.launch(&host).expect_success();
    let during = mount_table();
    let new: Vec<&str> = during.lines().filter(|line| !before.contains(line)).collect();
    assert_eq!(new.len(), 1, "{new:#?}");
    assert!(new[0].contains("- squashfs "), "{new:?}");
    worker.kill(&host);
    worker.exit_record(&host);
    worker.reap(&host, 0).expect_success();
    let after = mount_table();
    let new: Vec<&str> = after.lines().filter(|line| !before.contains(line)).collect();
    assert!(new.is_empty(), "{new:#?}");
}

/// CVE-2025-6019 (udisks) and CVE-2026-53614 (libmount): no mount is ever there without `nosuid`
/// and `nodev`, not for the time between two system calls.
#[test]
fn cve_2025_6019_no_mount_is_unrestricted_for_a_moment() {
    let host = Host::new();
    let source = host.storm().join("source");
    host.directory(&source, Some(USER), 0o777);
    host.directory(source.join("below"), Some(USER), 0o777);
    let none = MsFlags::empty();
    mount(Some("tmpfs"), &source.join("below"), Some("tmpfs"), none, Some("mode=0777")).unwrap();
    let mut worker = Worker::new(&host, &Image::busybox(&host), "echo .");
    add_mount(&mut worker, bind("/data", &source, "rw"));
    let run_root = host.run_root();
    let (mut seen, mut bare) = (BTreeSet::new(), BTreeSet::new());
    let code = support::trace::run(host.command(&worker.launch_arguments()), |pid| {
        let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        for line in table.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let options: Vec<&str> = fields[5].split(',').collect();
            if !Path::new(fields[4]).starts_with(&run_root) {
                continue;
            }
            seen.insert(fields[4].to_owned());
            if !options.contains(&"nosuid") || !options.contains(&"nodev") {
                bare.insert(line.to_owned());
            }
        }
    });
    assert_eq!(code, 0);
    assert_eq!(worker.stdout(), ".\n");
    assert!(bare.is_empty(), "{bare:#?}");
    for name in ["rootfs", "binds/0", "binds/4", "binds/4/below"] {
        let place = run_root.join(&worker.container).join(name);
        assert!(seen.contains(place.to_str().unwrap()), "{place:?}: {seen:#?}");
    }
    assert!(seen.iter().any(|place| place.ends_with("/mnt")), "the layer: {seen:#?}");
}

/// CVE-2019-5736 (runc: `/proc/self/exe`): a container whose program makes the kernel run runc
/// once more, inside, and one that writes to every program it sees. The host's are as before.
#[test]
fn cve_2019_5736_the_hosts_programs_stay_as_they_are() {
    let host = Host::new();
    // Copies of runc and of the launcher are at stake, never the ones of this machine.
    let runc = Path::new(SCRATCH).join("bin/runc");
    let installed = ["/usr/sbin/runc", "/usr/bin/runc"].map(PathBuf::from);
    fs::copy(installed.iter().find(|path| path.exists()).unwrap(), &runc).unwrap();
    host.configure(&format!("worker.launcher.oci.runc={}\n", runc.display()));
    let state = || {
        [&runc, &host.program()].map(|path| {
            let stat = fs::metadata(path).unwrap();
            (stat.ino(), stat.mode(), stat.mtime(), stat.mtime_nsec(), fs::read(path).unwrap())
        })
    };
    let before = state();
    let executable = |path: &Path, text: &str| {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let image = Image::busybox(&host).with_layer(&host, "again", |root| {
        fs::create_dir(root.join("usr")).unwrap();
        fs::create_dir(root.join("usr/bin")).unwrap();
        executable(&root.join("usr/bin/again"), "#!/proc/self/exe\n");
    });
    let mut again = Worker::new(&host, &image, "");
    again.amend(|request| request["ociRuntimeConfig"]["process"]["args"] = json!(["again"]));
    // Refused or run, as runc's own libraries are in the image or not.
    let _outcome = again.launch(&host);
    let writer = "for turn in 1 2 3 4 5; do for exe in /proc/[0-9]*/exe /proc/self/exe /runc; do \
                  dd if=/etc/os-release of=$exe conv=notrunc && echo wrote $exe; done; done; echo .";
    let mut worker = Worker::new(&host, &image, writer);
    add_mount(&mut worker, bind("/runc", &runc, "rw"));
    worker.launch(&host).expect_success();
    assert_eq!(worker.stdout(), ".\n");
    assert!(before == state(), "a program of the host's has changed");
}
