//! `storm-oci image list`, `show` and `verify`.

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use serde_json::value::RawValue;
use storm_oci_convert::publish::{Image, ImageDetails};
use storm_oci_store::Reference;

use super::{described, opened, references};
use crate::args::{ImagesCommand, ShowCommand, VerifyCommand};
use crate::failure::CliError;
use crate::output;
use crate::progress::short;
use crate::session::Session;

/// An image of a listing.
#[derive(Serialize)]
struct ImageRow {
    digest: String,
    tags: Vec<String>,
    comments: Vec<String>,
    layers: usize,
    size: u64,
    published: Option<String>,
    problems: Vec<String>,
}

impl ImageRow {
    fn new(image: &Image) -> Self {
        let published = image.modified_millis.and_then(DateTime::from_timestamp_millis);
        Self {
            digest: image.digest.to_string(),
            tags: image.tags.iter().map(ToString::to_string).collect(),
            comments: image.comments.clone(),
            layers: image.layers,
            size: image.size,
            published: published.map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true)),
            problems: described(&image.problems),
        }
    }

    fn state(&self) -> &'static str {
        if self.problems.is_empty() { "ok" } else { "broken" }
    }
}

pub(super) async fn list(session: &Session, command: ImagesCommand) -> Result<(), CliError> {
    let publisher = opened(session, &command.access).await?;
    let images = publisher.list().await?;
    let images: Vec<_> =
        images.iter().filter(|image| command.all || !image.tags.is_empty()).collect();
    let rows: Vec<_> = images.iter().map(|image| ImageRow::new(image)).collect();
    output::result(command.format, &rows, || {
        let cells: Vec<_> = images
            .iter()
            .zip(&rows)
            .map(|(image, row)| {
                vec![
                    if row.tags.is_empty() { "-".to_owned() } else { row.tags.join(",") },
                    short(&image.digest),
                    row.layers.to_string(),
                    output::size(row.size),
                    row.published.clone().unwrap_or_else(|| "-".to_owned()),
                    row.state().to_owned(),
                ]
            })
            .collect();
        output::table(&["TAGS", "DIGEST", "LAYERS", "SIZE", "PUBLISHED", "STATE"], &cells)
    });
    Ok(())
}

/// An image in full.
#[derive(Serialize)]
struct ImageDocument<'a> {
    #[serde(flatten)]
    image: ImageRow,
    config: Option<String>,
    layer_files: Vec<LayerRow>,
    manifest: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct LayerRow {
    digest: String,
    size: u64,
    file: String,
    file_size: Option<u64>,
    file_sha256: Option<String>,
}

pub(super) async fn show(session: &Session, command: ShowCommand) -> Result<(), CliError> {
    let publisher = opened(session, &command.access).await?;
    let details = publisher.show(&Reference::parse(&command.image)?).await?;
    let document = document(&details);
    output::result(command.format, &document, || text(&document));
    Ok(())
}

fn document(details: &ImageDetails) -> ImageDocument<'_> {
    let layers = details.layers.iter().map(|layer| LayerRow {
        digest: layer.descriptor.digest.to_string(),
        size: layer.descriptor.size,
        file: layer.file.to_string(),
        file_size: layer.size,
        file_sha256: layer.content.as_ref().map(|content| content.sha256.as_hex().to_owned()),
    });
    ImageDocument {
        image: ImageRow::new(&details.image),
        config: details.config.as_ref().map(ToString::to_string),
        layer_files: layers.collect(),
        manifest: details.manifest.as_deref().and_then(|json| serde_json::from_str(json).ok()),
    }
}

fn text(document: &ImageDocument<'_>) -> String {
    let image = &document.image;
    let absent = || "-".to_owned();
    let mut lines = vec![
        format!("digest: {}", image.digest),
        format!("tags: {}", if image.tags.is_empty() { absent() } else { image.tags.join(", ") }),
        format!("published: {}", image.published.clone().unwrap_or_else(absent)),
        format!("size: {}", output::size(image.size)),
        format!("state: {}", image.state()),
        format!("config: {}", document.config.clone().unwrap_or_else(absent)),
    ];
    lines.extend(image.comments.iter().map(|comment| format!("from: {comment}")));
    for layer in &document.layer_files {
        let size = layer.file_size.map_or_else(|| "missing".to_owned(), output::size);
        lines.push(format!("layer: {} ({size})", layer.digest));
    }
    lines.extend(image.problems.iter().map(|problem| format!("problem: {problem}")));
    lines.join("\n") + "\n"
}

/// What was found of an image.
#[derive(Serialize)]
struct VerifiedRow {
    digest: String,
    tags: Vec<String>,
    problems: Vec<String>,
}

pub(super) async fn verify(session: &Session, command: VerifyCommand) -> Result<(), CliError> {
    let publisher = opened(session, &command.access).await?;
    let verified = publisher.verify(&references(&command.images)?).await?;
    let rows: Vec<_> = verified
        .iter()
        .map(|image| VerifiedRow {
            digest: image.digest.to_string(),
            tags: image.tags.iter().map(ToString::to_string).collect(),
            problems: described(&image.problems),
        })
        .collect();
    output::result(command.format, &rows, || {
        let mut text = String::new();
        for row in &rows {
            let state = if row.problems.is_empty() { "ok" } else { "broken" };
            text.push_str(format!("{state} {} {}", row.digest, row.tags.join(",")).trim_end());
            text.push('\n');
            for problem in &row.problems {
                text.push_str(&format!("  {problem}\n"));
            }
        }
        text
    });
    match rows.iter().filter(|row| !row.problems.is_empty()).count() {
        0 => Ok(()),
        broken => Err(CliError::Found(format!(
            "cannot vouch for {broken} of {} images: what is in the store is not what it should be; \
             hint: publish them again",
            rows.len()
        ))),
    }
}
