//! How far a conversion is: bars on a terminal, lines elsewhere.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use storm_oci_convert::image::{Event, Observer};
use storm_oci_store::Digest;

use crate::output;

/// How often a bar is drawn at most.
const DRAWN_EVERY: Duration = Duration::from_millis(100);
/// The digits of a digest that people compare.
const SHORT: usize = 12;

/// Tells what happens.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nothing.
    Silent,
    /// One line for each thing that is done.
    Lines,
    /// A bar for each layer that is worked on, and a line for each that is done.
    Bars { all: MultiProgress, bars: Mutex<HashMap<Digest, ProgressBar>> },
}

impl Progress {
    /// What suits the place that stderr goes to.
    pub(crate) fn new(quiet: bool) -> Self {
        if quiet {
            return Self::Silent;
        }
        let target = ProgressDrawTarget::stderr();
        if target.is_hidden() {
            return Self::Lines;
        }
        Self::Bars { all: MultiProgress::with_draw_target(target), bars: Mutex::default() }
    }

    fn line(&self, line: &str) {
        match self {
            Self::Silent => {}
            Self::Lines => output::note(line),
            Self::Bars { all, .. } => {
                // A terminal that went away is no reason to stop.
                let _ = all.println(line);
            }
        }
    }

    fn bar(&self, layer: &Digest, change: impl FnOnce(&ProgressBar)) {
        if let Self::Bars { bars, .. } = self
            && let Some(bar) = locked(bars).get(layer)
        {
            change(bar);
        }
    }

    fn begin(&self, layer: &Digest, size: u64, verb: &'static str) {
        let Self::Bars { all, bars } = self else { return };
        let style = ProgressStyle::with_template(
            "  {prefix} {msg:10} [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec}",
        );
        let bar = all.add(ProgressBar::new(size));
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(short(layer));
        bar.set_message(verb);
        bar.enable_steady_tick(DRAWN_EVERY);
        if let Some(old) = locked(bars).insert(layer.clone(), bar) {
            old.finish_and_clear();
        }
    }

    fn end(&self, layer: &Digest, line: &str) {
        if let Self::Bars { bars, .. } = self
            && let Some(bar) = locked(bars).remove(layer)
        {
            bar.finish_and_clear();
        }
        self.line(line);
    }
}

impl Observer for Progress {
    fn told(&self, event: Event<'_>) {
        match event {
            Event::Resolved { name, digest, layers, bytes } => self
                .line(&format!("image {name}: {digest}, {layers} layers, {}", output::size(bytes))),
            Event::Kept { layer } => {
                self.line(&format!("  {} is in the store", short(layer)));
            }
            Event::Converting { layer, size } => self.begin(layer, size, "converting"),
            Event::Read { layer, bytes } => self.bar(layer, |bar| bar.inc(bytes)),
            Event::Writing { layer, size } => self.begin(layer, size, "writing"),
            Event::Written { layer, size, file_size } => self.end(
                layer,
                &format!(
                    "  {} converted: {} of archive, {} of layer",
                    short(layer),
                    output::size(size),
                    output::size(file_size)
                ),
            ),
            Event::Warning { layer, warning } => self.line(&format!(
                "warning: layer {}: {}, {} times, first at `{}`",
                short(layer),
                warning.kind,
                warning.count,
                warning.first
            )),
            _ => {}
        }
    }
}

/// The first digits of a digest.
pub(crate) fn short(digest: &Digest) -> String {
    digest.as_hex().chars().take(SHORT).collect()
}

fn locked(
    bars: &Mutex<HashMap<Digest, ProgressBar>>,
) -> MutexGuard<'_, HashMap<Digest, ProgressBar>> {
    // The map is whole at every point where a panic could strike.
    bars.lock().unwrap_or_else(PoisonError::into_inner)
}
