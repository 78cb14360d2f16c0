//! `storm-oci image copy` and `push`: from one store to another.

use std::sync::Arc;

use serde::Serialize;
use storm_oci_convert::publish::{Copied, LayerState, PublishError, Publisher, Tagged};
use storm_oci_store::{Digest, Location, Reference};

use super::{opened, references, writing};
use crate::access::{Access, place};
use crate::args::{CopyCommand, Format, PushCommand};
use crate::failure::CliError;
use crate::output;
use crate::session::{Session, Writing};

/// An image that was copied, or would be.
#[derive(Serialize)]
struct CopiedRow {
    digest: String,
    tags: Vec<String>,
    /// How many layers the other store did not have.
    layers: Option<usize>,
    bytes: Option<u64>,
    tags_changed: Option<bool>,
    error: Option<String>,
}

pub(super) async fn copy(session: &Session, command: CopyCommand) -> Result<(), CliError> {
    let from = Access::at(&command.access, &command.from)?;
    let to = Access::at(&command.access, &command.to)?;
    let from = session.publisher(&from, writing(&command.access))?;
    let to = session.publisher(&to, writing(&command.access))?;
    from.must_exist().await?;
    to.must_exist().await?;
    let names = references(&command.images)?;
    carry(&from, &to, &names, command.dry_run, command.format).await
}

pub(super) async fn push(session: &Session, command: PushCommand) -> Result<(), CliError> {
    let from = Location::parse(&place(&command.from.to_string_lossy()))?;
    let from = session.publisher(&Access::local(from), Writing::local(false))?;
    from.must_exist().await?;
    let to = opened(session, &command.access).await?;
    let names = references(&command.tags)?;
    carry(&from, &to, &names, command.dry_run, command.format).await
}

/// Copies these images, or all that have a tag.
async fn carry(
    from: &Arc<Publisher>,
    to: &Arc<Publisher>,
    names: &[Reference],
    dry_run: bool,
    format: Format,
) -> Result<(), CliError> {
    let mut rows = Vec::new();
    if dry_run {
        for name in named(from, names).await? {
            rows.push(planned(from, to, &name).await?);
        }
    } else if names.is_empty() {
        for (digest, outcome) in from.copy_all_to(to).await? {
            let tags = from.tags().await?.tags(&digest);
            rows.push(CopiedRow::of(&digest, &tags, outcome));
        }
    } else {
        for name in names {
            let copied = from.copy_to(to, name, &[]).await?;
            let digest = copied.digest.clone();
            rows.push(CopiedRow::of(&digest, std::slice::from_ref(name), Ok(copied)));
        }
    }
    output::result(format, &rows, || rows.iter().map(|row| row.text(dry_run)).collect());
    match rows.iter().filter(|row| row.error.is_some()).count() {
        0 => Ok(()),
        failed => Err(CliError::Found(format!(
            "cannot copy {failed} of {} images; hint: the others are copied, and the same command \
             goes on with these",
            rows.len()
        ))),
    }
}

async fn named(from: &Publisher, names: &[Reference]) -> Result<Vec<Reference>, CliError> {
    if names.is_empty() { Ok(from.tags().await?.all_tags()) } else { Ok(names.to_vec()) }
}

async fn planned(
    from: &Publisher,
    to: &Publisher,
    name: &Reference,
) -> Result<CopiedRow, CliError> {
    let details = from.show(name).await?;
    let (mut layers, mut bytes) = (0, 0);
    for layer in &details.layers {
        if !matches!(to.inspect(&layer.file).await?, LayerState::Present(_)) {
            layers += 1;
            bytes += layer.size.unwrap_or_default();
        }
    }
    Ok(CopiedRow {
        digest: details.image.digest.to_string(),
        tags: vec![name.to_string()],
        layers: Some(layers),
        bytes: Some(bytes),
        tags_changed: None,
        error: None,
    })
}

impl CopiedRow {
    fn of(digest: &Digest, tags: &[Reference], outcome: Result<Copied, PublishError>) -> Self {
        let error = outcome.as_ref().err().map(ToString::to_string);
        let copied = outcome.ok();
        Self {
            digest: digest.to_string(),
            tags: tags.iter().map(ToString::to_string).collect(),
            layers: copied.as_ref().map(|copied| copied.layers),
            bytes: copied.as_ref().map(|copied| copied.bytes),
            tags_changed: copied.as_ref().map(|copied| copied.tagged == Tagged::Changed),
            error,
        }
    }

    fn text(&self, dry_run: bool) -> String {
        let verb = if dry_run { "would copy" } else { "copied" };
        let tags = self.tags.join(", ");
        match &self.error {
            Some(error) => format!("cannot copy {tags}: {error}\n"),
            None => format!(
                "{verb} {tags} = {} ({} layers, {})\n",
                self.digest,
                self.layers.unwrap_or_default(),
                output::size(self.bytes.unwrap_or_default())
            ),
        }
    }
}
