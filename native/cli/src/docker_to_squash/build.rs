//! The script's commands that pull images.

use std::fs;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use storm_oci_convert::Limits;
use storm_oci_convert::image::PublishOptions;
use storm_oci_convert::layer::LayerOptions;
use storm_oci_convert::publish::Publisher;
use storm_oci_convert::source::{self, SourceImage, SourceSettings};
use storm_oci_convert::squashfs::SquashfsOptions;
use storm_oci_store::{LayerFormat, Location, Platform, Reference};

use super::{Script, image_and_tags, magic_file};
use crate::access::Access;
use crate::args::Format;
use crate::commands::{Image, PublishRequest, publish_images, references};
use crate::failure::CliError;
use crate::output;
use crate::session::Writing;

pub(super) async fn pull_build_push_update(
    script: &Script<'_>,
    images_and_tags: &[String],
) -> Result<(), CliError> {
    let publisher = script.store(&script.options.hdfs_root).await?;
    let images = parsed(script, images_and_tags)?;
    check_magic_files(script, &images).await?;
    let room = WorkingDir::make(&script.options.working_dir)?;
    publish(script, images, publisher, room.path()).await
}

async fn publish(
    script: &Script<'_>,
    images: Vec<Image>,
    publisher: Arc<Publisher>,
    working_dir: &Path,
) -> Result<(), CliError> {
    let request = PublishRequest {
        images,
        publisher,
        source: SourceSettings::from_environment(),
        options: options(script, working_dir),
        dry_run: false,
        format: Format::Text,
    };
    publish_images(script.session, request).await
}

/// Each image becomes a store of its own in the working directory, under its own name.
pub(super) async fn pull_build(
    script: &Script<'_>,
    images_and_tags: &[String],
) -> Result<(), CliError> {
    let images = parsed(script, images_and_tags)?;
    check_magic_files(script, &images).await?;
    for (image, argument) in images.into_iter().zip(images_and_tags) {
        let (typed, _) = image_and_tags(argument)?;
        let built = Built::of(script, typed)?;
        let publisher =
            script.session.publisher(&built.access, Writing::local(script.options.force))?;
        publisher.init().await?;
        let images = vec![Image { tags: vec![built.name.clone()], ..image }];
        publish(script, images, publisher, &built.directory).await?;
    }
    Ok(())
}

pub(super) async fn push_update(
    script: &Script<'_>,
    images_and_tags: &[String],
) -> Result<(), CliError> {
    let to = script.store(&script.options.hdfs_root).await?;
    for argument in images_and_tags {
        let (typed, tags) = image_and_tags(argument)?;
        let built = Built::of(script, typed)?;
        let from = script.session.publisher(&built.access, Writing::local(false))?;
        from.must_exist().await?;
        let image = from.show(&built.name).await?.image;
        let name = Reference::parse(image.digest.as_hex())?;
        let digest = from.copy_to(&to, &name, &references(&tags)?).await?.digest;
        output::out(&format!("pushed {typed} = {digest}, tags {}\n", tags.join(", ")));
    }
    Ok(())
}

/// What a registry has under a name.
pub(super) async fn resolve(script: &Script<'_>, image: &str) -> Result<SourceImage, CliError> {
    let source = source::open(&reference(script, image), &SourceSettings::from_environment())?;
    Ok(source.resolve(&Platform::host(), &limits(script)).await?)
}

/// Where `pull-build` puts an image, for `push-update` to find.
struct Built {
    directory: PathBuf,
    access: Access,
    /// The image's tag there.
    name: Reference,
}

impl Built {
    fn of(script: &Script<'_>, image: &str) -> Result<Self, CliError> {
        let name = image.rsplit('/').next().unwrap_or(image).replace('@', ":");
        // The name has a colon, so that a relative path would be taken for one with a scheme.
        let directory = path::absolute(&script.options.working_dir)
            .map_err(|cause| CliError::Local {
                operation: "find",
                path: script.options.working_dir.clone(),
                cause,
            })?
            .join(&name);
        let top_level = Location::parse(&directory.to_string_lossy())?;
        Ok(Self { directory, access: Access::local(top_level), name: Reference::parse(&name)? })
    }
}

fn parsed(script: &Script<'_>, images_and_tags: &[String]) -> Result<Vec<Image>, CliError> {
    images_and_tags
        .iter()
        .map(|argument| {
            let (image, tags) = image_and_tags(argument)?;
            if tags.is_empty() {
                return Err(CliError::Usage(format!("`{argument}` names no tag")));
            }
            Ok(Image { reference: reference(script, image), tags: references(&tags)? })
        })
        .collect()
}

fn reference(script: &Script<'_>, image: &str) -> String {
    match script.options.pull_format.as_str() {
        "docker" => image.to_owned(),
        transport => format!("{transport}:{image}"),
    }
}

fn limits(script: &Script<'_>) -> Limits {
    Limits {
        layers: script.options.max_layers,
        image_bytes: script.options.max_size,
        ..Limits::default()
    }
}

fn options(script: &Script<'_>, working_dir: &Path) -> PublishOptions {
    PublishOptions {
        platform: Platform::host(),
        layers: LayerOptions {
            limits: limits(script),
            squashfs: SquashfsOptions::default(),
            strict: false,
        },
        format: LayerFormat::Squashfs,
        force: script.options.force,
        working_dir: working_dir.to_owned(),
    }
}

async fn check_magic_files(script: &Script<'_>, images: &[Image]) -> Result<(), CliError> {
    if script.options.check_magic_file {
        for image in images {
            magic_file::check(&image.reference, &script.options.magic_file, &limits(script))
                .await?;
        }
    }
    Ok(())
}

/// The working directory, which goes again if it was not there before.
struct WorkingDir {
    path: PathBuf,
    made: bool,
}

impl WorkingDir {
    fn make(path: &Path) -> Result<Self, CliError> {
        let made = !path.exists();
        fs::create_dir_all(path).map_err(|cause| CliError::Local {
            operation: "make directory",
            path: path.to_owned(),
            cause,
        })?;
        Ok(Self { path: path.to_owned(), made })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkingDir {
    fn drop(&mut self) {
        if self.made {
            // Only if it is empty: what is in it is somebody's.
            let _ = fs::remove_dir(&self.path);
        }
    }
}
