package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.storm.container.oci.OciResource.OciResourceType;
import org.apache.storm.utils.ReflectionUtils;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The three classes under the names of Storm's documentation, used as Storm uses them. */
class ImagePluginsTest {
    @TempDir
    Path directory;

    private ImageStore store;
    private OciImageTagToManifestPluginInterface tagToManifest;
    private OciManifestToResourcesPluginInterface manifestToResources;
    private OciResourcesLocalizerInterface localizer;

    @BeforeEach
    void makePlugins() throws Exception {
        makePluginsOf(ImageStore.create(directory));
    }

    private void makePluginsOf(ImageStore made) throws Exception {
        store = made;
        Map<String, Object> conf = store.conf();
        tagToManifest =
            ReflectionUtils.newInstance("org.apache.storm.container.oci.LocalOrHdfsImageTagToManifestPlugin");
        tagToManifest.init(conf);
        manifestToResources =
            ReflectionUtils.newInstance("org.apache.storm.container.oci.HdfsManifestToResourcesPlugin");
        manifestToResources.init(conf);
        localizer = ReflectionUtils.newInstance("org.apache.storm.container.oci.HdfsOciResourcesLocalizer");
        localizer.init(conf);
    }

    @Test
    void aTagLeadsToItsManifest() throws Exception {
        for (String tag : List.of(ImageStore.TAG, "storm/test:same")) {
            assertEquals(store.manifest, tagToManifest.getHashFromImageTag(tag));
            ImageManifest manifest = tagToManifest.getManifestFromImageTag(tag);
            assertEquals(2, manifest.getSchemaVersion());
            assertEquals("sha256:" + store.config, manifest.getConfig().getDigest());
            assertEquals("sha256:" + store.layers.get(0), manifest.getLayers().get(0).getDigest());
            assertEquals("sha256:" + store.layers.get(1), manifest.getLayers().get(1).getDigest());
            assertEquals(2, manifest.getLayers().size());
        }
    }

    @Test
    void aManifestLeadsToItsFiles() throws Exception {
        ImageManifest manifest = tagToManifest.getManifestFromImageTag(ImageStore.TAG);
        OciResource config = manifestToResources.getConfigResource(manifest);
        assertEquals(OciResourceType.CONFIG, config.getType());
        assertEquals(store.config, config.getFileName());
        List<OciResource> layers = manifestToResources.getLayerResources(manifest);
        assertEquals(2, layers.size());
        for (int i = 0; i < layers.size(); i++) {
            OciResource layer = layers.get(i);
            assertEquals(OciResourceType.LAYER, layer.getType());
            assertEquals(store.layers.get(i) + ".sqsh", layer.getFileName());
            assertEquals(Files.getLastModifiedTime(store.layer(i)).toMillis(), layer.getTimestamp());
        }
    }

    @Test
    void filesComeToTheLocalDirectory() throws Exception {
        ImageManifest manifest = tagToManifest.getManifestFromImageTag(ImageStore.TAG);
        String config = localizer.localize(manifestToResources.getConfigResource(manifest));
        assertEquals(store.localDir().resolve("config").resolve(store.config).toString(), config);
        List<String> layers = localizer.localize(manifestToResources.getLayerResources(manifest));
        assertEquals(2, layers.size());
        for (int i = 0; i < layers.size(); i++) {
            Path local = store.localLayer(i);
            assertEquals(local.toString(), layers.get(i));
            assertArrayEquals(Files.readAllBytes(store.layer(i)), Files.readAllBytes(local));
        }
        assertNull(localizer.localize((OciResource) null));
    }

    /** A store has its own bound on transfers and its own fetches under way: a JVM has one for the same settings. */
    @Test
    void theThreePluginsShareOneStore() throws Exception {
        // Each store has a thread that brings its events.
        long threads = eventThreads();
        makePluginsOf(ImageStore.create(Files.createDirectory(directory.resolve("other"))));
        assertEquals(threads + 1, eventThreads());
        Map<String, Object> conf = store.conf();
        Map<String, Object> otherOrder = new LinkedHashMap<>();
        conf.entrySet().stream()
            .sorted(Map.Entry.<String, Object>comparingByKey().reversed())
            .forEach(entry -> otherOrder.put(entry.getKey(), entry.getValue()));
        assertSame(NativeImages.open(conf), NativeImages.open(otherOrder));
        otherOrder.put("storm.oci.store.connections", 3);
        assertNotSame(NativeImages.open(conf), NativeImages.open(otherOrder));
    }

    private static long eventThreads() {
        return Thread.getAllStackTraces().keySet().stream()
            .filter(thread -> thread.getName().equals("oci-image-events")).count();
    }

    @Test
    void anUnknownTagIsNeverTakenForADigest() {
        for (String tag : List.of("storm/none:9", "../../etc/passwd", "", store.manifest.substring(1))) {
            OciNativeException thrown =
                assertThrows(OciNativeException.class, () -> tagToManifest.getManifestFromImageTag(tag));
            assertTrue(thrown.getMessage().startsWith("cannot "), thrown.getMessage());
            assertThrows(IllegalStateException.class, () -> tagToManifest.getHashFromImageTag(tag));
        }
    }

    /** As with Storm's own plugin. */
    @Test
    void aDigestIsTheTagOfItsManifest() throws Exception {
        ImageManifest manifest = tagToManifest.getManifestFromImageTag(store.manifest);
        assertEquals(tagToManifest.getManifestFromImageTag(ImageStore.TAG).getConfig().getDigest(),
            manifest.getConfig().getDigest());
        assertEquals(store.manifest, tagToManifest.getHashFromImageTag(store.manifest));
    }

    @Test
    void aMissingLayerIsNamed() throws Exception {
        ImageManifest manifest = tagToManifest.getManifestFromImageTag(ImageStore.TAG);
        Files.delete(store.layer(1));
        OciNativeException thrown = assertThrows(OciNativeException.class,
            () -> localizer.localize(manifestToResources.getLayerResources(manifest)));
        assertTrue(thrown.getMessage().contains(store.layers.get(1)), thrown.getMessage());
    }

    @Test
    void aStoreOfAnUnknownKindIsNamed() {
        Map<String, Object> conf = store.conf();
        conf.put("storm.oci.image.hdfs.toplevel.dir", "gopher://host/containers");
        OciNativeException thrown =
            assertThrows(OciNativeException.class, () -> new HdfsManifestToResourcesPlugin().init(conf));
        assertEquals("CONFIG", thrown.getCode(), thrown.getMessage());
        assertTrue(thrown.getMessage().contains("gopher"), thrown.getMessage());
    }
}
