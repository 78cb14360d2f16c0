//! Images to launch workers from: files of squashfs and EROFS layers, made once for each program.
#![allow(clippy::unwrap_used, reason = "an image that cannot be made is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Host, SCRATCH, SUPERVISOR, outcome, settle};

/// A static program that is every command of a small system.
const BUSYBOX: &str = "/bin/busybox";

/// Commands of the base layer.
const APPLETS: [&str; 17] = [
    "sh", "cat", "ls", "sleep", "id", "grep", "touch", "mkdir", "readlink", "test", "kill", "dd",
    "echo", "stat", "true", "hostname", "env",
];

/// Layers being built, lowest first.
#[derive(Clone, Default)]
pub(crate) struct Image {
    layers: Vec<PathBuf>,
}

impl Image {
    /// An image with a shell and a few commands.
    pub(crate) fn busybox(host: &Host) -> Self {
        Self::busybox_without(host, "")
    }

    /// The same without one of its directories.
    pub(crate) fn busybox_without(host: &Host, left_out: &str) -> Self {
        // Each test has file systems of its own; making the same layer again takes a second on
        // an emulated processor.
        static MADE: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = made.entry(left_out.to_owned()).or_insert_with(|| {
            let base = Self { layers: Vec::new() }
                .with_layer(host, "base", |root| fill_base(root, left_out));
            fs::read(&base.layers[0]).unwrap()
        });
        let file = layer_file(host, "base");
        write_by_another_process(&file, bytes);
        settle(&file, Some(SUPERVISOR), 0o644);
        Self { layers: vec![file] }
    }

    /// Puts a squashfs layer on top: `fill` makes its content.
    pub(crate) fn with_layer(self, host: &Host, name: &str, fill: impl FnOnce(&Path)) -> Self {
        self.with_built(&layer_file(host, name), fill, squash)
    }

    /// Puts an EROFS layer in `directory` on top: `fill` makes its content.
    pub(crate) fn with_erofs(
        self,
        directory: &Path,
        options: &[&str],
        fill: impl FnOnce(&Path),
    ) -> Self {
        let own = format!("{}-{}.erofs", std::process::id(), unique());
        self.with_built(&directory.join(own), fill, |content, file| {
            let mut command = Command::new("mkfs.erofs");
            command.args(options).args([file, content]);
            outcome::run(command).expect_success();
        })
    }

    fn with_built(
        mut self,
        file: &Path,
        fill: impl FnOnce(&Path),
        build: impl FnOnce(&Path, &Path),
    ) -> Self {
        let content = Path::new(SCRATCH).join("build");
        fs::create_dir(&content).unwrap();
        fs::set_permissions(&content, fs::Permissions::from_mode(0o755)).unwrap();
        fill(&content);
        build(&content, file);
        fs::remove_dir_all(&content).unwrap();
        settle(file, Some(SUPERVISOR), 0o644);
        self.layers.push(file.to_owned());
        self
    }

    /// Puts copies of a layer on top, each a file of its own.
    pub(crate) fn with_copies(mut self, host: &Host, layer: &Path, count: usize) -> Self {
        for _ in 0..count {
            let copy = layer_file(host, "copy");
            copy_layer(layer, &copy);
            settle(&copy, Some(SUPERVISOR), 0o644);
            self.layers.push(copy);
        }
        self
    }

    /// Puts a file that exists on top.
    pub(crate) fn with_file(mut self, file: &Path) -> Self {
        self.layers.push(file.to_owned());
        self
    }

    /// The layers' files, lowest first.
    pub(crate) fn layers(&self) -> &[PathBuf] {
        &self.layers
    }
}

/// Writes a layer's file, which nobody may have open for writing when it is mounted: a descriptor
/// of this process would be inherited by what other threads start just then.
fn write_by_another_process(file: &Path, bytes: &[u8]) {
    let mut command = Command::new("tee");
    let mut tee =
        command.arg(file).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("start tee");
    tee.stdin.take().expect("a pipe").write_all(bytes).unwrap();
    assert!(tee.wait().unwrap().success(), "tee {file:?}");
}

/// Makes another file of a layer.
pub(crate) fn copy_layer(layer: &Path, copy: &Path) {
    write_by_another_process(copy, &fs::read(layer).unwrap());
}

fn fill_base(root: &Path, left_out: &str) {
    let directories = ["bin", "etc", "proc", "sys", "dev", "tmp", "mnt", "var"];
    for directory in directories.iter().filter(|name| **name != left_out) {
        fs::create_dir(root.join(directory)).unwrap();
    }
    fs::copy(BUSYBOX, root.join("bin/busybox"))
        .expect("busybox-static is one of the tests' packages");
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    symlink("busybox", root.join("bin/bash")).unwrap();
    if left_out != "etc" {
        fs::write(root.join("etc/os-release"), "ID=soci\n").unwrap();
    }
}

fn layer_file(host: &Host, name: &str) -> PathBuf {
    layer_directory(host).join(format!("{}-{}-{name}.sqsh", std::process::id(), unique()))
}

/// Where the tests' layers lie: a directory that only the supervisor can write.
pub(crate) fn layer_directory(host: &Host) -> PathBuf {
    let directory = host.storm().join("layers");
    if !directory.exists() {
        host.directory(&directory, Some(SUPERVISOR), 0o755);
    }
    directory
}

/// What a request says of a layer's file.
pub(crate) fn media_type(layer: &Path) -> &'static str {
    if layer.extension().is_some_and(|extension| extension == "erofs") {
        "application/vnd.erofs.layer.v1"
    } else {
        "application/vnd.squashfs"
    }
}

/// Makes a squashfs file.
pub(crate) fn squash(content: &Path, file: &Path) {
    let mut command = Command::new("mksquashfs");
    command.args([content, file]).args([
        "-noappend",
        "-no-progress",
        "-quiet",
        "-processors",
        "1",
        "-comp",
        "lzo",
    ]);
    outcome::run(command).expect_success();
}

/// A number that nothing else of this program has got.
pub(crate) fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Marks a directory as hiding everything below it in lower layers.
pub(crate) fn set_opaque(directory: &Path) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(directory, "trusted.overlay.opaque", b"y", flags).unwrap();
}
