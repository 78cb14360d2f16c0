//! Containers as Storm's `ResourceIsolationInterface` sees them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::unistd::{Uid, User};
use storm_oci_request::{AccountName, HostPath, WorkerId};
use tracing::info;

use crate::config::Settings;
use crate::documents::{self, LaunchDocument, PrepareDocument, ReserveDocument};
use crate::ends::Ends;
use crate::error::SupervisorError;
use crate::events::EventQueue;
use crate::heartbeat;
use crate::hierarchy::Hierarchies;
use crate::image::Images;
use crate::in_use::LayersInUse;
use crate::installation::Installation;
use crate::launcher::Launcher;
use crate::metering::Meter;
use crate::metrics::{Metrics, Observation, TextFile};
use crate::process;
use crate::records::Records;
use crate::requested::RequestedEnds;
use crate::reservation::Reservation;
use crate::scope;
use crate::watch::{MONITOR_GRACE, Watch};

/// The containers of one supervisor. Every method may be called from several threads at once.
///
/// Nothing of a container lives in here: whatever must survive this process is in the launcher's
/// records and in cgroups, and found again by the next one.
#[derive(Debug)]
pub struct Containers {
    pub(crate) settings: Settings,
    pub(crate) launcher: Launcher,
    pub(crate) records: Records,
    pub(crate) hierarchies: Arc<Hierarchies>,
    /// `None` when custom plugins resolve images.
    pub(crate) images: Option<Images>,
    pub(crate) watch: Watch,
    pub(crate) ends: Arc<Ends>,
    pub(crate) requested: RequestedEnds,
    pub(crate) metrics: Arc<Metrics>,
    observation: Arc<Observation>,
    /// `None` when nobody wants one, or another process writes it.
    metrics_file: Option<TextFile>,
    events: EventQueue,
    /// The account this process runs as.
    pub(crate) account: AccountName,
    meter: Meter,
    reservations: Mutex<HashMap<String, Reservation>>,
    /// Mount sources whose absence was told already.
    skipped: Mutex<BTreeSet<HostPath>>,
}

impl Containers {
    /// Checks configuration and installation, adopts running containers, sweeps up what dead ones
    /// left, and starts the watch.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::Unready`] with every problem found, one a line.
    pub fn prepare(prepare_json: &str) -> Result<Self, SupervisorError> {
        Self::prepare_with(prepare_json, EventQueue::new())
    }

    /// As [`Containers::prepare`], with a queue of the caller's, so that log lines written
    /// meanwhile find their way too.
    ///
    /// # Errors
    ///
    /// As [`Containers::prepare`].
    pub fn prepare_with(prepare_json: &str, events: EventQueue) -> Result<Self, SupervisorError> {
        let document: PrepareDocument = documents::read("prepare document", prepare_json)?;
        let launcher = Launcher::new(PathBuf::from(&document.paths.launcher));
        let mut containers = Self::check(&document, launcher, events)
            .map_err(|problems| SupervisorError::Unready { problems })?;
        let unready = |error| SupervisorError::Unready { problems: vec![error] };
        // Before the sweep, which removes the records of what has ended.
        containers.adopt().map_err(unready)?;
        containers.sweep();
        containers.forget_requests();
        // The sweep makes the records' directory, and this account must be able to read it.
        containers.records.all().map_err(unready)?;
        if document.reports_metrics {
            containers.start_metrics_file().map_err(unready)?;
        }
        Ok(containers)
    }

    fn check(
        document: &PrepareDocument,
        launcher: Launcher,
        events: EventQueue,
    ) -> Result<Self, Vec<SupervisorError>> {
        let mut problems = Problems::default();
        let settings = problems.note_all(Settings::read(document));
        let installation = problems.note_all(Installation::check(&launcher));
        if let (Some(settings), Some(installation)) = (&settings, &installation) {
            problems.note(installation.agrees_on(&settings.cgroup_parent));
        }
        let hierarchies = settings
            .as_ref()
            .and_then(|settings| problems.note(Hierarchies::read(&settings.cgroup_root)));
        problems.note(process::check_support());
        let uid = Uid::current();
        let records =
            settings.as_ref().zip(installation.as_ref()).map(|(settings, installation)| {
                Records::new(&installation.run_root, uid.as_raw(), &settings.workers_root)
            });
        let store = settings.as_ref().and_then(|settings| settings.store.clone());
        let in_use = records.clone().map(LayersInUse::new);
        let images = store.map(|store| problems.note(Images::new(store, in_use)));
        let account = problems.note(own_account(uid));
        let complete = (|| {
            let mut settings = settings?;
            let hierarchies = Arc::new(hierarchies?);
            settings.limits.fit(&hierarchies);
            let requested = RequestedEnds::new(&settings.supervisor_local_dir);
            let images = match images {
                Some(images) => Some(images?),
                None => None,
            };
            let metrics = Arc::new(Metrics::new());
            let ends = Arc::new(Ends::new(
                events.clone(),
                &settings.workers_root,
                requested.clone(),
                Arc::clone(&hierarchies),
                settings.longest_relaunch_pause,
                Arc::clone(&metrics),
            ));
            let watch = problems.note(Watch::start(Arc::clone(&ends), MONITOR_GRACE));
            let observation = Arc::new(Observation::new(
                Arc::clone(&metrics),
                Arc::clone(&ends),
                events.clone(),
                images.as_ref().map(Images::fetched_bytes),
            ));
            Some(Self {
                launcher,
                records: records?,
                meter: Meter::new(Arc::clone(&hierarchies), settings.cgroup_parent.clone()),
                hierarchies,
                images,
                watch: watch?,
                ends,
                requested,
                metrics,
                observation,
                metrics_file: None,
                events,
                account: account?,
                reservations: Mutex::default(),
                skipped: Mutex::default(),
                settings,
            })
        })();
        match complete {
            Some(containers) if problems.0.is_empty() => Ok(containers),
            _ => Err(problems.0),
        }
    }

    fn start_metrics_file(&mut self) -> Result<(), SupervisorError> {
        if let Some(path) = &self.settings.metrics_file {
            let observation = Arc::clone(&self.observation);
            self.metrics_file = Some(TextFile::start(path.as_str().into(), observation)?);
        }
        Ok(())
    }

    /// All counters and gauges as one flat JSON object, `{"launches.ok":3,…}`. Which names there
    /// are never changes.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn metrics(&self) -> Result<String, SupervisorError> {
        documents::write("metrics", &self.observation.json())
    }

    /// Remembers the limits of a worker that is about to be launched.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::Document`] when `reserve_json` is not one.
    pub fn reserve(&self, reserve_json: &str) -> Result<(), SupervisorError> {
        let document: ReserveDocument = documents::read("reservation", reserve_json)?;
        let _scope = scope::unchecked_worker(&document.worker_id).entered();
        let reservation = Reservation::new(&self.settings, &document);
        self.reservations().insert(document.worker_id, reservation);
        Ok(())
    }

    /// Forgets the limits of a worker.
    pub fn release(&self, worker_id: &str) {
        self.reservations().remove(worker_id);
    }

    /// Launches a worker's container and waits until it runs.
    ///
    /// What is wrong with the image, the user or the machine is an outcome, not an error; the
    /// outcome's JSON says so, an exit event and a log line repeat it.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::Document`] when `launch_json` is not one: a fault of the caller.
    pub fn launch(&self, launch_json: &str) -> Result<String, SupervisorError> {
        let document: LaunchDocument = documents::read("launch document", launch_json)?;
        documents::write("launch outcome", &self.launch_worker(&document))
    }

    /// Whether no process of a worker's container is left. Unknown workers are dead.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn all_processes_dead(
        &self,
        _user: &str,
        worker_id: &str,
    ) -> Result<bool, SupervisorError> {
        Ok(parse_worker(worker_id).is_none_or(|worker| self.is_dead(&worker)))
    }

    /// Sends SIGTERM, or SIGKILL with `force`, to a worker's container. Unknown workers: nothing.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn kill(&self, user: &str, worker_id: &str, force: bool) -> Result<(), SupervisorError> {
        if let Some(worker) = parse_worker(worker_id) {
            self.signal(user, &worker, force);
        }
        Ok(())
    }

    /// Removes what a dead container left. May be repeated; unknown workers: nothing. `port` is
    /// -1 when it is not known.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn cleanup(&self, user: &str, worker_id: &str, port: i32) -> Result<(), SupervisorError> {
        self.release(worker_id);
        self.ends.forget(worker_id);
        if let Some(worker) = parse_worker(worker_id) {
            self.meter.forget(&worker);
            self.reap(user, &worker, port);
            self.forget_request(&worker);
        }
        Ok(())
    }

    /// Puts a heartbeat into a worker's directory: a whole local state, as Storm serializes it.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::Write`] when the directory is not there, or cannot be written.
    pub fn write_heartbeat(&self, worker_id: &str, state: &[u8]) -> Result<(), SupervisorError> {
        let worker = WorkerId::parse(worker_id)
            .map_err(|source| SupervisorError::Name { what: "worker", source })?;
        let root = Path::new(self.settings.workers_root.as_str());
        heartbeat::write(root, &worker, state)
            .map_err(|source| SupervisorError::Write { path: root.join(worker.as_str()), source })
    }

    /// The memory a worker's container cannot give back, in bytes: its usage without inactive
    /// file pages. 0 when there is no such container.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::Cgroup`] and [`SupervisorError::CgroupValue`] when its cgroup is there
    /// but cannot be read.
    pub fn memory_usage(&self, _user: &str, worker_id: &str) -> Result<u64, SupervisorError> {
        match parse_worker(worker_id) {
            Some(worker) => self.meter.working_set(&worker, || self.cgroup_of(&worker)),
            None => Ok(0),
        }
    }

    /// The memory that workers could still get on this node, in MiB.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::Cgroup`] and [`SupervisorError::CgroupValue`] when the kernel's files
    /// cannot be read.
    pub fn system_free_memory_mb(&self) -> Result<u64, SupervisorError> {
        self.meter.free_mb()
    }

    /// Waits for the next event; `None` once closed.
    #[must_use]
    pub fn next_event(&self) -> Option<String> {
        self.events.next()
    }

    /// Ends the watch and wakes [`Containers::next_event`]. Workers go on, and so do the other
    /// methods.
    pub fn close(&self) {
        self.watch.close();
        if let Some(file) = &self.metrics_file {
            file.close();
        }
        self.events.close();
    }

    pub(crate) fn reservation(&self, worker_id: &str) -> Reservation {
        self.reservations().get(worker_id).cloned().unwrap_or_default()
    }

    /// Tells once of each mount source that this host does not have.
    pub(crate) fn report_skipped(&self, paths: &[HostPath]) {
        for path in paths {
            // A set is whole after every call.
            let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
            if skipped.insert(path.clone()) {
                info!(target: "storm_oci.launch", "`{path}` does not exist on this host: workers go without it");
            }
        }
    }

    fn reservations(&self) -> MutexGuard<'_, HashMap<String, Reservation>> {
        // A map is whole after every call.
        self.reservations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Collects problems instead of stopping at the first.
#[derive(Default)]
struct Problems(Vec<SupervisorError>);

impl Problems {
    fn note<T>(&mut self, result: Result<T, SupervisorError>) -> Option<T> {
        self.note_all(result.map_err(|problem| vec![problem]))
    }

    fn note_all<T>(&mut self, result: Result<T, Vec<SupervisorError>>) -> Option<T> {
        result.map_err(|problems| self.0.extend(problems)).ok()
    }
}

fn own_account(uid: Uid) -> Result<AccountName, SupervisorError> {
    User::from_uid(uid)
        .ok()
        .flatten()
        .and_then(|user| AccountName::parse(&user.name).ok())
        .ok_or(SupervisorError::OwnAccount(uid.as_raw()))
}

/// A worker id; `None` for a directory in the workers' place that is none: there is no container
/// for it.
fn parse_worker(text: &str) -> Option<WorkerId> {
    WorkerId::parse(text).ok()
}
