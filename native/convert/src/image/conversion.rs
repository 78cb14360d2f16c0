//! The layers of one image, lowest first: converted, and written to the store meanwhile.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use storm_oci_store::{Content, Digest, LayerFile, LayerFormat};
use tokio::task::JoinHandle;

use super::blob::{self, Blob};
use super::place::Place;
use super::{Event, Observer, PublishOptions, expected, squashfs};
use crate::ConvertError;
use crate::layer::{self, ConvertedLayer, Parents};
use crate::publish::{LayerState, PublishedLayer, Publisher};
use crate::source::{ImageSource, SourceLayer};

/// One image's conversion.
///
/// One layer is converted at a time, on all processors; meanwhile the one before goes into the
/// store.
#[derive(Debug)]
pub(super) struct Conversion {
    source: Arc<dyn ImageSource>,
    publisher: Arc<Publisher>,
    options: PublishOptions,
    observer: Arc<dyn Observer>,
    /// The layers so far.
    below: Vec<SourceLayer>,
    /// The directories of all layers so far; `None` once one of them was not read.
    parents: Option<Parents>,
    writing: Option<JoinHandle<Result<PublishedLayer, ConvertError>>>,
    files: BTreeMap<Digest, PublishedLayer>,
    converted: usize,
}

impl Conversion {
    pub(super) fn new(
        source: Arc<dyn ImageSource>,
        publisher: Arc<Publisher>,
        options: &PublishOptions,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            source,
            publisher,
            options: options.clone(),
            observer,
            below: Vec::new(),
            parents: Some(Parents::default()),
            writing: None,
            files: BTreeMap::new(),
            converted: 0,
        }
    }

    /// Goes on over a layer if the store has it, and converts it if not.
    pub(super) async fn keep_or_convert(&mut self, layer: SourceLayer) -> Result<(), ConvertError> {
        if self.options.format == LayerFormat::Erofs {
            // It is named by what it will be.
            return self.convert(layer).await;
        }
        let state = self.publisher.layer_state(&squashfs(&layer)).await?;
        let LayerState::Present(content) = state else {
            return self.convert(layer).await;
        };
        self.observer.told(Event::Kept { layer: &layer.digest });
        self.files.insert(layer.digest.clone(), published(&layer, squashfs(&layer), content));
        self.below.push(layer);
        self.parents = None;
        Ok(())
    }

    /// Converts a layer, and begins to write it to the store.
    pub(super) async fn convert(&mut self, layer: SourceLayer) -> Result<(), ConvertError> {
        self.observer.told(Event::Converting { layer: &layer.digest, size: layer.size });
        let guess = self.parents.is_none();
        let known = self.parents.take().unwrap_or_default();
        let mut work = self.convert_over(&layer, known).await?;
        let wrong_guess = guess && work.layer.implicit_parents > 0;
        if wrong_guess {
            // It has files in directories that it does not describe: a layer below does, and was
            // not read since the store has it.
            let below = self.read_below().await?;
            work = self.convert_over(&layer, below).await?;
        }
        if wrong_guess || !guess {
            self.parents = Some(work.parents);
        }
        for warning in work.layer.warnings.iter() {
            self.observer.told(Event::Warning { layer: &layer.digest, warning });
        }
        self.converted += 1;
        self.finish_writing().await?;
        let (publisher, observer) = (Arc::clone(&self.publisher), Arc::clone(&self.observer));
        let (written, file, content) = (layer.clone(), work.file, work.content);
        let format = self.options.format;
        self.writing = Some(tokio::spawn(async move {
            let (digest, size) = (&written.digest, content.size);
            observer.told(Event::Writing { layer: digest, size });
            let name = match format {
                LayerFormat::Squashfs => squashfs(&written),
                LayerFormat::Erofs => LayerFile { digest: content.sha256.clone(), format },
            };
            let (content, _) = publisher.publish_layer(&name, file, &content).await?;
            let file_size = content.size;
            observer.told(Event::Written { layer: digest, size: written.size, file_size });
            Ok(published(&written, name, content))
        }));
        self.below.push(layer);
        Ok(())
    }

    /// Waits until all is in the store. Gives the layers' files by the digests of their blobs, and
    /// how many of them were converted.
    pub(super) async fn finish(
        mut self,
    ) -> Result<(BTreeMap<Digest, PublishedLayer>, usize), ConvertError> {
        self.finish_writing().await?;
        Ok((self.files, self.converted))
    }

    async fn finish_writing(&mut self) -> Result<(), ConvertError> {
        if let Some(writing) = self.writing.take() {
            let ended = ConvertError::TaskEnded { operation: "write a layer" };
            let published = writing.await.map_err(|_| ended)??;
            self.files.insert(published.blob.clone(), published);
        }
        Ok(())
    }

    async fn convert_over(
        &self,
        layer: &SourceLayer,
        mut parents: Parents,
    ) -> Result<Work, ConvertError> {
        let (expected, options) = (expected(layer), self.options.clone());
        let place = Place::make(&options).map_err(|cause| self.no_file("make", cause))?;
        let copy = place.squashfs.try_clone().map_err(|cause| self.no_file("open", cause))?;
        self.read(layer, true, move |blob| {
            let layer = layer::convert(blob, &expected, &mut parents, copy, &options.layers)?;
            let (file, content) = place.finish(&layer)?;
            Ok(Work { layer, parents, file, content })
        })
        .await
    }

    /// The directories of all layers so far.
    async fn read_below(&self) -> Result<Parents, ConvertError> {
        let mut parents = Parents::default();
        for layer in &self.below {
            let (expected, limits) = (expected(layer), self.options.layers.limits.clone());
            parents = self
                .read(layer, false, move |blob| {
                    layer::scan(blob, &expected, &mut parents, &limits)?;
                    Ok(parents)
                })
                .await?;
        }
        Ok(parents)
    }

    async fn read<T: Send + 'static>(
        &self,
        layer: &SourceLayer,
        told: bool,
        work: impl FnOnce(Blob) -> Result<T, ConvertError> + Send + 'static,
    ) -> Result<T, ConvertError> {
        let observer = told.then(|| Arc::clone(&self.observer));
        blob::read(self.source.as_ref(), layer, observer, work).await
    }

    fn no_file(&self, operation: &'static str, cause: io::Error) -> ConvertError {
        ConvertError::WorkingDir { operation, path: self.options.working_dir.clone(), cause }
    }
}

/// A layer that was converted, and not yet written to the store.
struct Work {
    layer: ConvertedLayer,
    parents: Parents,
    file: File,
    content: Content,
}

fn published(layer: &SourceLayer, file: LayerFile, content: Content) -> PublishedLayer {
    PublishedLayer { blob: layer.digest.clone(), blob_size: layer.size, file, content }
}
