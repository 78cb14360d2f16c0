//! `--check-magic-file`: a file that tells how an image was built.

use storm_oci_convert::Limits;
use storm_oci_convert::image;
use storm_oci_convert::layer::Sight;
use storm_oci_convert::source::{self, SourceSettings};
use storm_oci_store::Platform;

use crate::failure::CliError;

/// Refuses an image in which `path` is not a file with something in it.
pub(super) async fn check(reference: &str, path: &str, limits: &Limits) -> Result<(), CliError> {
    let source = source::open(reference, &SourceSettings::from_environment())?;
    match image::look_for(source.as_ref(), path, &Platform::host(), limits).await? {
        Sight::File { size: 1.. } => Ok(()),
        _ => Err(CliError::Found(format!(
            "cannot accept image `{reference}`: it has no `{path}` with something in it"
        ))),
    }
}
