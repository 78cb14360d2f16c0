//! `run-oci-container`: a container of a real image, by a real setuid copy, with real runc.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes and read what they made by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::{Value, json};
use support::container::{
    Worker, cgroup_parent, eventually, hierarchies, is_running, loops, mount_table, mounts,
};
use support::image::Image;
use support::{Host, USER};

/// Stays until it is killed.
const STAY: &str = "echo up; exec sleep 1000";

#[test]
fn a_container_has_the_users_ids_and_no_right_beyond_them() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let script = "id; grep -E 'Cap|NoNewPrivs|Seccomp:|Groups' /proc/self/status; echo .";
    let plain = Worker::new(&host, &image, script);
    let mut filtered = Worker::new(&host, &image, script);
    filtered.amend(|request| {
        request["ociRuntimeConfig"]["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}],
        });
    });
    for (worker, mode) in [(&plain, '0'), (&filtered, '2')] {
        worker.launch(&host).expect_success();
        eventually("it ends", || !is_running(worker.init(&host)));
        let output = worker.stdout();
        let ids = format!("uid={} gid={}", USER.uid, USER.gid);
        assert!(output.starts_with(&ids), "{output}");
        for line in [
            "Groups:\t ",
            "CapInh:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
            &format!("Seccomp:\t{mode}"),
        ] {
            assert!(output.lines().any(|found| found == line), "{line:?}: {output}");
        }
    }
}

#[test]
fn a_container_has_its_own_namespaces_and_the_hosts_network() {
    let host = Host::new();
    let script = "for n in mnt pid ipc uts net user cgroup; do readlink /proc/self/ns/$n; done; \
                  hostname; echo .";
    let worker = Worker::new(&host, &Image::busybox(&host), script);
    worker.launch(&host).expect_success();
    let output = worker.stdout();
    let found: Vec<&str> = output.lines().collect();
    for (name, found) in ["mnt", "pid", "ipc", "uts"].iter().zip(&found) {
        let own = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(own.to_str(), Some(*found), "{name} is shared");
    }
    for (name, found) in ["net", "user", "cgroup"].iter().zip(&found[4..]) {
        let own = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_eq!(own.to_str(), Some(*found), "{name} is not shared");
    }
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(found[7], hostname.trim());
}

#[test]
fn every_mount_is_restricted_and_none_shows_on_the_host() {
    let host = Host::new();
    let before = mount_table();
    let script = "cat /proc/self/mountinfo; touch /x /etc/x /sys/fs/cgroup/x; \
                  touch /sys/fs/cgroup/*/x; touch /tmp/x && echo tmp; echo .";
    let worker = Worker::new(&host, &Image::busybox(&host), script);
    worker.launch(&host).expect_success();
    let output = worker.stdout();
    let table: Vec<Vec<&str>> = output
        .lines()
        .filter(|line| line.contains(" - "))
        .map(|line| line.split(' ').collect())
        .collect();
    assert!(table.len() > 10, "{output}");
    for (index, mount) in table.iter().enumerate() {
        let (point, options) = (mount[4], mount[5]);
        if table[index + 1..].iter().any(|later| later[4] == point) {
            // Covered: nobody in the container reaches it.
            continue;
        }
        let has = |option| options.split(',').any(|found| found == option);
        // runc's own: proc, the file systems with devices, an empty one over a masked path.
        let of_runc = ["/proc", "/dev", "/sys/firmware"].iter().any(|own| point.starts_with(own));
        assert!(has("nosuid") || of_runc, "{point} {options}");
        assert!(has("nodev") || of_runc, "{point} {options}");
        if point == "/" || point.starts_with("/sys") {
            assert!(has("ro"), "{point} {options}");
        }
        assert!(!mount[6].starts_with("shared"), "{point} is shared");
    }
    assert!(output.lines().any(|line| line == "tmp"), "{output}");
    let errors = worker.output(&format!("runc-{}.err", worker.container));
    for path in ["/x", "/etc/x", "/sys/fs/cgroup/x"] {
        let refused = |line: &&str| line.contains(&format!("{path}: Read-only"));
        assert!(errors.lines().any(|line| refused(&line)), "{path}: {errors}");
    }
    let after = mount_table();
    let new: Vec<&str> = after.lines().filter(|line| !before.contains(line)).collect();
    assert_eq!(new.len(), 1, "one layer is mounted and nothing else: {new:#?}");
    assert!(new[0].contains("- squashfs "), "{new:?}");
}

/// CVE-2024-21626 (runc: leaked descriptor and working directory).
#[test]
fn no_descriptor_is_open_but_the_streams_and_the_directory_is_inside() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let run = |arguments: Value| {
        let mut worker = Worker::new(&host, &image, "");
        worker.amend(|request| request["ociRuntimeConfig"]["process"]["args"] = arguments);
        worker.launch(&host).expect_success();
        worker.exit_record(&host);
        (worker.output(&format!("runc-{}.out", worker.container)), worker)
    };
    let (descriptors, _) = run(json!(["ls", "-l", "/proc/self/fd"]));
    let open: Vec<&str> = descriptors
        .lines()
        // The one through which the program lists the others.
        .filter(|line| line.contains(" -> ") && !line.ends_with("/proc/1/fd"))
        .map(|line| line.split(" -> ").next().unwrap().rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(open, ["0", "1", "2"], "{descriptors}");
    let (directory, worker) = run(json!(["readlink", "/proc/self/cwd"]));
    assert_eq!(directory.trim(), worker.directory.to_str().unwrap());
}

#[test]
fn layers_are_mounted_once_for_all_containers() {
    let host = Host::new();
    let image = Image::busybox(&host).with_layer(&host, "top", |root| {
        fs::write(root.join("top"), "").unwrap();
    });
    let workers = [Worker::new(&host, &image, STAY), Worker::new(&host, &image, STAY)];
    for worker in &workers {
        worker.launch(&host).expect_success();
    }
    let mounted = |worker: &Worker| -> Vec<bool> {
        let record = worker.record(&host);
        let layers = record["layers"].as_array().unwrap();
        layers.iter().map(|layer| layer["mounted"].as_bool().unwrap()).collect()
    };
    assert_eq!(mounted(&workers[0]), [true, true]);
    assert_eq!(mounted(&workers[1]), [false, false]);
    assert_eq!(mounts(&host).len(), 2);
    assert_eq!(loops(image.layers()), 2);
    for layer in image.layers() {
        let stat = fs::metadata(layer).unwrap();
        assert_eq!((stat.uid(), stat.permissions().mode() & 0o7777), (0, 0o444));
    }
}

#[test]
fn limits_are_in_the_cgroup() {
    let host = Host::new();
    let mut worker = Worker::new(&host, &Image::busybox(&host), STAY);
    worker.amend(|request| {
        request["ociRuntimeConfig"]["linux"]["resources"] = json!({
            "cpu": {"quota": 140_000, "period": 100_000},
            "memory": {"limit": 67_108_864, "swap": 67_108_864},
            "pids": {"limit": 512},
        });
    });
    worker.launch(&host).expect_success();
    let memory = in_cgroup(&worker, "memory.limit_in_bytes");
    assert_eq!(memory.or_else(|| in_cgroup(&worker, "memory.max")).unwrap(), "67108864");
    // Together as much as the memory alone: no swap.
    let swap = in_cgroup(&worker, "memory.memsw.limit_in_bytes");
    assert!(swap.map_or_else(
        || in_cgroup(&worker, "memory.swap.max").unwrap() == "0",
        |both| both == "67108864"
    ));
    let quota = in_cgroup(&worker, "cpu.cfs_quota_us");
    assert!(quota.or_else(|| in_cgroup(&worker, "cpu.max")).unwrap().starts_with("140000"));
    assert_eq!(in_cgroup(&worker, "pids.max").unwrap(), "512");
}

/// A file of the worker's cgroup, in whichever hierarchy has it.
fn in_cgroup(worker: &Worker, name: &str) -> Option<String> {
    let mut files =
        worker.cgroups().into_iter().map(|cgroup| fs::read_to_string(cgroup.join(name)));
    files.find_map(Result::ok).map(|text| text.trim().to_owned())
}

#[test]
fn files_of_version_2_are_refused_on_version_1() {
    let host = Host::new();
    let mut worker = Worker::new(&host, &Image::busybox(&host), STAY);
    worker.amend(|request| {
        request["ociRuntimeConfig"]["linux"]["resources"] = json!({
            "unified": {"memory.high": "33554432", "memory.oom.group": "1"},
        });
    });
    let launch = worker.launch(&host);
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        launch.expect_success();
        assert_eq!(in_cgroup(&worker, "memory.high").unwrap(), "33554432");
        assert_eq!(in_cgroup(&worker, "memory.oom.group").unwrap(), "1");
    } else {
        launch.expect_failure(44, "unified");
    }
}

#[test]
fn upper_layers_hide_what_they_delete() {
    let host = Host::new();
    let image = Image::busybox(&host)
        .with_layer(&host, "lower", |root| {
            fs::create_dir_all(root.join("data/deep")).unwrap();
            fs::write(root.join("data/kept"), "kept").unwrap();
            fs::write(root.join("data/gone"), "gone").unwrap();
            fs::create_dir(root.join("replaced")).unwrap();
            fs::write(root.join("replaced/old"), "old").unwrap();
        })
        .with_layer(&host, "upper", |root| {
            fs::create_dir(root.join("data")).unwrap();
            let device = nix::sys::stat::makedev(0, 0);
            let kind = nix::sys::stat::SFlag::S_IFCHR;
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
            nix::sys::stat::mknod(&root.join("data/gone"), kind, mode, device).unwrap();
            fs::create_dir(root.join("replaced")).unwrap();
            fs::write(root.join("replaced/new"), "new").unwrap();
            support::image::set_opaque(&root.join("replaced"));
        });
    let worker = Worker::new(&host, &image, "ls /data /replaced; echo .");
    worker.launch(&host).expect_success();
    assert_eq!(worker.stdout(), "/data:\ndeep\nkept\n\n/replaced:\nnew\n.\n");
}

#[test]
fn a_repeated_layer_counts_at_its_highest_place() {
    let host = Host::new();
    let image = Image::busybox(&host).with_layer(&host, "top", |root| {
        fs::write(root.join("which"), "top").unwrap();
    });
    let [base, top] = [&image.layers()[0], &image.layers()[1]];
    let worker = {
        let mut worker = Worker::new(&host, &image, "cat /which; echo; echo .");
        worker.amend(|request| {
            let layer = |path| json!({"mediaType": "application/vnd.squashfs", "path": path});
            request["layers"] = json!([layer(top), layer(base), layer(top)]);
        });
        worker
    };
    worker.launch(&host).expect_success();
    assert_eq!(worker.stdout(), "top\n.\n");
    assert_eq!(worker.record(&host)["layers"].as_array().unwrap().len(), 2);
}

#[test]
fn an_image_may_have_127_layers() {
    let host = Host::new();
    let small = Image::busybox(&host).with_layer(&host, "small", |root| {
        fs::write(root.join("lowest"), "here").unwrap();
    });
    let image = Image::busybox(&host).with_copies(&host, &small.layers()[1], 126);
    let mut worker = Worker::new(&host, &image, "cat /lowest; echo; echo .");
    worker.amend(|request| {
        // Each is there twice.
        let layers = request["layers"].as_array_mut().unwrap();
        layers.extend(layers.clone());
    });
    worker.launch(&host).expect_success();
    assert_eq!(worker.stdout(), "here\n.\n");
    assert_eq!(worker.record(&host)["layers"].as_array().unwrap().len(), 127);
}

#[test]
fn the_containers_limits_are_the_callers() {
    let host = Host::new();
    let script = "ulimit -n; ulimit -f; ulimit -c; grep SigIgn /proc/self/status; echo .";
    let worker = Worker::new(&host, &Image::busybox(&host), script);
    let mut command = host.command(&worker.launch_arguments());
    support::before_exec::soft_limit(&mut command, libc::RLIMIT_NOFILE, 1234);
    support::before_exec::soft_limit(&mut command, libc::RLIMIT_FSIZE, 1 << 30);
    support::before_exec::deaf(&mut command);
    support::outcome::run(command).expect_success();
    let output = worker.stdout();
    let lines: Vec<&str> = output.lines().collect();
    // In blocks of 512 bytes.
    assert_eq!(&lines[..2], ["1234", "2097152"], "{output}");
    let ignored = lines.iter().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    // Signals 32 and 33 are the C library's own.
    assert_eq!(ignored & 0x7fff_ffff, 0, "{output}");
}

#[test]
fn a_container_that_exists_is_not_launched_again() {
    let host = Host::new();
    let worker = Worker::new(&host, &Image::busybox(&host), STAY);
    worker.launch(&host).expect_success();
    // The first launch gave the request away with the directory.
    worker.write_request();
    worker.launch(&host).expect_failure(51, &worker.container);
    assert!(is_running(worker.init(&host)));
    assert!(worker.traces(&host).len() > 3);
}

#[test]
fn a_cgroup_that_exists_is_not_used() {
    let host = Host::new();
    let worker = Worker::new(&host, &Image::busybox(&host), STAY);
    let hierarchy = hierarchies().pop().unwrap();
    let cgroup = hierarchy.join(cgroup_parent()).join(&worker.container);
    fs::create_dir_all(&cgroup).unwrap();
    worker.launch(&host).expect_failure(55, "it exists already");
    assert_eq!(worker.traces(&host), [cgroup]);
}

#[test]
fn an_image_without_the_program_is_refused_before_runc_starts() {
    let host = Host::new();
    let mut worker = Worker::new(&host, &Image::busybox(&host), STAY);
    worker.amend(|request| request["ociRuntimeConfig"]["process"]["args"][0] = json!("zsh"));
    worker.launch(&host).expect_failure(53, "`zsh`");
    assert!(worker.traces(&host).is_empty(), "{:?}", worker.traces(&host));
}

#[test]
fn what_runc_refuses_leaves_nothing() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let mut worker = Worker::new(&host, &image, STAY);
    worker.amend(|request| {
        let source = host.storm().join("stormdist");
        let bind = |destination| {
            json!({
                "destination": destination, "type": "bind", "source": source,
                "options": ["ro", "rbind", "rprivate"],
            })
        };
        let mounts = request["ociRuntimeConfig"]["mounts"].as_array_mut().unwrap();
        // The second has no mount point in the first, and cannot get one.
        mounts.extend([bind("/data"), bind("/data/missing")]);
    });
    worker.launch(&host).expect_failure(44, "read-only file system");
    assert_eq!(worker.traces(&host), support::container::NOTHING);
    assert_eq!(mounts(&host).len(), 1, "the layer stays for the next try");
}

#[test]
fn missing_mount_points_are_made_and_the_working_directory_too() {
    let host = Host::new();
    let mut worker = Worker::new(
        &host,
        &Image::busybox(&host),
        "pwd; ls -ld /new /new/deep; cat /new/file; echo .",
    );
    let file = host.storm().join("file");
    host.file(&file, Some(USER), 0o644, "a line\n");
    worker.amend(|request| {
        let config = &mut request["ociRuntimeConfig"];
        config["process"]["cwd"] = json!("/work/here");
        for (destination, source) in
            [("/new/deep", host.storm().join("workers")), ("/new/file", file)]
        {
            config["mounts"].as_array_mut().unwrap().push(json!({
                "destination": destination, "type": "bind", "source": source,
                "options": ["ro", "rbind", "rprivate"],
            }));
        }
    });
    worker.launch(&host).expect_success();
    let output = worker.stdout();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], "/work/here");
    assert!(lines[1].starts_with("drwxr-xr-x") && lines[1].ends_with("/new"), "{output}");
    assert_eq!(lines[3], "a line");
}
