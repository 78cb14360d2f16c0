package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import org.apache.storm.Config;
import org.apache.storm.DaemonConfig;
import org.apache.storm.container.oci.OciResource.OciResourceType;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Classes that an operator put under the plugin keys are made and used as Storm does it. */
@Timeout(value = 240, unit = TimeUnit.SECONDS)
class CustomPluginsTest {
    private static final int A_MOMENT_SECONDS = 60;

    /** What the plugins below were asked, in order. */
    private static final List<String> ASKED = new CopyOnWriteArrayList<>();

    @TempDir
    Path directory;

    private StormNode node;

    @BeforeEach
    void makeNode() throws IOException {
        ASKED.clear();
        node = new StormNode(directory);
    }

    /** Has one manifest, whatever the tag. */
    public static class OneManifest implements OciImageTagToManifestPluginInterface {
        @Override
        public void init(Map<String, Object> conf) {
            ASKED.add("init OneManifest");
        }

        @Override
        public ImageManifest getManifestFromImageTag(String imageTag) throws IOException {
            ASKED.add("manifest of " + imageTag);
            if (imageTag.endsWith(":none")) {
                throw new IOException("there is no such image");
            }
            return imageTag.endsWith(":null") ? null : new ImageManifest();
        }

        @Override
        public String getHashFromImageTag(String imageTag) {
            return "ab".repeat(32);
        }
    }

    /** Names files that need no localizing. */
    public static class FixedResources implements OciManifestToResourcesPluginInterface {
        private String directory;

        @Override
        public void init(Map<String, Object> conf) {
            directory = String.valueOf(conf.get("custom.directory"));
        }

        @Override
        public List<OciResource> getLayerResources(ImageManifest manifest) {
            List<OciResource> layers = new ArrayList<>();
            for (String name : List.of("lower.sqsh", "upper.sqsh")) {
                layers.add(new OciResource(directory + "/" + name, name, 1, 1, OciResourceType.LAYER));
            }
            return layers;
        }

        @Override
        public OciResource getConfigResource(ImageManifest manifest) {
            return new OciResource(directory + "/config.json", "config.json", 1, 1, OciResourceType.CONFIG);
        }
    }

    /** Answers where a file is already. */
    public static class InPlace implements OciResourcesLocalizerInterface {
        @Override
        public void init(Map<String, Object> conf) {
        }

        @Override
        public String localize(OciResource ociResource) {
            ASKED.add("localize " + ociResource.getFileName());
            return ociResource.getPath();
        }
    }

    private static String name(Class<?> plugin) {
        return plugin.getName();
    }

    private Path useCustomPlugins() throws IOException {
        Path files = Files.createDirectories(directory.resolve("custom"));
        Files.writeString(files.resolve("config.json"), "{\"config\":{\"Env\":[\"CUSTOM=yes\"]}}");
        Files.writeString(files.resolve("lower.sqsh"), "hsqs lower");
        Files.writeString(files.resolve("upper.sqsh"), "hsqs upper");
        node.conf.put("custom.directory", files.toString());
        node.conf.put(DaemonConfig.STORM_OCI_IMAGE_TAG_TO_MANIFEST_PLUGIN, name(OneManifest.class));
        node.conf.put(DaemonConfig.STORM_OCI_MANIFEST_TO_RESOURCES_PLUGIN, name(FixedResources.class));
        node.conf.put(DaemonConfig.STORM_OCI_RESOURCES_LOCALIZER, name(InPlace.class));
        return files;
    }

    private StormNode.Worker launch(String tag) throws Exception {
        NativeRuncLibContainerManager manager = new NativeRuncLibContainerManager();
        manager.prepare(node.conf);
        StormNode.Worker worker = node.worker();
        worker.launch(manager, Map.of(Config.TOPOLOGY_OCI_IMAGE, tag));
        assertNotNull(worker.exits.poll(A_MOMENT_SECONDS, TimeUnit.SECONDS));
        assertNull(worker.exits.poll());
        return worker;
    }

    private static List<String> layers(JsonNode request) {
        List<String> paths = new ArrayList<>();
        request.path("layers").forEach(layer -> paths.add(layer.path("path").asText()));
        return paths;
    }

    @Test
    void theyResolveAndLocalize() throws Exception {
        Path files = useCustomPlugins();
        JsonNode request = Json.parse(Files.readString(launch("custom/image:1").request()));
        assertEquals(List.of(files + "/lower.sqsh", files + "/upper.sqsh"), layers(request));
        assertEquals("CUSTOM=yes", request.path("ociRuntimeConfig").path("process").path("env").path(0).asText());
        assertEquals(List.of("init OneManifest", "manifest of custom/image:1", "localize config.json",
            "localize lower.sqsh", "localize upper.sqsh"), ASKED);
    }

    @Test
    void oneOfThemWorksWithOursForTheOthers() throws Exception {
        node.conf.put(DaemonConfig.STORM_OCI_RESOURCES_LOCALIZER, name(InPlace.class));
        node.conf.put(DaemonConfig.STORM_OCI_IMAGE_TAG_TO_MANIFEST_PLUGIN,
            name(LocalOrHdfsImageTagToManifestPlugin.class));
        launch(ImageStore.TAG);
        assertEquals(List.of("localize " + node.store.config, "localize " + node.store.layers.get(0) + ".sqsh",
            "localize " + node.store.layers.get(1) + ".sqsh"), ASKED);
    }

    @Test
    void whatTheyCannotDoCostsOneWorker() throws Exception {
        useCustomPlugins();
        for (String tag : List.of("custom/image:none", "custom/image:null")) {
            assertTrue(Files.notExists(launch(tag).request()));
        }
    }

    @Test
    void aClassThatCannotBeUsedFailsPrepareWithEveryReason() throws IOException {
        node.conf.put(DaemonConfig.STORM_OCI_IMAGE_TAG_TO_MANIFEST_PLUGIN, "no.such.Plugin");
        node.conf.put(DaemonConfig.STORM_OCI_RESOURCES_LOCALIZER, name(OneManifest.class));
        node.conf.put(DaemonConfig.STORM_OCI_IMAGE_HDFS_TOPLEVEL_DIR, "gopher://host/containers");
        node.conf.put(Config.SUPERVISOR_WORKER_LAUNCHER, "/no/such/launcher");
        OciNativeException thrown = assertThrows(OciNativeException.class,
            () -> new NativeRuncLibContainerManager().prepare(node.conf));
        assertTrue(thrown.getMessage().contains("cannot use class `no.such.Plugin` of `"
            + DaemonConfig.STORM_OCI_IMAGE_TAG_TO_MANIFEST_PLUGIN + "`: java.lang.ClassNotFoundException"),
            thrown.getMessage());
        assertTrue(thrown.getMessage().contains("cannot use class `" + name(OneManifest.class) + "` of `"
            + DaemonConfig.STORM_OCI_RESOURCES_LOCALIZER + "`: java.lang.ClassCastException"), thrown.getMessage());
        assertTrue(thrown.getMessage().contains("/no/such/launcher"), thrown.getMessage());
        // Of the store that our class for the third key needs.
        assertEquals(1, thrown.getMessage().lines().filter(line -> line.contains("gopher")).count(),
            thrown.getMessage());
    }
}
