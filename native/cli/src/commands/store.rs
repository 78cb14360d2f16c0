//! `storm-oci store`.

use storm_oci_convert::publish::GcOptions;

use super::{opened, print_plan, writing};
use crate::access::Access;
use crate::args::{AccessArgs, GcCommand};
use crate::failure::CliError;
use crate::output;
use crate::session::Session;

pub(super) async fn init(
    session: &Session,
    access: &AccessArgs,
    dry_run: bool,
) -> Result<(), CliError> {
    let publisher = session.publisher(&Access::of(access)?, writing(access))?;
    let there = publisher.exists().await?;
    let (store, tag_map) = (publisher.top_level(), publisher.tag_map());
    if !dry_run {
        publisher.init().await?;
    }
    output::out(&match (there, dry_run) {
        (true, _) => format!("{store} is an image store already, with tag map {tag_map}\n"),
        (false, true) => format!("would make image store {store}, with tag map {tag_map}\n"),
        (false, false) => format!("made image store {store}, with tag map {tag_map}\n"),
    });
    Ok(())
}

pub(super) async fn gc(session: &Session, command: GcCommand) -> Result<(), CliError> {
    let publisher = opened(session, &command.access).await?;
    let options =
        GcOptions { grace: command.grace, dry_run: command.dry_run, force: command.force };
    let plan = publisher.gc(&options).await?;
    print_plan(command.format, &plan, command.dry_run);
    Ok(())
}
