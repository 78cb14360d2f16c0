package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
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
            node.conf.put(DaemonConfig.STORM_OCI_IMAGE_TAG_TO_MANIFEST_PLUGIN,
                "org.apache.storm.container.oci.LocalOrHdfsImageTagToManifestPlugin");
            node.conf.put(DaemonConfig.STORM_OCI_MANIFEST_TO_RESOURCES_PLUGIN,
                "org.apache.storm.container.oci.HdfsManifestToResourcesPlugin");
            node.conf.put(DaemonConfig.STORM_OCI_RESOURCES_LOCALIZER,
                "org.apache.storm.container.oci.HdfsOciResourcesLocalizer");
            ResourceIsolationInterface manager =
                ReflectionUtils.newInstance("org.apache.storm.container.oci.RuncLibContainerManager");
            System.out.println("superclass " + manager.getClass().getSuperclass().getSimpleName());
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
        ChildJvm jvm = new ChildJvm(Files.createDirectory(directory.resolve("home")));
        jvm.installJar("extlib-daemon");
        jvm.option("-D" + NativeLibrary.KEY + "=" + TestLibrary.path());
        String output = jvm.run(LaunchThroughStormsManager.class, root.toString());
        assertTrue(output.contains("superclass OciContainerManager\n"), output);
        assertTrue(output.contains("refused: launchWorkerProcess Failed"), output);

        String request = output.lines().filter(line -> line.startsWith("request ")).findFirst().orElseThrow();
        JsonNode document = Json.parse(Files.readString(Path.of(request.substring("request ".length()))));
        ImageStore store = ImageStore.create(root);
        assertEquals(2, document.path("layers").size());
        for (int i = 0; i < 2; i++) {
            assertEquals(store.localLayer(i).toString(),
                document.path("layers").path(i).path("path").asText());
        }
        JsonNode process = document.path("ociRuntimeConfig").path("process");
        assertEquals("PATH=/usr/bin:/bin", process.path("env").path(0).asText());
    }
}
