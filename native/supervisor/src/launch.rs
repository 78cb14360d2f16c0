//! One launch, step by step. Whatever a user or an image does wrong ends in an outcome.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use storm_oci_request::{HostPath, LaunchRecord, LaunchRequest, LaunchState};
use tracing::{error, info, warn};

use crate::config::is_missing;
use crate::containers::Containers;
use crate::documents::{LaunchDocument, LaunchOutcome};
use crate::error::SupervisorError;
use crate::image::LocalImage;
use crate::launcher::LONG;
use crate::limits::Limits;
use crate::mounts;
use crate::phases::{self, Phases};
use crate::records::ExitFile;
use crate::request;
use crate::scope;
use crate::watch::Watched;
use crate::worker::Worker;
use crate::workfiles;

/// The launcher's verb.
const RUN: &str = "run-oci-container";

/// Makes an error of a panic, so that a fault costs one worker: libraries that read images panic
/// now and then, and an exception on Storm's thread would end the supervisor. Nothing is left half
/// changed in this process, as nothing of a container lives in it.
fn guarded<T>(launch: impl FnOnce() -> Result<T, SupervisorError>) -> Result<T, SupervisorError> {
    catch_unwind(AssertUnwindSafe(launch)).unwrap_or_else(|payload| {
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a panic without words");
        Err(SupervisorError::Panicked(crate::text::shown(message)))
    })
}

impl Containers {
    /// Launches, and turns an error into an outcome, an exit event and a log line.
    pub(crate) fn launch_worker(&self, document: &LaunchDocument) -> LaunchOutcome {
        let _scope = scope::launch(document).entered();
        let began = Instant::now();
        match guarded(|| self.try_launch(document)) {
            Ok((record, phases)) => {
                let phases = phases.documents();
                self.metrics.launched(began.elapsed(), phases, mounted(&record));
                LaunchOutcome::Started {
                    started: true,
                    container_id: record.container_id.to_string(),
                    pid: record.init.map_or(0, |init| init.pid),
                    phases: phases.to_vec(),
                }
            }
            Err(error) => self.failed(document, &error),
        }
    }

    fn try_launch(
        &self,
        document: &LaunchDocument,
    ) -> Result<(LaunchRecord, Phases), SupervisorError> {
        let worker = Worker::parse(document)?;
        let mut phases = Phases::default();
        let image = self.image(document, &mut phases)?;
        let request = phases.measure("request", || {
            let request = self.compose(&worker, &image)?;
            workfiles::write_image_note(&worker, &image);
            workfiles::write_request(&worker, &request)
        })?;
        phases.measure(phases::LAUNCHER, || self.run_launcher(&worker, &image, &request))?;
        let (record, exit) = self.record_of_launched(&worker)?;
        phases.extend(&record.phases);
        let topology_id = Some(document.topology_id.clone());
        let artifacts = Path::new(worker.artifacts_root.as_str());
        let known = self.known(&record, Some(artifacts), &phases, topology_id, Some(document.port));
        self.warn_of_limits(&worker, &record, &known.limits);
        let limits = known.limits.to_string();
        self.watch.add(Watched::new(&record, exit, known));
        let fetched = image.layers.iter().filter(|layer| layer.fetched()).count();
        let mounted = mounted(&record);
        info!(
            target: "storm_oci.launch",
            "launched for topology {} as {} from image {}: {} layers, {fetched} fetched, \
             {mounted} mounted; limits: {limits}; {phases}",
            crate::text::shown(&worker.topology_id),
            worker.user,
            image.tag,
            image.layers.len(),
        );
        Ok((record, phases))
    }

    /// Tells of each limit that does not hold as it was asked for.
    fn warn_of_limits(&self, worker: &Worker, record: &LaunchRecord, found: &Limits) {
        // The cgroup of a container that has ended already may be gone, and its limits with it.
        let runs = self.hierarchies.processes(&record.cgroup).is_ok_and(|pids| !pids.is_empty());
        let reservation = self.reservation(worker.id.as_str());
        let asked = reservation.resources(&self.settings.limits).filter(|_| runs);
        for difference in asked.iter().flat_map(|asked| found.differences(&Limits::asked(asked))) {
            warn!(target: "storm_oci.launch", "{difference}");
        }
    }

    /// The image: from custom plugins, or resolved and localized here.
    fn image(
        &self,
        document: &LaunchDocument,
        phases: &mut Phases,
    ) -> Result<LocalImage, SupervisorError> {
        let tag = self.settings.images.choose(document.image.tag.as_deref())?;
        if let Some(image) = LocalImage::from_plugins(&tag, &document.image)? {
            return Ok(image);
        }
        let images = self.images.as_ref().ok_or_else(|| SupervisorError::ImageIncomplete {
            tag: crate::text::shown(&tag),
            what: "nothing, and this library was told not to resolve tags",
        })?;
        let resolved = phases.measure("resolve", || images.resolve(tag))?;
        let image = phases.measure("localize", || images.localize(resolved))?;
        for layer in &image.layers {
            self.metrics.looked_up(layer.fetched());
        }
        Ok(image)
    }

    fn compose(
        &self,
        worker: &Worker,
        image: &LocalImage,
    ) -> Result<LaunchRequest, SupervisorError> {
        let planned = mounts::plan(&self.settings, worker);
        let (mounts, skipped) = mounts::existing(planned, is_missing)?;
        self.report_skipped(&skipped);
        let reservation = self.reservation(worker.id.as_str());
        request::compose(&self.settings, worker, image, &reservation, mounts)
    }

    fn run_launcher(
        &self,
        worker: &Worker,
        image: &LocalImage,
        request: &HostPath,
    ) -> Result<(), SupervisorError> {
        let arguments = [
            worker.user.as_str(),
            RUN,
            worker.directory.as_str(),
            request.as_str(),
            worker.artifacts.as_str(),
        ];
        let directory = Path::new(worker.directory.as_str());
        let finished = self.launcher.run(RUN, &arguments, directory, LONG)?;
        let Some(refusal) = finished.refusal() else {
            return Ok(());
        };
        if refusal.refused_layer() {
            self.discard_layers(image, &finished.refused_layers());
        }
        Err(refusal)
    }

    /// A layer that the launcher refused is not kept: the next try fetches it anew. Where the
    /// launcher does not name it, it is any but those that other containers run on.
    fn discard_layers(&self, image: &LocalImage, refused: &[&str]) {
        let Some(images) = &self.images else {
            return;
        };
        let is_named = |path: &HostPath| refused.contains(&path.as_str());
        let discarded = if image.layers.iter().any(|layer| is_named(&layer.path)) {
            images.discard(image, is_named)
        } else {
            let sound = self.mounted_layers();
            images.discard(image, |path| !sound.contains(path))
        };
        match discarded {
            Ok(count) => {
                warn!(target: "storm_oci.launch", "discarded {count} local layers of image {}: the launcher refused them", image.tag);
            }
            Err(error) => {
                error!(target: "storm_oci.launch", "cannot discard layers of image {}: {}", image.tag, error.report());
            }
        }
    }

    /// The layers of the containers on record.
    fn mounted_layers(&self) -> BTreeSet<HostPath> {
        let records = self.records.all().unwrap_or_default();
        let layers = records.into_iter().flat_map(|record| record.layers);
        layers.map(|layer| layer.path).collect()
    }

    /// Reads the record of a container that the launcher says it started, and opens the one of its
    /// end.
    fn record_of_launched(
        &self,
        worker: &Worker,
    ) -> Result<(LaunchRecord, Option<ExitFile>), SupervisorError> {
        let container = &worker.container;
        let record = self
            .records
            .launch(container)?
            .filter(|record| record.state == LaunchState::Started && record.init.is_some())
            .ok_or_else(|| SupervisorError::Unrecorded(container.to_string()))?;
        Ok((record, self.records.exit(container)?))
    }

    fn failed(&self, document: &LaunchDocument, error: &SupervisorError) -> LaunchOutcome {
        self.ends.never_started(document, error);
        LaunchOutcome::Failed {
            started: false,
            code: error.code().as_str(),
            message: error.report(),
            hint: error.hint().map(str::to_owned),
        }
    }
}

/// How many layers the launch of a container mounted.
fn mounted(record: &LaunchRecord) -> usize {
    record.layers.iter().filter(|layer| layer.mounted).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_words() {
        let number = 7;
        for (error, words) in [
            (guarded::<()>(|| panic!("plain")), "plain"),
            (guarded::<()>(|| panic!("with {number}\n")), "with 7\\u{a}"),
            (guarded::<()>(|| std::panic::panic_any(number)), "a panic without words"),
        ] {
            let error = error.unwrap_err();
            assert_eq!(error.code().as_str(), "INTERNAL");
            assert!(error.report().ends_with(words), "{}", error.report());
        }
    }
}
