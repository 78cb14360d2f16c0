//! The demo's image, as a builder of images would hand it over: an OCI layout of a base system, a
//! JDK, and what shows overlay semantics.
//!
//! The first two layers come from Debian's packages and are kept in the cache under a key of their
//! recipe. The third deletes a file of the base by a whiteout, hides a directory of it by an opaque
//! one, and names the image.

mod oci_layout;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use rustix::fs::{lgetxattr, llistxattr, lremovexattr};

use crate::{E2eError, Layout, command, files, say};
pub use oci_layout::Archive;

/// A file of Debian's `base-files` that the top layer deletes.
pub const WHITEOUT: &str = "/etc/issue.net";
/// A directory of Debian's `base-files` whose content the top layer replaces.
pub const OPAQUE: &str = "/etc/skel";
/// The only entry of [`OPAQUE`] that a container may see.
pub const OPAQUE_ENTRY: &str = "from-the-top-layer";
/// Says which image this is.
pub const OS_RELEASE: &str = "/usr/lib/os-release";
/// What [`OS_RELEASE`] says; no host has it.
pub const VARIANT: &str = "VARIANT_ID=storm-oci-demo";

/// Any fixed time: a layer's bytes depend on its content alone.
const EPOCH: &str = "1700000000";

/// How `tar` makes a layer; see tar(1).
const ARCHIVE_OPTIONS: &str = "--format=pax --sort=name --numeric-owner --xattrs \
    --xattrs-include=* --pax-option=delete=atime,delete=ctime";

/// The recipes; a change of one is another layer.
const BASE_RECIPE: &str = include_str!("../image/base.sh");
const JDK_RECIPE: &str = include_str!("../image/jdk.sh");

/// What hides everything of lower layers in its directory, in an archive.
const OPAQUE_MARK: &str = ".wh..wh..opq";
/// What begins the name of an entry that hides one of lower layers, in an archive.
const WHITEOUT_PREFIX: &str = ".wh.";

/// Makes the demo's image; gives the reference that `storm-oci image publish` takes.
///
/// # Errors
///
/// [`E2eError`] when packages cannot be fetched or archives not be made.
pub fn build(layout: &Layout) -> Result<String, E2eError> {
    let [base, jdk] = debian(layout)?;
    let tree = layout.scratch("top");
    make_top_tree(&tree)?;
    let top = Archive::at(&layout.scratch, "top");
    top.make(&tree, &layout.log("image"))?;
    oci_layout::write(&layout.scratch("oci-layout"), &[base, jdk, top])
}

/// The base system and the JDK, from the cache unless this is the first time.
///
/// # Errors
///
/// As [`build`].
pub fn debian(layout: &Layout) -> Result<[Archive; 2], E2eError> {
    let cache = layout.cache.join("image");
    files::make_dir(&cache)?;
    let base_key = base_key();
    let base = Archive::at(&cache, &format!("base-{base_key}"));
    let jdk = Archive::at(&cache, &format!("jdk-{}", short_key(&[&base_key, JDK_RECIPE])));
    if base.exists() && jdk.exists() {
        say::line(format!("base and JDK layers from {}", cache.display()));
    } else {
        let build = cache.join("build");
        files::remove_tree(&build)?;
        let made = debian_layers(layout, &build, &base, &jdk);
        files::remove_tree(&build)?;
        made?;
    }
    Ok([base, jdk])
}

fn base_key() -> String {
    short_key(&[BASE_RECIPE, ARCHIVE_OPTIONS])
}

fn short_key(parts: &[&str]) -> String {
    let mut key = files::digest_of(parts.concat());
    key.truncate(12);
    key
}

fn debian_layers(
    layout: &Layout,
    build: &Path,
    base: &Archive,
    jdk: &Archive,
) -> Result<(), E2eError> {
    let log = layout.log("image");
    let recipes = layout.repository.join("tests/e2e/image");
    let tree = |name: &str| build.join(name);
    for name in ["base", "upper", "work", "root"] {
        files::make_dir(&tree(name))?;
    }
    say::line("making the base layer with debootstrap");
    command::run(
        "make the base layer",
        Command::new(recipes.join("base.sh")).arg(tree("base")),
        &log,
    )?;
    say::line("making the JDK layer: openjdk-17-jdk-headless, with jstack and jmap");
    let mut jdk_recipe = Command::new("unshare");
    jdk_recipe.args(["--mount", "--propagation", "private", "--"]).arg(recipes.join("jdk.sh"));
    for name in ["base", "upper", "work", "root"] {
        jdk_recipe.arg(tree(name));
    }
    command::run("make the JDK layer", &mut jdk_recipe, &log)?;
    base.make(&tree("base"), &log)?;
    jdk.make(&tree("upper"), &log)
}

/// The top layer's tree, with the marks of an archive.
fn make_top_tree(tree: &Path) -> Result<(), E2eError> {
    let inside = |path: &str| tree.join(path.trim_start_matches('/'));
    let opaque = inside(OPAQUE);
    files::make_dir(&opaque)?;
    files::write(&opaque.join(OPAQUE_MARK), "")?;
    files::write(&opaque.join(OPAQUE_ENTRY), "the rest of this directory is hidden\n")?;
    hide(&inside(WHITEOUT))?;
    files::make_dir(&tree.join("usr/lib"))?;
    files::write(
        &inside(OS_RELEASE),
        format!(
            "PRETTY_NAME=\"storm-oci demo image (Debian 12, 3 layers)\"\nNAME=\"Debian GNU/Linux\"\n\
             VERSION_ID=\"12\"\nID=debian\n{VARIANT}\nIMAGE_ID=base-{}\n",
            base_key(),
        ),
    )
}

/// Hides what lower layers have at this path.
fn hide(path: &Path) -> Result<(), E2eError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    files::write(&path.with_file_name(format!("{WHITEOUT_PREFIX}{name}")), "")
}

/// Turns overlay's marks into those of an archive, and removes what overlay notes about the file
/// system it was made on.
///
/// # References
///
/// OCI image spec, `layer.md`, "Whiteouts".
fn mark_as_archive(tree: &Path) -> Result<(), E2eError> {
    let failed = |source: std::io::Error| E2eError::File {
        verb: "change the marks of",
        path: tree.to_owned(),
        source,
    };
    let metadata = fs::symlink_metadata(tree).map_err(failed)?;
    if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
        files::remove(tree)?;
        return hide(tree);
    }
    let mut names = Vec::with_capacity(4096);
    llistxattr(tree, rustix::buffer::spare_capacity(&mut names))
        .map_err(|error| failed(error.into()))?;
    for name in names.split(|byte| *byte == 0).filter(|name| name.starts_with(b"trusted.overlay."))
    {
        let mut value = Vec::with_capacity(1);
        let is_opaque = name == b"trusted.overlay.opaque"
            && lgetxattr(tree, name, rustix::buffer::spare_capacity(&mut value)).is_ok()
            && value == b"y";
        lremovexattr(tree, name).map_err(|error| failed(error.into()))?;
        if is_opaque {
            files::write(&tree.join(OPAQUE_MARK), "")?;
        }
    }
    if metadata.is_dir() {
        for entry in files::list(tree)? {
            mark_as_archive(&entry)?;
        }
    }
    Ok(())
}

/// Makes a squashfs file of a tree. The file appears whole or not at all.
///
/// # Errors
///
/// [`E2eError::Ended`] when `mksquashfs` fails.
pub fn squash(tree: &Path, file: &Path, log: &Path) -> Result<(), E2eError> {
    let part = file.with_extension("part");
    files::remove(&part)?;
    let mut command = Command::new("mksquashfs");
    command
        .arg(tree)
        .arg(&part)
        .args(["-comp", "zstd", "-noappend", "-no-progress", "-quiet"])
        .env("SOURCE_DATE_EPOCH", EPOCH);
    command::run("make a squashfs layer", &mut command, log)?;
    files::rename(&part, file)
}
