package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.apache.storm.Config;
import org.apache.storm.DaemonConfig;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What is wrong with an installation is said at once and completely. */
class PrepareTest {
    @TempDir
    Path directory;

    private StormNode node;

    @BeforeEach
    void makeNode() throws IOException {
        node = new StormNode(directory);
    }

    private OciNativeException prepareFails() {
        return assertThrows(OciNativeException.class, () -> new NativeRuncLibContainerManager().prepare(node.conf));
    }

    @Test
    void everyProblemHasItsLine() {
        node.conf.put(Config.SUPERVISOR_WORKER_LAUNCHER, "/no/such/launcher");
        node.conf.put(DaemonConfig.STORM_OCI_LAYER_MOUNTS_TO_KEEP, "many");
        node.conf.put(DaemonConfig.STORM_OCI_SECCOMP_PROFILE, "/no/such/seccomp.json");
        node.conf.put(DaemonConfig.STORM_OCI_IMAGE_HDFS_TOPLEVEL_DIR, "gopher://host/containers");
        List<String> lines = prepareFails().getMessage().lines().toList();
        for (String part : List.of("/no/such/launcher", DaemonConfig.STORM_OCI_LAYER_MOUNTS_TO_KEEP,
            "/no/such/seccomp.json", "gopher")) {
            assertEquals(1, lines.stream().filter(line -> line.contains(part)).count(), part + " in " + lines);
        }
    }

    @Test
    void anInstallationProblemIsOne() {
        node.conf.put(Config.SUPERVISOR_WORKER_LAUNCHER, "/no/such/launcher");
        assertEquals("INSTALLATION", prepareFails().getCode());
    }

    @Test
    void aConfigurationProblemIsOne() {
        node.conf.put(DaemonConfig.STORM_OCI_LAYER_MOUNTS_TO_KEEP, Map.of("a", 1));
        assertEquals("CONFIG", prepareFails().getCode());
    }

    @Test
    void valuesOfOddTypesAreTolerated() throws IOException {
        node.conf.put(DaemonConfig.STORM_OCI_LAYER_MOUNTS_TO_KEEP, 100L);
        node.conf.put("an.array", new Object[] {1, "two", null});
        node.conf.put("a.class", PrepareTest.class);
        node.conf.put("a.thread", Thread.currentThread());
        node.conf.put("not.a.number", Double.NaN);
        node.conf.put(DaemonConfig.STORM_CGROUP_MEMORY_ENFORCEMENT_ENABLE, "true");
        NativeRuncLibContainerManager manager = new NativeRuncLibContainerManager();
        manager.prepare(node.conf);
        assertTrue(node.launcher.calls().stream().anyMatch(call -> call.startsWith("--checksetup")));
    }
}
