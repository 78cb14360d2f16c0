//! Layers: mounted once for all, by every means a kernel has, and given back.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests set scenes and read what they made by path, in their own mount namespace"
)]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use support::container::{Worker, eventually, give_back, loops, mounts};
use support::image::{Image, layer_directory};
use support::{Host, SUPERVISOR, outcome};

/// Stays until it is killed.
const STAY: &str = "exec sleep 1000";

/// Whether the launcher under test was told to go without a kernel feature.
fn without(name: &str) -> bool {
    std::env::var(support::SWITCHES).is_ok_and(|names| names.split(',').any(|one| one == name))
}

/// The layers' mounts as the host sees them: type and options.
fn layer_mounts(host: &Host) -> Vec<(String, String)> {
    let table = fs::read_to_string("/proc/thread-self/mounts").unwrap();
    let layers = host.run_root().join("layers");
    let fields = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .filter(|fields| Path::new(fields[1]).starts_with(&layers))
        .map(|fields| (fields[2].to_owned(), fields[3].to_owned()))
        .collect()
}

/// A directory on a real disk's file system, which only the supervisor can write.
fn disk(host: &Host) -> PathBuf {
    let (image, directory) = (Path::new(support::SCRATCH).join("disk"), host.storm().join("disk"));
    host.directory(&directory, None, 0o755);
    fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    for (program, arguments) in [
        ("mkfs.ext4", vec!["-q".as_ref(), image.as_os_str()]),
        ("mount", vec!["-o".as_ref(), "loop".as_ref(), image.as_os_str(), directory.as_os_str()]),
    ] {
        let mut command = Command::new(program);
        command.args(arguments);
        outcome::run(command).expect_success();
    }
    support::container::give(&directory, SUPERVISOR);
    directory
}

fn write_file(name: &'static str, text: &'static str) -> impl FnOnce(&Path) {
    move |root| fs::write(root.join(name), text).unwrap()
}

fn start(host: &Host, arguments: Vec<String>) -> Child {
    host.command(&arguments).stdin(Stdio::null()).spawn().unwrap()
}

/// The keys of a container's layers, and whether its launch mounted each.
fn recorded(host: &Host, worker: &Worker) -> Vec<(String, bool)> {
    let record = worker.record(host);
    let layers = record["layers"].as_array().unwrap();
    let one = |layer: &Value| {
        (layer["key"].as_str().unwrap().to_owned(), layer["mounted"].as_bool().unwrap())
    };
    layers.iter().map(one).collect()
}

#[test]
fn erofs_layers_and_squashfs_layers_make_one_root() {
    let host = Host::new();
    let directory = layer_directory(&host);
    let image = Image::busybox(&host)
        .with_erofs(&directory, &[], write_file("plain", "plain\n"))
        .with_erofs(&directory, &["-zlz4hc"], |root| {
            fs::write(root.join("packed"), "packed\n".repeat(100_000)).unwrap();
        })
        .with_layer(&host, "top", write_file("top", "top\n"));
    let script = "cat /plain /top; grep -c packed /packed; echo .";
    let worker = Worker::new(&host, &image, script);
    worker.launch(&host).expect_success();
    assert_eq!(worker.stdout(), "plain\ntop\n100000\n.\n");
    let found = layer_mounts(&host);
    let kinds: Vec<&str> = found.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["squashfs", "erofs", "erofs", "squashfs"]);
    for (kind, options) in &found {
        for option in ["ro", "nosuid", "nodev"] {
            assert!(options.split(',').any(|found| found == option), "{kind}: {options}");
        }
    }
    worker.exit_record(&host);
    worker.reap(&host, 0).expect_success();
    assert!(mounts(&host).is_empty(), "{:?}", mounts(&host));
    eventually("the loop devices are gone", || loops(image.layers()) == 0);
}

#[test]
fn an_erofs_layer_needs_no_loop_device_where_the_kernel_can_do_without() {
    let host = Host::new();
    let disk = disk(&host);
    let image = Image::busybox(&host).with_erofs(&disk, &["-zlz4hc"], write_file("top", "top\n"));
    let worker = Worker::new(&host, &image, "cat /top; echo .; exec sleep 1000");
    worker.launch(&host).expect_success();
    assert_eq!(worker.stdout(), "top\n.\n");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    let kernel = (numbers.next().unwrap(), numbers.next().unwrap());
    let file_backed = kernel >= (6, 12) && !without("erofs-file");
    assert_eq!(loops(&image.layers()[1..]), usize::from(!file_backed));
    worker.kill(&host);
    worker.exit_record(&host);
    worker.reap(&host, 0).expect_success();
    assert!(mounts(&host).is_empty(), "{:?}", mounts(&host));
    eventually("the loop devices are gone", || loops(image.layers()) == 0);
}

#[test]
fn a_loop_device_is_read_only_and_goes_with_its_last_user() {
    let host = Host::new();
    let image = Image::busybox(&host);
    let worker = Worker::new(&host, &image, STAY);
    worker.launch(&host).expect_success();
    let name = image.layers()[0].file_name().unwrap().to_str().unwrap();
    let block =
        fs::read_dir("/sys/block").unwrap().map(|entry| entry.unwrap().path()).find(|block| {
            fs::read_to_string(block.join("loop/backing_file"))
                .is_ok_and(|file| file.contains(name))
        });
    let read = |entry: &str| fs::read_to_string(block.as_ref().unwrap().join(entry)).unwrap();
    assert_eq!((read("ro").trim(), read("loop/autoclear").trim()), ("1", "1"));
    give_back(&host);
    nix::mount::umount(mounts(&host)[0].as_str()).unwrap();
    assert_eq!(loops(image.layers()), 1, "the container still has it");
    worker.kill(&host);
    eventually("the loop device is gone", || loops(image.layers()) == 0);
}

#[test]
fn launches_at_the_same_time_mount_each_layer_once() {
    let host = Host::new();
    let small = Image::busybox(&host).with_layer(&host, "small", write_file("small", ""));
    for round in 0..4 {
        let image = Image::busybox(&host).with_copies(&host, &small.layers()[1], 5);
        let workers: Vec<Worker> = (0..4).map(|_| Worker::new(&host, &image, STAY)).collect();
        // In every second round all have seen that the layers are missing before any mounts one.
        let others = (round % 2 == 1).then(|| {
            let lock = fs::File::open(host.run_root().join("layers/lock")).unwrap();
            lock.lock_shared().unwrap();
            lock
        });
        let launches: Vec<Child> =
            workers.iter().map(|worker| start(&host, worker.launch_arguments())).collect();
        if let Some(lock) = others {
            eventually("all launches wait", || waiting_for(&lock) == launches.len());
            drop(lock);
        }
        for mut launch in launches {
            assert!(launch.wait().unwrap().success());
        }
        assert_eq!((layer_mounts(&host).len(), loops(image.layers())), (6, 6));
        let records: Vec<_> = workers.iter().flat_map(|worker| recorded(&host, worker)).collect();
        assert_eq!(records.iter().filter(|(_, mounted)| *mounted).count(), 6);
        for worker in &workers {
            worker.kill(&host);
            worker.exit_record(&host);
            worker.reap(&host, 0).expect_success();
        }
        assert!(layer_mounts(&host).is_empty());
    }
}

/// How many processes wait for a lock on this file.
fn waiting_for(file: &fs::File) -> usize {
    let inode = format!(":{} ", file.metadata().unwrap().ino());
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks.lines().filter(|line| line.contains("-> FLOCK") && line.contains(&inode)).count()
}

#[test]
fn layers_are_shared_in_any_order() {
    let host = Host::new();
    let base = Image::busybox(&host);
    let tops = ["one", "two", "three"].map(|name| {
        let image = Image::busybox(&host).with_layer(&host, name, write_file("which", name));
        image.layers()[1].clone()
    });
    let orders = [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1], [2, 0, 1], [1, 0, 2]];
    let workers = orders.map(|order| {
        let image = base.clone().with_file(&tops[order[0]]);
        let image = image.with_file(&tops[order[1]]).with_file(&tops[order[2]]);
        Worker::new(&host, &image, "cat /which; echo; echo .")
    });
    for (worker, order) in workers.iter().zip(orders) {
        worker.launch(&host).expect_success();
        assert_eq!(worker.stdout(), format!("{}\n.\n", ["one", "two", "three"][order[2]]));
    }
    assert_eq!(layer_mounts(&host).len(), 4);
}

#[test]
fn the_reaper_spares_what_a_running_container_names() {
    let host = Host::new();
    let small = Image::busybox(&host).with_layer(&host, "small", write_file("small", "here\n"));
    let image = Image::busybox(&host).with_copies(&host, &small.layers()[1], 3);
    let stop = AtomicBool::new(false);
    let mut shared = 0;
    std::thread::scope(|scope| {
        let reaper = scope.spawn(|| {
            let mut times = 0;
            while !stop.load(Ordering::Relaxed) {
                give_back(&host);
                times += 1;
            }
            times
        });
        let stopped = support::race::Stop(&stop);
        for _ in 0..30 {
            let worker = Worker::new(&host, &image, "cat /small; echo .; exec sleep 1000");
            worker.launch(&host).expect_success();
            let keys = recorded(&host, &worker);
            let all_mounted = || {
                let points = mounts(&host);
                keys.iter().all(|(key, _)| points.iter().any(|point| point.contains(key.as_str())))
            };
            for _ in 0..20 {
                assert!(all_mounted(), "a layer in use was unmounted");
            }
            shared += usize::from(keys.iter().any(|(_, mounted)| *mounted));
            assert_eq!(worker.stdout(), "here\n.\n");
            worker.kill(&host);
            worker.exit_record(&host);
            worker.reap(&host, 100).expect_success();
        }
        drop(stopped);
        assert!(reaper.join().unwrap() > 30, "no race took place");
    });
    assert!(shared > 5, "the reaper unmounted nothing between the launches");
}

#[test]
fn more_than_200_layers_at_once_are_given_back() {
    let host = Host::new();
    let small = Image::busybox(&host).with_layer(&host, "small", write_file("small", "here\n"));
    let images =
        [(), ()].map(|()| Image::busybox(&host).with_copies(&host, &small.layers()[1], 110));
    let workers = images.each_ref().map(|image| Worker::new(&host, image, STAY));
    for worker in &workers {
        worker.launch(&host).expect_success();
    }
    let devices = || images.iter().map(|image| loops(image.layers())).sum::<usize>();
    assert_eq!((layer_mounts(&host).len(), devices()), (222, 222));
    for worker in &workers {
        worker.kill(&host);
        worker.exit_record(&host);
        worker.reap(&host, 200).expect_success();
    }
    assert_eq!(layer_mounts(&host).len(), 200);
    give_back(&host);
    assert!(layer_mounts(&host).is_empty());
    eventually("all loop devices are gone", || devices() == 0);
}

/// Each with a run root of its own, so that no lock keeps them apart.
#[test]
fn launchers_take_loop_devices_from_under_each_other() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let host = Host::new();
                let image = Image::busybox(&host);
                for _ in 0..2 {
                    let image = Image::busybox(&host).with_copies(&host, &image.layers()[0], 25);
                    let worker = Worker::new(&host, &image, "");
                    worker.launch(&host).expect_success();
                    assert_eq!(loops(image.layers()), 26);
                    worker.exit_record(&host);
                    worker.reap(&host, 0).expect_success();
                }
            });
        }
    });
}

#[test]
fn what_a_container_used_until_just_now_was_used_last() {
    let host = Host::new();
    let images = ["old", "new"].map(|name| {
        Image::default().with_file(
            &Image::busybox(&host).with_layer(&host, name, write_file("x", "")).layers()[0],
        )
    });
    let workers = images.each_ref().map(|image| Worker::new(&host, image, STAY));
    let [old, new] = &workers;
    for worker in [old, new] {
        worker.launch(&host).expect_success();
    }
    for worker in [new, old] {
        worker.kill(&host);
        worker.exit_record(&host);
        worker.reap(&host, 2).expect_success();
    }
    new.reap(&host, 1).expect_success();
    eventually("the layer that was given up first is gone", || {
        images.each_ref().map(|image| loops(image.layers())) == [1, 0]
    });
}

#[test]
fn the_sweep_removes_what_a_launch_left_before_it_mounted_a_layer() {
    let host = Host::new();
    let worker = Worker::new(&host, &Image::busybox(&host), "");
    worker.launch(&host).expect_success();
    let layers = host.run_root().join("layers");
    let [half, empty] = ["a", "b"].map(|digit| layers.join(digit.repeat(64)));
    fs::create_dir_all(half.join("mnt")).unwrap();
    fs::create_dir(&empty).unwrap();
    let root = host.storm().join("workers");
    host.call(&[SUPERVISOR.name, "sweep-oci-containers", root.to_str().unwrap()]).expect_success();
    assert!(!half.exists() && !empty.exists());
    assert_eq!(layer_mounts(&host).len(), 1, "a mounted layer stays");
}
