package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.apache.storm.Config;
import org.apache.storm.DaemonConfig;
import org.apache.storm.container.ResourceIsolationInterface;
import org.apache.storm.utils.ReflectionUtils;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Storm's own container manager, unchanged, with our three image plugins under their documented names. */
class StormsOwnManagerTest {
    @TempDir
    Path directory;

    /** Launches one worker through Storm's manager; the launcher that takes notes refuses it. */
    static final class LaunchThroughStormsManager {
        public static void main(String[] arguments) throws Exception {
            StormNode node = new StormNode(Path.of(arguments[0]));
            if (arguments.length > 1) {
                node.conf.put(DaemonConfig.STORM_OCI_IMAGE_HDFS_TOPLEVEL_DIR, arguments[1]);
                node.conf.put(ImageStore.TAG_MAP_KEY, arguments[1] + "/image-tag-to-hash");
            }
            node.conf.put(DaemonConfig.STORM_OCI_IMAGE_TAG_TO_MANIFEST_PLUGIN,
                "org.apache.storm.container.oci.LocalOrHdfsImageTagToManifestPlugin");
            node.conf.put(DaemonConfig.STORM_OCI_MANIFEST_TO_RESOURCES_PLUGIN,
                "org.apache.storm.container.oci.HdfsManifestToResourcesPlugin");
            node.conf.put(DaemonConfig.STORM_OCI_RESOURCES_LOCALIZER,
                "org.apache.storm.container.oci.HdfsOciResourcesLocalizer");
            ResourceIsolationInterface manager =
                ReflectionUtils.newInstance("org.apache.storm.container.oci.RuncLibContainerManager");
            System.out.println("superclass " + manager.getClass().getSuperclass().getSimpleName());
            System.out.println("file systems of Hadoop: "
                + Objects.toString(ClassLoader.getSystemResource("org/apache/hadoop/fs/FileSystem.class"), "none"));
            manager.prepare(node.conf);
            StormNode.Worker worker = node.worker();
            try {
                worker.launch(manager, Map.of(Config.TOPOLOGY_OCI_IMAGE, ImageStore.TAG));
            } catch (RuntimeException e) {
                System.out.println("refused: " + e.getMessage());
            }
            System.out.println("request " + worker.request());
            // Storm's timer thread keeps a JVM alive.
            System.exit(0);
        }
    }

    @Test
    void itLaunchesFromOurPlugins() throws Exception {
        Path root = Files.createDirectory(directory.resolve("node"));
        expectLaunched(root, jvm().run(LaunchThroughStormsManager.class, root.toString()));
    }

    @Test
    void itNeedsNoClassOfHadoop() throws Exception {
        Path root = Files.createDirectory(directory.resolve("node"));
        Path loaded = directory.resolve("loaded-classes");
        ChildJvm jvm = jvm().option("-Xlog:class+load:file=" + loaded);
        try (WebServer server = new WebServer(root)) {
            expectLaunched(root,
                jvm.run(LaunchThroughStormsManager.class, root.toString(), server.url("/store")));
        }
        List<String> classes = Files.readAllLines(loaded);
        assertTrue(classes.stream().anyMatch(line -> line.contains(" " + StormNode.class.getName() + " ")));
        assertEquals(List.of(), classes.stream().filter(line -> line.contains(" org.apache.hadoop.")).toList());
    }

    /** A JVM whose class path has what Storm's server needs and our jar; of Hadoop, nothing that reads a store. */
    private ChildJvm jvm() throws Exception {
        ChildJvm jvm = new ChildJvm(Files.createDirectory(directory.resolve("home")));
        jvm.installJar("extlib-daemon");
        return jvm.option("-D" + NativeLibrary.KEY + "=" + TestLibrary.path());
    }

    private static void expectLaunched(Path root, String output) throws Exception {
        assertTrue(output.contains("superclass OciContainerManager\n"), output);
        assertTrue(output.contains("file systems of Hadoop: none\n"), output);
        assertTrue(output.contains("refused: launchWorkerProcess Failed"), output);

        String request = output.lines().filter(line -> line.startsWith("request ")).findFirst().orElseThrow();
        JsonNode document = Json.parse(Files.readString(Path.of(request.substring("request ".length()))));
        ImageStore store = ImageStore.create(root);
        assertEquals(2, document.path("layers").size());
        for (int i = 0; i < 2; i++) {
            assertEquals(store.localLayer(i).toString(),
                document.path("layers").path(i).path("path").asText());
            assertArrayEquals(Files.readAllBytes(store.layer(i)), Files.readAllBytes(store.localLayer(i)));
        }
        JsonNode process = document.path("ociRuntimeConfig").path("process");
        assertEquals("PATH=/usr/bin:/bin", process.path("env").path(0).asText());
    }
}
