//! Images that others built: Go modules carry them for their own tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{once, run};
use crate::error::{Doing, TestbedError};
use crate::scratch::make_dir;

const FANAL: (&str, &str, &str) =
    ("github.com/aquasecurity/fanal", "v0.0.0-20220621143759-7f9185d5d01d", "test/testdata");
const DIVE: (&str, &str, &str) = ("github.com/wagoodman/dive", "v0.13.1", ".data");

const AMD64: &str = "linux/amd64";
const ARM64: &str = "linux/arm64";

/// How an image is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kept {
    /// As `docker save` writes it, maybe compressed.
    DockerArchive,
    /// As an OCI image layout.
    OciLayout,
}

/// An image as its builder left it.
#[derive(Clone, Debug)]
pub struct RealImage {
    /// A name for messages.
    pub name: &'static str,
    /// How it is kept.
    pub kept: Kept,
    /// The archive, or the directory of the layout.
    pub path: PathBuf,
    /// The same, or an image of the same files for programs that know no zstd.
    pub without_zstd: PathBuf,
    /// What it runs on, as `system/architecture`.
    pub platform: &'static str,
}

impl RealImage {
    /// The reference that names it for skopeo, and for us.
    #[must_use]
    pub fn reference(&self) -> String {
        let transport = match self.kept {
            Kept::DockerArchive => "docker-archive",
            Kept::OciLayout => "oci",
        };
        format!("{transport}:{}", self.path.display())
    }
}

/// Alpine and BusyBox, Debian without a shell, and more layers on each; built by Docker, BuildKit
/// and kaniko, with each compression. Small.
///
/// # Errors
///
/// [`TestbedError`] when Go cannot fetch a module.
pub fn real_images() -> Result<Vec<RealImage>, TestbedError> {
    use Kept::{DockerArchive, OciLayout};
    let (fanal, dive) = (files_of(FANAL)?, files_of(DIVE)?);
    let image = |name, kept, directory: &Path, file: &str, platform| {
        let path = directory.join(file);
        let without_zstd = directory.join(file.replace("-zstd-", "-uncompressed-"));
        RealImage { name, kept, path, without_zstd, platform }
    };
    Ok(vec![
        image("Alpine 3.10", DockerArchive, &fanal, "alpine-310.tar.gz", AMD64),
        image("Alpine 3.11", DockerArchive, &fanal, "alpine-311.tar.gz", AMD64),
        image("layers on Alpine", DockerArchive, &fanal, "image1.tar", AMD64),
        image("distroless Debian", DockerArchive, &fanal, "distroless.tar.gz", AMD64),
        image("layers on distroless Debian", DockerArchive, &fanal, "vuln-image.tar.gz", AMD64),
        image("layers on BusyBox", DockerArchive, &dive, "test-docker-image.tar", AMD64),
        image("kaniko's layers on BusyBox", DockerArchive, &dive, "test-kaniko-image.tar", AMD64),
        image("Docker's later archive", DockerArchive, &dive, "test-oci-docker-image.tar", AMD64),
        image("gzip", OciLayout, &dive, "test-oci-gzip-image", ARM64),
        image("eStargz", OciLayout, &dive, "test-oci-estargz-image", ARM64),
        image("no compression", OciLayout, &dive, "test-oci-uncompressed-image", ARM64),
        image("zstd", OciLayout, &dive, "test-oci-zstd-image", ARM64),
    ])
}

/// The layout in an archive of `docker save`, of a version that wrote the layers into the manifest in
/// another order than the config has them. Programs that believe the manifest unpack a tree that
/// nobody built.
///
/// # Errors
///
/// As [`real_images`].
pub fn misordered_image() -> Result<RealImage, TestbedError> {
    let path = files_of(DIVE)?.join("test-oci-docker-image");
    let (name, kept, without_zstd) = ("another order", Kept::OciLayout, path.clone());
    Ok(RealImage { name, kept, path, without_zstd, platform: AMD64 })
}

/// A directory with the files of a directory of a module; archives of layouts unpacked.
fn files_of((module, version, directory): (&str, &str, &str)) -> Result<PathBuf, TestbedError> {
    let (_, name) = module.rsplit_once('/').unwrap_or(("", module));
    once(&format!("images-of-{name}-{version}"), |target| {
        let cache = target.join("modules");
        let pinned = format!("{module}@{version}");
        let mut go = Command::new("go");
        go.args(["mod", "download", "-modcacherw", &pinned]);
        go.env("GOMODCACHE", &cache).current_dir(target);
        run(&format!("fetch the module {module}"), &mut go)?;
        for file in fs::read_dir(cache.join(pinned).join(directory)).doing("list the module")? {
            let file = file.doing("list the module")?;
            let (path, name) = (file.path(), file.file_name().to_string_lossy().into_owned());
            if let Some(layout) = name.strip_suffix(".tar").filter(|name| name.contains("-oci-")) {
                let layout = target.join(layout);
                make_dir(&layout)?;
                let mut tar = Command::new("tar");
                run("unpack a layout", tar.arg("-C").arg(&layout).arg("-xf").arg(&path))?;
            }
            if name.contains(".tar") {
                fs::copy(&path, target.join(&name)).doing(format_args!("copy {name}"))?;
            }
        }
        fs::remove_dir_all(&cache).doing("remove the module")
    })
}
