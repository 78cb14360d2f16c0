//! Where a layer is converted.

use std::fs::File;
use std::io;

use storm_oci_store::{Content, Digest, LayerFormat};
use tempfile::TempDir;

use super::PublishOptions;
use crate::ConvertError;
use crate::erofs::{self, ErofsError};
use crate::layer::ConvertedLayer;

const SQUASHFS: &str = "layer.sqsh";
const EROFS: &str = "layer.erofs";

/// A file for a layer. It has no name, so that nothing is left of it, unless `mkfs.erofs` must find
/// it.
pub(super) struct Place {
    pub(super) squashfs: File,
    erofs: Option<TempDir>,
}

impl Place {
    pub(super) fn make(options: &PublishOptions) -> io::Result<Self> {
        match options.format {
            LayerFormat::Squashfs => {
                Ok(Self { squashfs: tempfile::tempfile_in(&options.working_dir)?, erofs: None })
            }
            LayerFormat::Erofs => {
                let directory = tempfile::tempdir_in(&options.working_dir)?;
                let squashfs = File::create_new(directory.path().join(SQUASHFS))?;
                Ok(Self { squashfs, erofs: Some(directory) })
            }
        }
    }

    /// The layer's file in its own format, and what it is.
    pub(super) fn finish(self, layer: &ConvertedLayer) -> Result<(File, Content), ConvertError> {
        let Some(directory) = self.erofs else {
            return Ok((self.squashfs, layer.file.clone()));
        };
        let path = directory.path().join(EROFS);
        let made = erofs::make(&directory.path().join(SQUASHFS), &path)?;
        let file = File::open(&path).map_err(|source| ErofsError::Read { path, source })?;
        Ok((file, Content { sha256: Digest::from(made.sha256), size: made.size }))
    }
}
