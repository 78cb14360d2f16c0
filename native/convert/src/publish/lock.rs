//! The lock beside a tag map: one at a time changes the tags of a store, or removes from it.
//!
//! The lock is a file that is made new, which one of many can do in each kind of store. A holder
//! that is silent for too long is followed by whoever makes the file `<lock>.<its token>` new, and
//! so on: the holder is the last of that chain. Nothing is ever removed to take a lock over, so of
//! many who try one gets it, and one who was followed finds out before each thing that it does.
//!
//! Ages are differences of the store's own times, as the clocks of hosts may differ.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use storm_oci_store::remote::{WritableStore, read_document};
use storm_oci_store::{ErrorKind, Location, Object, StoreError};
use tokio::time::sleep;

use super::error::PublishError;
use super::publisher::Publisher;

/// What follows the tag map's name in that of its lock.
pub(super) const LOCK_SUFFIX: &str = ".lock";
/// A record of a holder is some hundred bytes.
const RECORD_LIMIT: u64 = 64 << 10;
/// Doubled for each look at a lock that another holds.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// More holders in a row who all died are none that this program made.
const LONGEST_CHAIN: usize = 64;

/// What a holder writes of itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Record {
    /// `user@host pid`.
    holder: String,
    /// When it began, in seconds since the epoch, by its own clock. For people.
    since: u64,
    /// Tells it from all others.
    token: String,
}

/// A lock that a publisher holds, with all that is needed to give it back.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// From the first of the chain to that of the holder.
    files: Vec<Location>,
    token: String,
}

/// The lock, held. Given back by [`Lock::release`]; a future that is dropped leaves it to
/// [`Publisher::release_locks`].
#[derive(Debug)]
pub(super) struct Lock {
    store: Arc<dyn WritableStore>,
    registry: Arc<Mutex<Vec<Held>>>,
    held: Held,
    /// The file that others look at for a sign of life.
    file: Location,
    record: Bytes,
    /// When that file was last written.
    renewed: Mutex<Instant>,
    stale_after: Duration,
    /// The store's time when the lock was taken, in milliseconds since the epoch.
    pub(super) began_millis: i64,
}

/// The last of a chain, as it was found.
struct Holder {
    record: Option<Record>,
    modified_millis: i64,
    /// All files of the chain.
    files: Vec<Location>,
}

impl Publisher {
    /// Runs `work` under the lock, and gives it back however that ends.
    pub(super) async fn locked<T>(
        &self,
        work: impl AsyncFnOnce(&Lock) -> Result<T, PublishError>,
    ) -> Result<T, PublishError> {
        let lock = self.lock().await?;
        let outcome = work(&lock).await;
        lock.release().await;
        outcome
    }

    /// Gives back the locks of futures that were dropped half-way. For a program that ends early.
    pub async fn release_locks(&self) {
        let held = std::mem::take(&mut *registry(&self.held));
        for held in held {
            give_back(self.tag_store.as_ref(), &held).await;
        }
    }

    async fn lock(&self) -> Result<Lock, PublishError> {
        let store = &self.tag_store;
        let root = self.settings.tag_map.with_suffix(LOCK_SUFFIX);
        let record = Record::new();
        let bytes = Bytes::from(format!("{}\n", record.json()));
        let begin = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut clock = None;
        loop {
            let holder = current_holder(store.as_ref(), &root).await?;
            let mut files = match &holder {
                None => vec![root.clone()],
                Some(holder) => {
                    let now = self.store_time(&mut clock, &root, &bytes).await?;
                    let age = millis_between(holder.modified_millis, now);
                    if age < self.settings.stale_lock {
                        let waited = begin.elapsed();
                        if waited >= self.settings.lock_patience {
                            return Err(PublishError::LockHeld {
                                lock: root,
                                holder: holder.name(),
                                age,
                                waited,
                            });
                        }
                        let left = self.settings.lock_patience.saturating_sub(waited);
                        let jitter = 0.5 + fastrand::f64() / 2.0;
                        sleep(pause.mul_f64(jitter).min(left)).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        continue;
                    }
                    tracing::warn!(lock = %root, holder = %holder.name(), seconds = age.as_secs(), "taking over a lock whose holder is silent");
                    holder.files.clone()
                }
            };
            let next = match &holder {
                None => root.clone(),
                Some(holder) => holder.successor(&root),
            };
            match store.publish_new(&next, bytes.clone()).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error.into()),
            }
            if holder.is_some() {
                files.push(next.clone());
            }
            let held = Held { files, token: record.token.clone() };
            registry(&self.held).push(held.clone());
            let lock = Lock {
                store: Arc::clone(store),
                registry: Arc::clone(&self.held),
                held,
                file: next.clone(),
                record: bytes.clone(),
                renewed: Mutex::new(Instant::now()),
                stale_after: self.settings.stale_lock,
                began_millis: store.stat(&next).await?.modified_millis,
            };
            // A chain may have been given back while it was followed: its end is then no lock.
            match lock.guard().await {
                Ok(()) => return Ok(lock),
                Err(PublishError::LockLost { .. }) => lock.release().await,
                Err(error) => {
                    lock.release().await;
                    return Err(error);
                }
            }
        }
    }

    /// What time it is for the store. Asked once, by writing a file; then this host's clock runs.
    async fn store_time(
        &self,
        clock: &mut Option<(i64, Instant)>,
        root: &Location,
        bytes: &Bytes,
    ) -> Result<i64, PublishError> {
        if clock.is_none() {
            let probe = root.with_suffix(&format!(".{}.probe", token()));
            self.tag_store.publish_new(&probe, bytes.clone()).await?;
            let stat = self.tag_store.stat(&probe).await;
            self.tag_store.delete(&probe).await?;
            *clock = Some((stat?.modified_millis, Instant::now()));
        }
        Ok(clock.map_or(0, |(millis, at)| {
            millis.saturating_add(i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX))
        }))
    }
}

impl Lock {
    /// Makes sure that the lock is still held. Called right before everything that needs it.
    pub(super) async fn guard(&self) -> Result<(), PublishError> {
        let lost = || PublishError::LockLost { lock: self.file.clone() };
        let silent = self.renewed().elapsed();
        // Others count from the same moment and wait for longer.
        if silent > self.stale_after.mul_f64(0.8) {
            return Err(lost());
        }
        if silent > self.stale_after.mul_f64(0.3) {
            let now = Instant::now();
            self.store.replace(&self.file, self.record.clone()).await?;
            *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = now;
        }
        let root = self.held.files.first().unwrap_or(&self.file);
        match current_holder(self.store.as_ref(), root).await? {
            Some(holder) if holder.token() == Some(&self.held.token) => Ok(()),
            _ => Err(lost()),
        }
    }

    /// Whether a file is a part of the chain that leads to this holder.
    pub(super) fn stands_on(&self, file: &Location) -> bool {
        self.held.files.contains(file)
    }

    pub(super) async fn release(self) {
        registry(&self.registry).retain(|held| held.token != self.held.token);
        // One who was followed has nothing to give back.
        if self.renewed().elapsed() < self.stale_after.mul_f64(0.8) {
            give_back(self.store.as_ref(), &self.held).await;
        }
    }

    fn renewed(&self) -> Instant {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a chain from its beginning, if its end is still this holder. Best effort: what stays
/// is taken over one day.
async fn give_back(store: &dyn WritableStore, held: &Held) {
    let Some(root) = held.files.first() else { return };
    let ours = match current_holder(store, root).await {
        Ok(holder) => holder.is_some_and(|holder| holder.token() == Some(&held.token)),
        Err(error) => {
            tracing::warn!("left a lock behind: {error}");
            return;
        }
    };
    // Without the first file the others are no lock any more, only litter.
    let files = if ours { held.files.as_slice() } else { &[] };
    for file in files {
        if let Err(error) = store.delete(file).await {
            tracing::warn!("left a lock behind: {error}");
            return;
        }
    }
}

/// Follows the chain to its end.
async fn current_holder(
    store: &dyn WritableStore,
    root: &Location,
) -> Result<Option<Holder>, PublishError> {
    let mut holder: Option<Holder> = None;
    for _ in 0..LONGEST_CHAIN {
        let next = match &holder {
            None => root.clone(),
            Some(holder) => holder.successor(root),
        };
        let (stat, bytes) = match read_document(store, Object::TagMap, &next, RECORD_LIMIT).await {
            Ok(found) => found,
            Err(StoreError::Missing { .. }) => return Ok(holder),
            Err(error) => return Err(error.into()),
        };
        let mut files = holder.map(|holder| holder.files).unwrap_or_default();
        files.push(next);
        let record = serde_json::from_slice::<Record>(&bytes).ok().filter(Record::is_sound);
        holder = Some(Holder { record, modified_millis: stat.modified_millis, files });
    }
    Ok(holder)
}

impl Holder {
    fn token(&self) -> Option<&String> {
        self.record.as_ref().map(|record| &record.token)
    }

    fn name(&self) -> String {
        self.record.as_ref().map_or_else(
            || "an unknown process".to_owned(),
            |record| record.holder.chars().filter(|char| !char.is_control()).take(100).collect(),
        )
    }

    /// The file of whoever follows this holder.
    fn successor(&self, root: &Location) -> Location {
        // A lock that was not made by this program is followed too.
        let token = self.token().map_or("unknown", String::as_str);
        root.with_suffix(&format!(".{token}"))
    }
}

impl Record {
    fn new() -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let user = ["LOGNAME", "USER"].iter().find_map(|name| std::env::var(name).ok());
        let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::geteuid().as_raw()));
        let since = std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs());
        let holder = format!("{user}@{host} pid {}", std::process::id());
        Self { holder, since, token: token() }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({"holder": self.holder, "since": self.since, "token": self.token})
    }

    /// A token becomes a part of a file's name.
    fn is_sound(&self) -> bool {
        self.token.len() == 32 && self.token.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// Whether a file beside the tag map belongs to its lock, or did.
pub(super) fn is_of_a_lock(name: &str, tag_map: &str) -> bool {
    name.strip_prefix(tag_map)
        .and_then(|rest| rest.strip_prefix(LOCK_SUFFIX))
        .and_then(|rest| rest.strip_prefix('.'))
        .map(|rest| rest.strip_suffix(".probe").unwrap_or(rest))
        .is_some_and(|token| {
            token == "unknown"
                || (token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()))
        })
}

fn token() -> String {
    format!("{:032x}", fastrand::u128(..))
}

fn millis_between(from: i64, to: i64) -> Duration {
    Duration::from_millis(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}

fn registry(held: &Mutex<Vec<Held>>) -> std::sync::MutexGuard<'_, Vec<Held>> {
    // The list is whole at every point where a panic could strike.
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
