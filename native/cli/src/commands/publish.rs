//! `storm-oci image publish` and `convert`.

use std::env;
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::Serialize;
use storm_oci_convert::Limits;
use storm_oci_convert::image::{self, Observer, PublishOptions, PublishedImage};
use storm_oci_convert::layer::LayerOptions;
use storm_oci_convert::publish::{LayerState, Publisher, Tagged};
use storm_oci_convert::source::{self, ImageSource, SourceSettings};
use storm_oci_convert::squashfs::{Compression, SquashfsOptions};
use storm_oci_store::{LayerFormat, Location, Platform, Reference};

use super::{references, writing};
use crate::access::{Access, place};
use crate::args::{
    CompressionArg, ConvertArgs, ConvertCommand, Format, LayerFormatArg, PublishCommand, SourceArgs,
};
use crate::failure::CliError;
use crate::output;
use crate::session::{Session, Writing};

/// The transports whose references say nothing that could be a tag.
const LOCAL: [&str; 3] = ["oci:", "docker-archive:", "dir:"];

/// An image and the tags that it shall have.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) reference: String,
    pub(crate) tags: Vec<Reference>,
}

/// What is to be published, and how.
pub(crate) struct PublishRequest {
    pub(crate) images: Vec<Image>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) source: SourceSettings,
    pub(crate) options: PublishOptions,
    pub(crate) dry_run: bool,
    pub(crate) format: Format,
}

pub(super) async fn publish(session: &Session, command: PublishCommand) -> Result<(), CliError> {
    let images = paired(&command.references, &command.tags)?;
    let access = Access::of(&command.access)?;
    let writing = Writing {
        verify_existing: command.verify_existing,
        force: command.force,
        ..writing(&command.access)
    };
    let publisher = session.publisher(&access, writing)?;
    publisher.must_exist().await?;
    let request = PublishRequest {
        images,
        publisher,
        source: source_settings(&command.source),
        options: options(&command.source, &command.convert, access.platform, command.force)?,
        dry_run: command.dry_run,
        format: command.format,
    };
    publish_images(session, request).await
}

pub(super) async fn convert(session: &Session, command: ConvertCommand) -> Result<(), CliError> {
    let top_level = Location::parse(&place(&command.output.to_string_lossy()))?;
    let access = Access::local(top_level);
    let writing = Writing::local(command.force);
    let publisher = session.publisher(&access, writing)?;
    if !command.dry_run {
        publisher.init().await?;
    }
    let request = PublishRequest {
        images: paired(std::slice::from_ref(&command.reference), &command.tags)?,
        publisher,
        source: source_settings(&command.source),
        options: options(&command.source, &command.convert, access.platform, command.force)?,
        dry_run: command.dry_run,
        format: command.format,
    };
    publish_images(session, request).await
}

/// Publishes images one after another, and prints what became of them.
pub(crate) async fn publish_images(
    session: &Session,
    request: PublishRequest,
) -> Result<(), CliError> {
    let progress: Arc<dyn Observer> = session.progress();
    let mut rows = Vec::new();
    for image in &request.images {
        let source = source::open(&image.reference, &request.source)?;
        let row = if request.dry_run {
            planned(&request, image, source.as_ref(), progress.as_ref()).await?
        } else {
            let published = image::publish(
                Arc::from(source),
                Arc::clone(&request.publisher),
                &image.tags,
                &request.options,
                Arc::clone(&progress),
            );
            ImageRow::published(image, &published.await?)
        };
        if request.format == Format::Text {
            output::out(&row.text(request.dry_run));
        }
        rows.push(row);
    }
    if request.format == Format::Json {
        output::result(Format::Json, &rows, String::new);
    }
    Ok(())
}

async fn planned(
    request: &PublishRequest,
    image: &Image,
    source: &dyn ImageSource,
    progress: &dyn Observer,
) -> Result<ImageRow, CliError> {
    let plan = image::plan(source, &request.publisher, &request.options, progress).await?;
    let layers = plan.layers.iter().map(|(layer, state)| LayerRow {
        digest: layer.digest.to_string(),
        size: layer.size,
        file: None,
        file_size: None,
        file_sha256: None,
        in_store: matches!(state, LayerState::Present(_)) && !request.options.force,
    });
    let layers: Vec<_> = layers.collect();
    Ok(ImageRow {
        reference: image.reference.clone(),
        digest: None,
        source_digest: plan.image.digest.to_string(),
        tags: image.tags.iter().map(ToString::to_string).collect(),
        converted: layers.iter().filter(|layer| !layer.in_store).count(),
        layers,
        tags_changed: None,
    })
}

/// An image that was published, or would be.
#[derive(Serialize)]
struct ImageRow {
    reference: String,
    /// Of the manifest in the store; a dry run does not know it.
    digest: Option<String>,
    source_digest: String,
    tags: Vec<String>,
    /// How many layers were converted, or would be.
    converted: usize,
    layers: Vec<LayerRow>,
    tags_changed: Option<bool>,
}

#[derive(Serialize)]
struct LayerRow {
    digest: String,
    size: u64,
    file: Option<String>,
    file_size: Option<u64>,
    file_sha256: Option<String>,
    in_store: bool,
}

impl ImageRow {
    fn published(image: &Image, published: &PublishedImage) -> Self {
        let layers = published.layers.iter().map(|layer| LayerRow {
            digest: layer.blob.to_string(),
            size: layer.blob_size,
            file: Some(layer.file.to_string()),
            file_size: Some(layer.content.size),
            file_sha256: Some(layer.content.sha256.as_hex().to_owned()),
            in_store: true,
        });
        Self {
            reference: image.reference.clone(),
            digest: Some(published.digest.to_string()),
            source_digest: published.image.digest.to_string(),
            tags: image.tags.iter().map(ToString::to_string).collect(),
            converted: published.converted,
            layers: layers.collect(),
            tags_changed: Some(published.tagged == Tagged::Changed),
        }
    }

    fn text(&self, dry_run: bool) -> String {
        let tags = self.tags.join(", ");
        let of = self.layers.len();
        match &self.digest {
            Some(digest) if !dry_run => format!(
                "published {tags} = {digest} ({} of {of} layers converted)\n",
                self.converted
            ),
            _ => format!(
                "would publish {tags} from {} ({} of {of} layers to convert)\n",
                self.source_digest, self.converted
            ),
        }
    }
}

/// Which tags are whose.
fn paired(references_typed: &[String], tags: &[String]) -> Result<Vec<Image>, CliError> {
    let split = |tags: &str| -> Result<Vec<Reference>, CliError> {
        references(&tags.split(',').map(str::trim).collect::<Vec<_>>())
    };
    let image =
        |reference: &String, tags: Vec<Reference>| Image { reference: reference.clone(), tags };
    match (references_typed, tags) {
        (typed, []) => typed
            .iter()
            .map(|reference| Ok(image(reference, vec![default_tag(reference)?])))
            .collect(),
        ([reference], tags) => {
            let tags: Vec<Vec<_>> =
                tags.iter().map(|tags| split(tags)).collect::<Result<_, _>>()?;
            Ok(vec![image(reference, tags.concat())])
        }
        (typed, tags) if typed.len() == tags.len() => typed
            .iter()
            .zip(tags)
            .map(|(reference, tags)| Ok(image(reference, split(tags)?)))
            .collect(),
        (typed, tags) => Err(CliError::Usage(format!(
            "{} images and {} --tag: give one --tag for each image, in their order, or none",
            typed.len(),
            tags.len()
        ))),
    }
}

/// A registry's reference is a tag that topologies can name it by.
fn default_tag(reference: &str) -> Result<Reference, CliError> {
    let name = reference.strip_prefix("docker://").unwrap_or(reference);
    if LOCAL.iter().any(|transport| name.starts_with(transport)) || name.contains('@') {
        return Err(CliError::Usage(format!(
            "`{reference}` says nothing that could be a tag: give it one with --tag"
        )));
    }
    Ok(Reference::parse(name)?)
}

fn source_settings(args: &SourceArgs) -> SourceSettings {
    let mut settings = SourceSettings::from_environment();
    settings.plain_http = args.plain_http;
    settings.ca_file.clone_from(&args.ca_file);
    if args.authfile.is_some() {
        settings.auth_file.clone_from(&args.authfile);
    }
    settings
}

fn options(
    source: &SourceArgs,
    args: &ConvertArgs,
    platform: Platform,
    force: bool,
) -> Result<PublishOptions, CliError> {
    let platform = match &source.platform {
        Some(text) => Platform::parse(text)?,
        None => platform,
    };
    let squashfs = SquashfsOptions {
        compression: compression(args)?,
        threads: args.threads.unwrap_or_else(processors),
        ..SquashfsOptions::default()
    };
    let limits = Limits {
        layers: args.max_layers,
        image_bytes: args.max_size,
        layer_bytes: args.max_layer_size,
        layer_entries: args.max_layer_files,
        ..Limits::default()
    };
    Ok(PublishOptions {
        platform,
        layers: LayerOptions { limits, squashfs, strict: args.strict },
        format: match args.layer_format {
            LayerFormatArg::Squashfs => LayerFormat::Squashfs,
            LayerFormatArg::Erofs => LayerFormat::Erofs,
        },
        force,
        working_dir: args.working_dir.clone().unwrap_or_else(env::temp_dir),
    })
}

fn compression(args: &ConvertArgs) -> Result<Compression, CliError> {
    let (name, levels, default) = match args.compression {
        CompressionArg::Gzip => ("gzip", 1..=9, 5),
        CompressionArg::Zstd => ("zstd", 1..=22, 3),
    };
    let level = args.compression_level.unwrap_or(default);
    if !levels.contains(&level) {
        return Err(CliError::Usage(format!(
            "--compression-level {level}: {name} has {} to {}",
            levels.start(),
            levels.end()
        )));
    }
    Ok(match args.compression {
        CompressionArg::Gzip => Compression::Gzip { level },
        CompressionArg::Zstd => Compression::Zstd { level },
    })
}

/// One thread a processor; the one that reads needs little.
pub(crate) fn processors() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(references: &[&str], tags: &[&str]) -> Result<Vec<String>, CliError> {
        let own = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let images = paired(&own(references), &own(tags))?;
        let text = |image: &Image| {
            let tags: Vec<_> = image.tags.iter().map(ToString::to_string).collect();
            format!("{} {}", image.reference, tags.join("+"))
        };
        Ok(images.iter().map(text).collect())
    }

    #[test]
    fn tags_go_to_their_images() {
        assert_eq!(pairs(&["a"], &["x:1,x:2", "y"]).unwrap(), ["a x:1+x:2+y"]);
        assert_eq!(pairs(&["a", "b"], &["x", "y,z"]).unwrap(), ["a x", "b y+z"]);
        assert_eq!(
            pairs(&["r.example.org:5000/a:1", "docker://b"], &[]).unwrap(),
            ["r.example.org:5000/a:1 r.example.org:5000/a:1", "docker://b b"]
        );
        let digest = format!("a@sha256:{}", "0".repeat(64));
        for (references, tags) in [
            (&["a", "b"][..], &["x"][..]),
            (&["a"], &["x,,y"]),
            (&["a"], &["x y"]),
            (&["oci:x:1"], &[]),
            (&["dir:x"], &[]),
            (&[digest.as_str()], &[]),
        ] {
            assert!(pairs(references, tags).is_err(), "{references:?} {tags:?}");
        }
    }
}
