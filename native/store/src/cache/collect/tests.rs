use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::digest::Digest;
use crate::layer_file::LayerFormat;

/// A host on which these layers are in use.
#[derive(Debug, Default)]
struct Host {
    layers: BTreeSet<PathBuf>,
    /// How often it was asked, and after how many answers it knows no more.
    asked: Mutex<usize>,
    knows: Option<usize>,
}

impl InUse for Host {
    fn is_in_use(&self, layer: &Path, file: &Metadata) -> io::Result<bool> {
        assert!(file.is_file());
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        if self.knows.is_some_and(|knows| *asked > knows) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(self.layers.contains(layer))
    }
}

/// A cache with files in it.
struct Cache {
    directory: TempDir,
    directories: Directories,
}

impl Cache {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let directories = Directories::open(directory.path()).unwrap();
        Self { directory, directories }
    }

    /// A layer with its record, used `age` seconds after the epoch.
    fn add(&self, name: &str, bytes: usize, age: u64) -> LayerFile {
        let format =
            if bytes.is_multiple_of(2) { LayerFormat::Squashfs } else { LayerFormat::Erofs };
        let layer = LayerFile { digest: Digest::of(name.as_bytes()), format };
        fs::write(self.directories.layer(&layer), vec![7; bytes]).unwrap();
        fs::write(self.directories.layer_record(&layer), "{}").unwrap();
        let lease = File::create(self.directories.lease(&layer.digest)).unwrap();
        lease.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(age)).unwrap();
        layer
    }

    fn bytes_of(&self, layer: &LayerFile) -> u64 {
        [self.directories.layer(layer), self.directories.layer_record(layer)]
            .map(|path| disk_bytes(&fs::metadata(path).unwrap()))
            .iter()
            .sum()
    }

    fn used(&self) -> u64 {
        bytes_below(self.directory.path()).unwrap()
    }

    fn collector(&self, max_bytes: Option<u64>, host: Host) -> Collector {
        let budget = CacheBudget { max_bytes, min_free_bytes: 0 };
        Collector::new(self.directories.clone(), budget, Some(Arc::new(host)))
    }

    fn has(&self, layer: &LayerFile) -> bool {
        let there = self.directories.layer(layer).exists();
        assert_eq!(self.directories.layer_record(layer).exists(), there, "a record without layer");
        assert_eq!(self.directories.lease(&layer.digest).exists(), there, "a lease without layer");
        there
    }
}

/// One layer of a made-up cache.
#[derive(Clone, Debug)]
struct Made {
    bytes: usize,
    last_used: u64,
    is_leased: bool,
    is_in_use: bool,
}

prop_compose! {
    fn made()(
        bytes in 1..40_000_usize,
        last_used in 1..1000_u64,
        is_leased in prop::bool::weighted(0.2),
        is_in_use in prop::bool::weighted(0.2),
    ) -> Made {
        Made { bytes, last_used, is_leased, is_in_use }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn only_what_was_used_longest_ago_goes_and_no_more_than_is_needed(
        made in prop::collection::vec(made(), 0..12),
        percent in 0..120_u64,
        need in 0..50_000_u64,
    ) {
        let cache = Cache::new();
        let mut host = Host::default();
        let mut leases = Vec::new();
        let mut free = Vec::new();
        let mut bytes = BTreeMap::new();
        for (index, layer) in made.iter().enumerate() {
            let file = cache.add(&index.to_string(), layer.bytes, layer.last_used);
            let path = cache.directories.layer(&file);
            bytes.insert(file.clone(), cache.bytes_of(&file));
            if layer.is_leased {
                let lease = cache.directories.lease(&file.digest);
                leases.push(FileLock::try_acquire(&lease, LockMode::Shared).unwrap().unwrap());
            }
            if layer.is_in_use {
                host.layers.insert(path);
            }
            if !layer.is_leased && !layer.is_in_use {
                free.push((layer.last_used, file));
            }
        }
        free.sort();
        let before = cache.used();
        let max = before * percent / 100;
        let collected = cache.collector(Some(max), host).collect(need).unwrap();

        // What the cache says is what is on disk.
        prop_assert_eq!(cache.used(), collected.left);
        prop_assert_eq!(before - cache.used(), collected.bytes);
        // What went is the beginning of the list of those that may, and not one too many.
        let target = (before + need).saturating_sub(max);
        let mut wanted = 0;
        let mut expected = BTreeSet::new();
        for (_, file) in &free {
            if wanted >= target {
                break;
            }
            wanted += bytes[file];
            expected.insert(file.clone());
        }
        let gone: BTreeSet<_> = bytes.keys().filter(|file| !cache.has(file)).cloned().collect();
        prop_assert_eq!(&gone, &expected);
        prop_assert_eq!(collected.bytes, wanted);
        prop_assert_eq!(collected.layers, gone.len());
        prop_assert_eq!(collected.missing, target.saturating_sub(wanted));
    }
}

#[test]
fn a_lease_keeps_a_layer_and_its_time_tells_the_last_use() {
    let cache = Cache::new();
    let (old, new) = (cache.add("old", 5000, 1), cache.add("new", 5000, 2));
    let lease = cache.directories.lease(&old.digest);
    FileLock::try_acquire(&lease, LockMode::Shared).unwrap().unwrap().touch().unwrap();
    let max = cache.used() - 1;
    assert_eq!(cache.collector(Some(max), Host::default()).collect(0).unwrap().layers, 1);
    assert!(cache.has(&old) && !cache.has(&new), "the one used last went");

    let held = FileLock::try_acquire(&lease, LockMode::Shared).unwrap();
    let collected = cache.collector(Some(0), Host::default()).collect(0).unwrap();
    assert_eq!((collected.bytes, collected.missing), (0, collected.left));
    drop(held);
    assert_eq!(cache.collector(Some(0), Host::default()).collect(0).unwrap().layers, 1);
    assert!(!cache.has(&old));
}

#[test]
fn a_layer_without_a_lease_is_as_old_as_its_file() {
    let cache = Cache::new();
    let (old, new) = (cache.add("old", 5000, 900), cache.add("new", 5000, 2));
    fs::remove_file(cache.directories.lease(&old.digest)).unwrap();
    let layer = File::open(cache.directories.layer(&old)).unwrap();
    layer.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    let mut host = Host::default();
    host.layers.insert(cache.directories.layer(&old));
    let max = cache.used() - 1;
    assert_eq!(cache.collector(Some(max), host).collect(0).unwrap().layers, 1);
    assert!(!cache.has(&new));
    // Looking at it did not make it one that was used just now.
    assert!(!cache.directories.lease(&old.digest).exists());
    assert!(cache.directories.layer(&old).exists());
}

#[test]
fn what_counts_for_nothing_goes_too_and_the_rest_is_left_alone() {
    let cache = Cache::new();
    let layer = cache.add("x", 5000, 1);
    fs::remove_file(cache.directories.layer_record(&layer)).unwrap();
    let others = ["layers/notes.txt", "config/x", "manifests/y", "partial/z"];
    for other in others {
        fs::write(cache.directory.path().join(other), "other").unwrap();
    }
    let collected = cache.collector(Some(0), Host::default()).collect(0).unwrap();
    assert_eq!(collected.layers, 1);
    assert!(!cache.has(&layer));
    assert!(others.iter().all(|other| cache.directory.path().join(other).exists()));
    assert!(collected.left > 0 && collected.missing == collected.left);
}

#[test]
fn without_budget_or_knowledge_of_use_nothing_goes() {
    let cache = Cache::new();
    let layers = [cache.add("a", 5000, 1), cache.add("b", 5000, 2)];
    assert_eq!(cache.collector(None, Host::default()).collect(9999).unwrap().layers, 0);
    let blind = Collector::new(
        cache.directories.clone(),
        CacheBudget { max_bytes: Some(0), min_free_bytes: u64::MAX },
        None,
    );
    assert_eq!(blind.collect(0).unwrap(), Collected::default());
    assert_eq!(blind.make_room(1).unwrap(), Collected::default());
    assert!(layers.iter().all(|layer| cache.has(layer)));

    let host = Host { knows: Some(1), ..Host::default() };
    let error = cache.collector(Some(0), host).collect(0).unwrap_err();
    assert!(error.to_string().starts_with("cannot tell the use of /"), "{error}");
    assert_eq!(layers.map(|layer| cache.has(&layer)), [false, true]);
}

#[test]
fn room_is_made_for_what_is_asked() {
    let cache = Cache::new();
    for age in 1..=4 {
        cache.add(&age.to_string(), 8192, age);
    }
    // There is room, yet something said that the disk is full: a quota.
    let collected = cache.collector(None, Host::default()).make_room(8192 + 1).unwrap();
    assert_eq!(collected.layers, 1);
    let free = available(cache.directory.path()).unwrap();
    let lacking = cache.collector(None, Host::default()).make_room(free + (1 << 40)).unwrap();
    assert_eq!(lacking.layers, 3);
    assert!(lacking.missing > 0);
    let budget = CacheBudget { max_bytes: None, min_free_bytes: u64::MAX };
    cache.add("floor", 8192, 1);
    let host: Arc<dyn InUse> = Arc::new(Host::default());
    let collector = Collector::new(cache.directories.clone(), budget, Some(host));
    assert_eq!(collector.collect(0).unwrap().layers, 1);
}

#[test]
fn two_that_collect_at_once_free_what_one_should() {
    let cache = Cache::new();
    for age in 1..=40 {
        cache.add(&age.to_string(), 5000, age);
    }
    let max = cache.used() / 2;
    // Each with locks of its own, as two processes have.
    let collect = || cache.collector(Some(max), Host::default()).collect(0).unwrap();
    let collected = std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(collect));
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(collected.iter().filter(|collected| collected.layers > 0).count(), 1);
    assert!(collected.iter().all(|collected| collected.left == cache.used()));
    assert!((max - 8192..=max).contains(&cache.used()));
}
