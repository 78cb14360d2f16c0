//! The commands.

mod copy;
mod images;
pub(crate) mod manual;
mod publish;
mod store;
mod tags;

use std::sync::Arc;

use serde::Serialize;
use storm_oci_convert::publish::{Plan, Problem, Publisher};
use storm_oci_store::Reference;

use crate::access::Access;
use crate::args::{AccessArgs, Format, ImageCommand, StoreCommand};
use crate::failure::CliError;
use crate::output;
use crate::session::{Session, Writing};
pub(crate) use publish::{Image, PublishRequest, publish_images};

/// `storm-oci image`.
pub(crate) async fn image(session: &Session, command: ImageCommand) -> Result<(), CliError> {
    match command {
        ImageCommand::Publish(command) => publish::publish(session, command).await,
        ImageCommand::Convert(command) => publish::convert(session, command).await,
        ImageCommand::Push(command) => copy::push(session, command).await,
        ImageCommand::List(command) => images::list(session, command).await,
        ImageCommand::Show(command) => images::show(session, command).await,
        ImageCommand::Verify(command) => images::verify(session, command).await,
        ImageCommand::Tag(command) => tags::tag(session, command).await,
        ImageCommand::Untag(command) => tags::untag(session, command).await,
        ImageCommand::Remove(command) => tags::remove(session, command).await,
        ImageCommand::Copy(command) => copy::copy(session, command).await,
    }
}

/// `storm-oci store`.
pub(crate) async fn store(session: &Session, command: StoreCommand) -> Result<(), CliError> {
    match command {
        StoreCommand::Init { access, dry_run } => store::init(session, &access, dry_run).await,
        StoreCommand::Gc(command) => store::gc(session, command).await,
    }
}

/// The store that the options name. It must be there: one that is not would look empty.
async fn opened(session: &Session, args: &AccessArgs) -> Result<Arc<Publisher>, CliError> {
    let publisher = session.publisher(&Access::of(args)?, writing(args))?;
    publisher.must_exist().await?;
    Ok(publisher)
}

/// How the options say that a store is written.
fn writing(args: &AccessArgs) -> Writing {
    let (replication, lock_wait) = (args.replication, args.lock_wait);
    Writing { replication, lock_wait, verify_existing: false, force: false }
}

/// Tags and digests as they were typed.
pub(crate) fn references<T: AsRef<str>>(texts: &[T]) -> Result<Vec<Reference>, CliError> {
    texts.iter().map(|text| Ok(Reference::parse(text.as_ref())?)).collect()
}

/// What is wrong with something in the store, for programs.
fn described(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// What was removed, or would be.
#[derive(Serialize)]
struct Removed {
    dry_run: bool,
    bytes: u64,
    removed: Vec<RemovedObject>,
    kept: Vec<String>,
}

#[derive(Serialize)]
struct RemovedObject {
    location: String,
    size: u64,
    why: String,
}

/// Prints what a plan removed, or would.
pub(crate) fn print_plan(format: Format, plan: &Plan, dry_run: bool) {
    let removed = plan.remove.iter().map(|removal| RemovedObject {
        location: removal.location.to_string(),
        size: removal.size,
        why: removal.why.to_string(),
    });
    let document = Removed {
        dry_run,
        bytes: plan.bytes(),
        removed: removed.collect(),
        kept: described(&plan.problems),
    };
    output::result(format, &document, || {
        let verb = if dry_run { "would remove" } else { "removed" };
        let mut text = String::new();
        for object in &document.removed {
            text.push_str(&format!("{verb} {}: {}\n", object.location, object.why));
        }
        for problem in &document.kept {
            text.push_str(&format!("kept what may need it: {problem}\n"));
        }
        let size = output::size(document.bytes);
        text.push_str(&format!("{verb} {} files, {size}\n", document.removed.len()));
        text
    });
}
