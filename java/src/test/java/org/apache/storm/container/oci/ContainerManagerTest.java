package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.storm.Config;
import org.apache.storm.DaemonConfig;
import org.apache.storm.utils.ConfigUtils;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The manager as a supervisor's slots use it: whatever a user gets wrong costs one worker. */
@Timeout(value = 240, unit = TimeUnit.SECONDS)
class ContainerManagerTest {
    private static final int A_MOMENT_SECONDS = 60;
    private static final int SOON_MILLIS = 300;
    private static final int SLOTS = 8;

    @TempDir
    Path directory;

    private StormNode node;

    @BeforeEach
    void makeNode() throws IOException {
        node = new StormNode(directory);
    }

    private NativeRuncLibContainerManager prepared() throws IOException {
        NativeRuncLibContainerManager manager = new NativeRuncLibContainerManager();
        manager.prepare(node.conf);
        return manager;
    }

    /** Waits for a worker's exit callback and checks that it comes once. */
    private static int onlyExit(StormNode.Worker worker) throws InterruptedException {
        Integer code = worker.exits.poll(A_MOMENT_SECONDS, TimeUnit.SECONDS);
        assertNotNull(code, "no exit callback");
        assertNull(worker.exits.poll(SOON_MILLIS, TimeUnit.MILLISECONDS), "a second exit callback");
        return code;
    }

    private static Map<String, Object> image(Object tag) {
        return Map.of(Config.TOPOLOGY_OCI_IMAGE, tag);
    }

    @Test
    void aLaunchReachesTheLauncherWithStormsScriptAndTheImagesLayers() throws Exception {
        NativeRuncLibContainerManager manager = prepared();
        StormNode.Worker worker = node.worker();
        worker.launch(manager, image(ImageStore.TAG));

        String call = node.launcher.calls().stream().filter(line -> line.contains("run-oci-container")).findFirst()
            .orElseThrow();
        assertEquals(String.join(" ", StormNode.USER, "run-oci-container", worker.directory.getPath(),
            worker.request().toString(), worker.directory.getPath() + "/artifacts"), call);
        String script = Files.readString(worker.directory.toPath().resolve("storm-worker-script.sh"));
        assertTrue(script.contains("'export' 'GREETING=it'\"'\"'s';\n"), script);
        assertTrue(script.contains("umask 0027"), script);
        assertTrue(script.endsWith("exec 'java' '-version';"), script);
        JsonNode request = Json.parse(Files.readString(worker.request()));
        assertEquals(StormNode.PORT + "-" + worker.id, request.path("containerId").asText());
        for (int i = 0; i < node.store.layers.size(); i++) {
            String layer = request.path("layers").path(i).path("path").asText();
            assertEquals(node.store.localLayer(i).toString(), layer);
        }
        assertNotEquals(0, onlyExit(worker));
    }

    @Test
    void withoutAnImageOfItsOwnATopologyGetsTheDefault() throws Exception {
        NativeRuncLibContainerManager manager = prepared();
        StormNode.Worker worker = node.worker();
        worker.launch(manager, Map.of());
        assertTrue(Files.exists(worker.request()));
        onlyExit(worker);
    }

    @Test
    void aBadImageCostsOneCallbackAndNothingElse() throws Exception {
        node.conf.put(DaemonConfig.STORM_OCI_ALLOWED_IMAGES, List.of(ImageStore.TAG, "storm/none:9"));
        NativeRuncLibContainerManager manager = prepared();
        for (Object tag : List.of("storm/none:9", "storm/forbidden:1", "../../etc/passwd", "", "a\u0000b", 7,
            List.of("x"), "half \uD83D")) {
            StormNode.Worker worker = node.worker();
            assertDoesNotThrow(() -> worker.launch(manager, image(tag)), String.valueOf(tag));
            assertNotEquals(0, onlyExit(worker), String.valueOf(tag));
            assertTrue(manager.areAllProcessesDead(StormNode.USER, worker.id));
            manager.cleanup(StormNode.USER, worker.id, StormNode.PORT);
        }
        Files.delete(node.store.layer(0));
        StormNode.Worker worker = node.worker();
        worker.launch(manager, image(ImageStore.TAG));
        assertNotEquals(0, onlyExit(worker));
    }

    @Test
    void oddArgumentsCostOneCallbackToo() throws Exception {
        NativeRuncLibContainerManager manager = prepared();
        StormNode.Worker worker = node.worker();
        manager.launchWorkerProcess(null, null, null, -1, worker.id, null, null, null, worker.exits::add, null);
        assertNotEquals(0, onlyExit(worker));
        manager.launchWorkerProcess(StormNode.USER, StormNode.TOPOLOGY, image(ImageStore.TAG), StormNode.PORT,
            worker.id, List.of("java"), null, null, worker.exits::add, new File(directory.toFile(), "not/there"));
        assertNotEquals(0, onlyExit(worker));
        manager.launchWorkerProcess("no such user", StormNode.TOPOLOGY, image(ImageStore.TAG), 0, worker.id,
            List.of("java"), null, null, null, worker.directory);
    }

    @Test
    void slotsLaunchAtOnce() throws Exception {
        NativeRuncLibContainerManager manager = prepared();
        List<StormNode.Worker> workers = new ArrayList<>();
        List<Thread> slots = new ArrayList<>();
        for (int i = 0; i < SLOTS; i++) {
            StormNode.Worker worker = node.worker();
            workers.add(worker);
            // Half of them cannot find their image.
            String tag = i % 2 == 0 ? ImageStore.TAG : "storm/none:" + i;
            slots.add(new Thread(() -> assertDoesNotThrow(() -> worker.launch(manager, image(tag)))));
        }
        slots.forEach(Thread::start);
        for (int i = 0; i < SLOTS; i++) {
            slots.get(i).join();
            onlyExit(workers.get(i));
            assertEquals(i % 2 == 0, Files.exists(workers.get(i).request()));
        }
    }

    @Test
    void afterCleanupNothingIsToldOfAWorkerAnyMore() throws Exception {
        NativeRuncLibContainerManager manager = prepared();
        for (int i = 0; i < 10; i++) {
            StormNode.Worker worker = node.worker();
            worker.launch(manager, image(ImageStore.TAG));
            manager.cleanup(StormNode.USER, worker.id, StormNode.PORT);
            int told = worker.exits.size();
            Thread.sleep(SOON_MILLIS / 10);
            assertEquals(told, worker.exits.size());
        }
    }

    @Test
    void workersThatNeverWereAreDeadAndCleanedUp() throws Exception {
        NativeRuncLibContainerManager manager = prepared();
        for (String id : new String[] {node.worker().id, "not a worker", "", "../..", "a\u0000", null}) {
            for (int port : new int[] {-1, 0, StormNode.PORT}) {
                assertDoesNotThrow(() -> {
                    manager.reserveResourcesForWorker(id, null, null, "zone 9");
                    manager.kill(StormNode.USER, id);
                    manager.forceKill(null, id);
                    manager.cleanup(StormNode.USER, id, port);
                    manager.cleanup(StormNode.USER, id, port);
                    manager.getMemoryUsage(StormNode.USER, id, port);
                    manager.runProfilingCommand(
                        StormNode.USER, id, List.of("", "1", "jstack"), null, "prefix", directory.toFile());
                }, String.valueOf(id));
            }
            if (id != null) {
                assertTrue(manager.areAllProcessesDead(StormNode.USER, id), id);
            }
        }
    }

    @Test
    void profilingHandsTheLauncherStormsLine() throws Exception {
        NativeRuncLibContainerManager manager = prepared();
        StormNode.Worker worker = node.worker();
        node.launcher.record(worker.id, ConfigUtils.workerRoot(node.conf));
        String artifacts = ConfigUtils.workerArtifactsRoot(node.conf, StormNode.TOPOLOGY, StormNode.PORT);
        List<String> command = List.of("", "17", "jstack", artifacts);
        assertTrue(manager.runProfilingCommand(StormNode.USER, worker.id, command, Map.of("K", "v"), "prefix",
            new File(artifacts)));
        assertEquals(" 17 jstack " + artifacts, Files.readString(Path.of(artifacts, "profile.sh")));
        long pid = ProcessHandle.current().pid();
        String call = StormNode.USER + " profile-oci-container " + pid + " " + artifacts + "/profile.sh";
        assertEquals(call, node.launcher.calls().get(node.launcher.calls().size() - 1));
    }

    @Test
    void whatStormAsksOfAManagerIsAnswered() throws Exception {
        NativeRuncLibContainerManager manager = prepared();
        assertTrue(manager.isResourceManaged());
        assertTrue(manager.getSystemFreeMemoryMb() > 0);
        assertFalse(manager.getMemoryUsage(StormNode.USER, node.worker().id, StormNode.PORT) > 0);
    }
}
