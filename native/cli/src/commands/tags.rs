//! `storm-oci image tag`, `untag` and `remove`.

use storm_oci_convert::publish::{RemoveOptions, Tagged};
use storm_oci_store::Reference;

use super::{opened, print_plan, references};
use crate::args::{RemoveCommand, TagCommand, UntagCommand};
use crate::failure::CliError;
use crate::output;
use crate::session::Session;

pub(super) async fn tag(session: &Session, command: TagCommand) -> Result<(), CliError> {
    let publisher = opened(session, &command.access).await?;
    let (name, tags) = (Reference::parse(&command.image)?, references(&command.tags)?);
    let image = publisher.show(&name).await?.image;
    let digest = &image.digest;
    let listed = command.tags.join(", ");
    if command.dry_run {
        output::out(&format!("would tag {digest} with {listed}\n"));
        return Ok(());
    }
    let tagged = publisher.tag(digest, &tags, None).await?;
    output::out(&match tagged {
        Tagged::Changed => format!("tagged {digest} with {listed}\n"),
        Tagged::Unchanged => format!("{digest} had the tags {listed} already\n"),
    });
    Ok(())
}

pub(super) async fn untag(session: &Session, command: UntagCommand) -> Result<(), CliError> {
    let publisher = opened(session, &command.access).await?;
    let tags = references(&command.tags)?;
    let known = publisher.tags().await?;
    let unknown: Vec<_> = tags.iter().filter(|tag| known.digest(tag).is_none()).collect();
    if let Some(tag) = unknown.first() {
        // Half of what was asked for is more than nothing, and harder to see.
        publisher.show(tag).await?;
        return Err(CliError::Usage(format!("`{tag}` is a digest, not a tag")));
    }
    if command.dry_run {
        output::out(&format!("would take away {}\n", command.tags.join(", ")));
        return Ok(());
    }
    for (tag, digest) in publisher.untag(&tags).await? {
        output::out(&format!("took {tag} from {digest}\n"));
    }
    Ok(())
}

pub(super) async fn remove(session: &Session, command: RemoveCommand) -> Result<(), CliError> {
    let publisher = opened(session, &command.access).await?;
    let options = RemoveOptions {
        all_tags: command.all_tags,
        grace: command.grace,
        dry_run: command.dry_run,
    };
    let plan = publisher.remove(&references(&command.images)?, &options).await?;
    print_plan(command.format, &plan, command.dry_run);
    Ok(())
}
