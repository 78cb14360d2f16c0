//! From tag to manifest digest: the host's tag map, then the cluster's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::close_tags::close_tags;
use crate::digest::Digest;
use crate::error::{ErrorKind, Object, StoreError};
use crate::location::Location;
use crate::reference::Reference;
use crate::remote::{self, Remotes, Stat};
use crate::settings::StoreSettings;
use crate::tag_map::TagMap;

/// A map of this size has some hundred thousand tags.
const TAG_MAP_LIMIT: u64 = 64 << 20;
/// How many malformed lines of one file are named one by one.
const LINES_REPORTED: usize = 20;

/// Both tag maps, re-read when they changed.
#[derive(Debug)]
pub(crate) struct Tags {
    refresh_interval: Duration,
    remotes: Arc<Remotes>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When all files were last looked at with success.
    checked: Option<Instant>,
    /// In the order of the search.
    sources: Vec<Source>,
}

/// One tag map file.
#[derive(Debug)]
struct Source {
    location: Location,
    /// A missing local map is an empty one: hosts without one share a configuration with those
    /// that have one.
    optional: bool,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Never read so far, and why.
    Unread(Option<StoreError>),
    /// An optional file that is not there.
    Absent,
    /// As last read.
    Read { stat: Stat, map: TagMap },
}

impl Tags {
    pub(crate) fn new(settings: &StoreSettings, remotes: Arc<Remotes>) -> Result<Self, StoreError> {
        let mut sources = Vec::new();
        if let Some(path) = &settings.local_tag_map {
            let text = path.to_string_lossy();
            sources.push(Source::new(Location::parse(&text)?, true));
        }
        if let Some(location) = &settings.remote_tag_map {
            sources.push(Source::new(location.clone(), false));
        }
        if sources.is_empty() {
            return Err(StoreError::NoTagMap);
        }
        let state = Mutex::new(State { checked: None, sources });
        Ok(Self { refresh_interval: settings.refresh_interval, remotes, state })
    }

    /// The digest of the tag's manifest. A tag that is a digest needs no map.
    pub(crate) async fn resolve(&self, tag: &Reference) -> Result<Digest, StoreError> {
        if let Some(digest) = tag.digest() {
            return Ok(digest);
        }
        let mut state = self.state.lock().await;
        let fresh = |at: &Instant| at.elapsed() < self.refresh_interval;
        if !state.checked.as_ref().is_some_and(fresh) {
            state.refresh(&self.remotes).await;
        }
        state.find(tag)
    }
}

impl State {
    async fn refresh(&mut self, remotes: &Remotes) {
        let mut unread = false;
        for source in &mut self.sources {
            source.refresh(remotes).await;
            unread |= matches!(source.content, Content::Unread(_));
        }
        // With nothing to go by, the next launch tries again at once.
        self.checked = (!unread).then(Instant::now);
    }

    fn find(&self, tag: &Reference) -> Result<Digest, StoreError> {
        let mut maps = Vec::new();
        let mut skipped = Vec::new();
        for source in &self.sources {
            match &source.content {
                // The tag may be in there, so later maps cannot answer for it.
                Content::Unread(Some(error)) => return Err(error.clone()),
                Content::Unread(None) | Content::Absent => {}
                Content::Read { map, .. } => {
                    if let Some(digest) = map.digest(tag) {
                        return Ok(digest.clone());
                    }
                    maps.push(map);
                    skipped.extend(map.skipped(&source.location));
                }
            }
        }
        let searched: Vec<_> =
            self.sources.iter().map(|source| source.location.to_string()).collect();
        Err(StoreError::TagNotFound {
            reference: tag.clone(),
            searched: searched.join(" and "),
            close: close_tags(tag, maps.iter().flat_map(|map| map.tags()))
                .into_iter()
                .cloned()
                .collect(),
            skipped: skipped.join(" and "),
        })
    }
}

impl Source {
    fn new(location: Location, optional: bool) -> Self {
        Self { location, optional, content: Content::Unread(None) }
    }

    /// Reads the file if it changed. A file that cannot be read any more stays as it was.
    async fn refresh(&mut self, remotes: &Remotes) {
        match self.read_if_changed(remotes).await {
            Ok(None) => {}
            Ok(Some((stat, update))) => {
                let file = &self.location;
                tracing::info!(%file, tags = update.len(), "read a tag map");
                self.report_malformed(&update);
                let (map, kept) = match &self.content {
                    Content::Read { map, .. } => map.updated(update),
                    Content::Unread(_) | Content::Absent => (update, 0),
                };
                if kept > 0 {
                    tracing::warn!(%file, kept, "kept tags of the map as it was before: the file is empty or has malformed lines");
                }
                self.content = Content::Read { stat, map };
            }
            Err(error) if self.optional && error.kind() == ErrorKind::NotFound => {
                if !matches!(self.content, Content::Absent) {
                    tracing::warn!(file = %self.location, "there is no such tag map");
                }
                self.content = Content::Absent;
            }
            Err(error) => match &mut self.content {
                Content::Unread(reason) => *reason = Some(error),
                Content::Absent | Content::Read { .. } => {
                    tracing::warn!("using the tag map as last read: {error}");
                }
            },
        }
    }

    async fn read_if_changed(
        &self,
        remotes: &Remotes,
    ) -> Result<Option<(Stat, TagMap)>, StoreError> {
        let store = remotes.open(&self.location)?;
        let store = store.as_ref();
        if let Content::Read { stat: known, .. } = &self.content {
            let stat = store
                .stat(&self.location)
                .await
                .map_err(|error| remote::missing(error, Object::TagMap, &self.location))?;
            if stat == *known {
                return Ok(None);
            }
        }
        let (stat, bytes) =
            remote::read_document(store, Object::TagMap, &self.location, TAG_MAP_LIMIT).await?;
        Ok(Some((stat, TagMap::parse(&bytes))))
    }

    fn report_malformed(&self, map: &TagMap) {
        let file = &self.location;
        for line in map.malformed.iter().take(LINES_REPORTED) {
            tracing::warn!(%file, line = line.number, "malformed tag map line: {}", line.problem);
        }
        if let Some(more @ 1..) = map.malformed.len().checked_sub(LINES_REPORTED) {
            tracing::warn!(%file, "{more} more malformed tag map lines");
        }
    }
}

impl TagMap {
    /// The lines of `file` that could not be used, for messages.
    fn skipped(&self, file: &Location) -> Option<String> {
        let numbers: Vec<_> = self
            .malformed
            .iter()
            .take(LINES_REPORTED)
            .map(|line| line.number.to_string())
            .collect();
        let more = if self.malformed.len() > LINES_REPORTED { " and more" } else { "" };
        let lines = match self.malformed.len() {
            0 => return None,
            1 => "line",
            _ => "lines",
        };
        Some(format!("{lines} {}{more} of {file}", numbers.join(", ")))
    }
}
