//! The demo's image, as squashfs layers: a base system, a JDK, and what shows overlay semantics.
//!
//! The first two come from Debian's packages and are kept in the cache under a key of their
//! recipe. The third deletes a file of the base by a whiteout, hides a directory of it by an opaque
//! one, and names the image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{
    CWD, FileType, Mode, XattrFlags, llistxattr, lremovexattr, lsetxattr, makedev, mknodat,
};

use crate::{E2eError, Layout, command, files, say};

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

/// The recipes; a change of one is another layer.
const BASE_RECIPE: &str = include_str!("../image/base.sh");
const JDK_RECIPE: &str = include_str!("../image/jdk.sh");

/// The demo's layers, lowest first.
///
/// # Errors
///
/// [`E2eError`] when packages cannot be fetched or squashfs files not be made.
pub fn layers(layout: &Layout) -> Result<Vec<PathBuf>, E2eError> {
    let [base, jdk] = debian(layout)?;
    let top = layout.scratch("top.sqsh");
    top_layer(layout, &top_tree(layout), &base, &top)?;
    Ok(vec![base, jdk, top])
}

/// The base system and the JDK, from the cache unless this is the first time.
///
/// # Errors
///
/// [`E2eError`] when packages cannot be fetched or squashfs files not be made.
pub fn debian(layout: &Layout) -> Result<[PathBuf; 2], E2eError> {
    let cache = layout.cache.join("image");
    files::make_dir(&cache)?;
    let base_key = short_key(&[BASE_RECIPE, EPOCH]);
    let base = cache.join(format!("base-{base_key}.sqsh"));
    let jdk = cache.join(format!("jdk-{}.sqsh", short_key(&[&base_key, JDK_RECIPE])));
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

/// What the top layer is made of, once [`layers`] has made it.
#[must_use]
pub fn top_tree(layout: &Layout) -> PathBuf {
    layout.scratch("top")
}

fn short_key(parts: &[&str]) -> String {
    let mut key = files::digest_of(parts.concat());
    key.truncate(12);
    key
}

fn debian_layers(layout: &Layout, build: &Path, base: &Path, jdk: &Path) -> Result<(), E2eError> {
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
    strip_overlay_marks(&tree("upper"))?;
    squash(&tree("base"), base, &log)?;
    squash(&tree("upper"), jdk, &log)
}

/// The top layer. Its owner and times come from [`squash`].
fn top_layer(layout: &Layout, tree: &Path, base: &Path, top: &Path) -> Result<(), E2eError> {
    files::remove_tree(tree)?;
    let inside = |path: &str| tree.join(path.trim_start_matches('/'));
    let opaque = inside(OPAQUE);
    files::make_dir(&opaque)?;
    set_opaque(&opaque)?;
    files::write(&opaque.join(OPAQUE_ENTRY), "the rest of this directory is hidden\n")?;
    make_whiteout(&inside(WHITEOUT))?;
    files::make_dir(&tree.join("usr/lib"))?;
    files::write(
        &inside(OS_RELEASE),
        format!(
            "PRETTY_NAME=\"storm-oci demo image (Debian 12, {} layers)\"\nNAME=\"Debian GNU/Linux\"\n\
             VERSION_ID=\"12\"\nID=debian\n{VARIANT}\nIMAGE_ID={}\n",
            3,
            base.file_stem().unwrap_or_default().to_string_lossy(),
        ),
    )?;
    squash(tree, top, &layout.log("image"))
}

fn make_whiteout(path: &Path) -> Result<(), E2eError> {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)).map_err(|error| {
        E2eError::File { verb: "make whiteout", path: path.to_owned(), source: error.into() }
    })
}

fn set_opaque(path: &Path) -> Result<(), E2eError> {
    lsetxattr(path, "trusted.overlay.opaque", b"y", XattrFlags::empty()).map_err(|error| {
        E2eError::File { verb: "make opaque", path: path.to_owned(), source: error.into() }
    })
}

/// Removes what overlay notes about the file system it was made on. `opaque` is content and stays.
fn strip_overlay_marks(tree: &Path) -> Result<(), E2eError> {
    let failed = |source: std::io::Error| E2eError::File {
        verb: "change the attributes of",
        path: tree.to_owned(),
        source,
    };
    let mut names = Vec::with_capacity(4096);
    llistxattr(tree, rustix::buffer::spare_capacity(&mut names))
        .map_err(|error| failed(error.into()))?;
    for name in names.split(|byte| *byte == 0) {
        if name.starts_with(b"trusted.overlay.") && name != b"trusted.overlay.opaque" {
            lremovexattr(tree, name).map_err(|error| failed(error.into()))?;
        }
    }
    if fs::symlink_metadata(tree).map_err(failed)?.is_dir() {
        for entry in files::list(tree)? {
            strip_overlay_marks(&entry)?;
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

/// Makes an EROFS file of a tree.
///
/// # Errors
///
/// [`E2eError::Ended`] when `mkfs.erofs` fails.
pub fn make_erofs(tree: &Path, file: &Path, log: &Path) -> Result<(), E2eError> {
    let mut command = Command::new("mkfs.erofs");
    command.arg("-T").arg(EPOCH).arg("--quiet").arg(file).arg(tree);
    command::run("make an EROFS layer", &mut command, log)
}
