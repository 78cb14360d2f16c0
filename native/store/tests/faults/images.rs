//! An image in the cluster, and a cache for it.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use storm_oci_store::{
    Digest, HadoopSettings, ImageStore, LayerDescriptor, Location, RemoteSettings, StoreError,
    StoreSettings,
};
use storm_oci_test_stores::{Hdfs, HdfsSpec, Throttle};
use tokio::task::JoinHandle;

use crate::fixture::{Fixture, TAG, example, names};

/// Slow enough to strike in the middle of a fetch.
pub(crate) const RATE: u64 = 24 << 20;
pub(crate) const BLOCK: u64 = 4 << 20;
pub(crate) const LAYER: usize = 20 << 20;
/// What no test waits for: only a fetch that hangs takes so long.
const LIMIT: Duration = Duration::from_secs(120);

static HDFS: LazyLock<Mutex<Hdfs>> = LazyLock::new(|| {
    let network = Some(Throttle { bytes_per_second: RATE, round_trip: Duration::ZERO });
    let spec = HdfsSpec { datanodes: 3, network, block_size: BLOCK, ..HdfsSpec::default() };
    Mutex::new(Hdfs::start(spec).unwrap())
});

/// The cluster, for one test at a time, with an image that nobody has fetched.
pub(crate) struct Images {
    pub(crate) hdfs: MutexGuard<'static, Hdfs>,
    pub(crate) fixture: Fixture,
    pub(crate) layers: Vec<LayerDescriptor>,
    contents: Vec<Vec<u8>>,
    top: String,
}

impl Images {
    /// An image of layers of these sizes, each with a side file.
    pub(crate) fn new(sizes: &[usize]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut hdfs = HDFS.lock().unwrap_or_else(PoisonError::into_inner);
        hdfs.heal().unwrap();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let fixture = Fixture::new();
        let mut contents = Vec::new();
        let mut layers = Vec::new();
        for (size, seed) in sizes.iter().zip(100 * u64::from(count)..) {
            let content = bytes(*size, seed);
            let layer = fixture.layer(&content);
            fixture.side_file(&layer, &Digest::of(&content), content.len().try_into().unwrap());
            contents.push(content);
            layers.push(layer);
        }
        fixture.image(TAG, &layers);
        let top = format!("/images-{count}");
        hdfs.put(&fixture.top(), &top).unwrap();
        Self { hdfs, fixture, layers, contents, top }
    }

    /// An image of one layer without a side file.
    pub(crate) fn without_side_file() -> Self {
        let images = Self::new(&[LAYER]);
        let side_file = format!("{}.json", images.layer_path());
        images.hdfs.shell(&["-rm", "-skipTrash", &side_file]).unwrap();
        images
    }

    fn first(&self) -> &LayerDescriptor {
        self.layers.first().unwrap()
    }

    /// What the first layer is made of.
    pub(crate) fn first_content(&self) -> Vec<u8> {
        fs::read(self.fixture.layer_path(&self.first().digest)).unwrap()
    }

    /// The first layer's path in HDFS.
    pub(crate) fn layer_path(&self) -> String {
        format!("{}/layers/{}.sqsh", self.top, self.first().digest.as_hex())
    }

    /// Replaces the first layer in HDFS.
    pub(crate) fn replace_layer(&self, content: &[u8]) {
        let path = self.fixture.layer_path(&self.first().digest);
        fs::write(&path, content).unwrap();
        self.hdfs.put(&path, &self.layer_path()).unwrap();
    }

    pub(crate) fn settings(&self) -> StoreSettings {
        let location = |path: String| Location::parse(&self.hdfs.url(&path)).unwrap();
        StoreSettings {
            top_level: location(self.top.clone()),
            remote_tag_map: Some(location(format!("{}/image-tag-to-hash", self.top))),
            remote: RemoteSettings {
                hadoop: HadoopSettings {
                    conf_dir: Some(self.hdfs.client_conf()),
                    ..HadoopSettings::default()
                },
                request_timeout: Duration::from_secs(3),
                ..RemoteSettings::default()
            },
            ..self.fixture.settings()
        }
    }

    /// Fetches all layers in a task.
    pub(crate) fn start_fetch(&self) -> JoinHandle<Result<(), StoreError>> {
        self.start_fetch_with(self.settings())
    }

    pub(crate) fn start_fetch_with(
        &self,
        settings: StoreSettings,
    ) -> JoinHandle<Result<(), StoreError>> {
        let layers = self.layers.clone();
        tokio::spawn(
            async move { ImageStore::open(settings)?.localize_layers(&layers).await.map(drop) },
        )
    }

    pub(crate) async fn fetch(&self) -> Result<(), StoreError> {
        finish(self.start_fetch()).await
    }

    /// Starts a fetch and waits until some megabytes are here.
    pub(crate) fn fetch_to_the_middle(&self) -> JoinHandle<Result<(), StoreError>> {
        self.fetch_to_the_middle_with(self.settings())
    }

    pub(crate) fn fetch_to_the_middle_with(
        &self,
        settings: StoreSettings,
    ) -> JoinHandle<Result<(), StoreError>> {
        let before = self.hdfs.received();
        let fetch = self.start_fetch_with(settings);
        let begin = Instant::now();
        while self.hdfs.received() < before + BLOCK {
            assert!(begin.elapsed() < LIMIT && !fetch.is_finished(), "no fetch goes on");
            std::thread::sleep(Duration::from_millis(2));
        }
        fetch
    }

    /// A process of its own that fetches the image.
    pub(crate) fn process(&self) -> Command {
        let mut command = Command::new(example());
        command
            .arg(self.hdfs.url(&self.top))
            .arg(self.hdfs.url(&format!("{}/image-tag-to-hash", self.top)))
            .arg(self.fixture.local())
            .arg(TAG)
            .env("HADOOP_CONF_DIR", self.hdfs.client_conf());
        command
    }

    /// Every layer is in the cache, with the bytes it was made of, and nothing else is.
    pub(crate) fn expect_fetched(&self) {
        for (layer, content) in self.layers.iter().zip(&self.contents) {
            let (path, record) = self.fixture.cached(layer);
            let found = fs::read(&path).unwrap();
            assert!(found == *content, "{} differs", path.display());
            assert!(record.exists());
        }
        assert_eq!(names(&self.fixture.local().join("partial")), [""; 0]);
    }

    /// No layer counts, and nothing half done has a layer's name.
    pub(crate) fn expect_not_fetched(&self) {
        for layer in &self.layers {
            let (path, record) = self.fixture.cached(layer);
            assert!(!path.exists() && !record.exists(), "{}", path.display());
        }
    }
}

/// The outcome of a fetch, which must not hang.
pub(crate) async fn finish(fetch: JoinHandle<Result<(), StoreError>>) -> Result<(), StoreError> {
    tokio::time::timeout(LIMIT, fetch).await.expect("the fetch hangs").unwrap()
}

/// Bytes that no compression and no shift leaves equal.
pub(crate) fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}
