package org.apache.storm.oci.metrics;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.codahale.metrics.Gauge;
import java.io.IOException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.zip.ZipFile;
import org.apache.storm.Config;
import org.apache.storm.Constants;
import org.apache.storm.generated.StormTopology;
import org.apache.storm.metric.SystemBolt;
import org.apache.storm.metrics2.StormMetricRegistry;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.utils.Utils;
import org.junit.jupiter.api.Test;

/** The metrics as Storm makes them in each worker, on this machine. */
class SystemBoltTest {
    private static final int SYSTEM_TASK = (int) Constants.SYSTEM_TASK_ID;
    private static final Set<String> CPU_TIME = Set.of("CGroupCpu.user-ms", "CGroupCpu.sys-ms");

    /** The gauges of cgroups that a worker has with these classes of the cluster's and of its topology's. */
    private static Map<String, Gauge<?>> gauges(Map<String, String> workerMetrics, Map<String, String> topologys) {
        Map<String, Object> conf = new HashMap<>(Utils.readDefaultConfig());
        conf.put(Config.STORM_CLUSTER_MODE, "local");
        conf.put(Config.WORKER_METRICS, workerMetrics);
        conf.put(Config.TOPOLOGY_WORKER_METRICS, topologys);
        StormMetricRegistry registry = new StormMetricRegistry();
        TopologyContext context = new TopologyContext(new StormTopology(), conf,
            Map.of(SYSTEM_TASK, Constants.SYSTEM_COMPONENT_ID), Map.of(), Map.of(), Map.of(), "test-1-1", "", "",
            SYSTEM_TASK, 6700, List.of(SYSTEM_TASK), Map.of(), Map.of(), new HashMap<>(), new HashMap<>(),
            new AtomicBoolean(false), registry);
        new SystemBolt().prepare(conf, context, null);
        Map<String, Gauge<?>> gauges = new HashMap<>();
        registry.getTaskGauges(SYSTEM_TASK).forEach((name, gauge) -> {
            if (name.startsWith("CGroup")) {
                gauges.put(name, gauge);
            }
        });
        return gauges;
    }

    @SuppressWarnings("unchecked")
    private static Map<String, String> stormsOwn() {
        return (Map<String, String>) Utils.readDefaultConfig().get(Config.WORKER_METRICS);
    }

    private static Map<String, String> ours() {
        Map<String, String> ours = new HashMap<>(stormsOwn());
        ours.replaceAll((key, name) -> name.replace("org.apache.storm.metrics2.cgroup", "org.apache.storm.oci.metrics"));
        return ours;
    }

    @Test
    void thisMachineHasValues() {
        Map<String, Gauge<?>> gauges = gauges(ours(), Map.of());
        assertTrue(gauges.keySet().containsAll(CPU_TIME), gauges.keySet().toString());
        gauges.forEach((name, gauge) -> {
            long value = ((Number) gauge.getValue()).longValue();
            // A percentage of -1 is no quota.
            assertTrue(value >= (name.equals("CGroupCpuGuaranteeByCfsQuota") ? -1 : 0), name + " = " + value);
        });
        assertTrue(((Number) gauges.get("CGroupCpu.user-ms").getValue()).longValue() > 0);
    }

    /** Storm's own work on version 1 only; there they look at another cgroup, but have the same names. */
    @Test
    void stormsNamesAreOurs() {
        Set<String> ours = gauges(ours(), Map.of()).keySet();
        Set<String> storms = gauges(stormsOwn(), Map.of()).keySet();
        assertTrue(ours.containsAll(storms), ours + " have not all of " + storms);
    }

    @Test
    void withStormsOwnBesideThemAWorkerStillStarts() {
        assertTrue(gauges(stormsOwn(), ours()).keySet().containsAll(CPU_TIME));
    }

    @Test
    void theJarHoldsOurClassesOnly() throws IOException {
        try (ZipFile jar = new ZipFile(System.getProperty("storm.oci.metrics.jar"))) {
            jar.stream()
                .filter(entry -> !entry.isDirectory())
                .map(entry -> entry.getName())
                .forEach(name -> assertTrue(
                    name.equals("META-INF/MANIFEST.MF")
                        || name.startsWith("org/apache/storm/oci/metrics/") && name.endsWith(".class"), name));
        }
    }
}
