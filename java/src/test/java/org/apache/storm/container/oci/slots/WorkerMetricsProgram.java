package org.apache.storm.container.oci.slots;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.storm.Config;
import org.apache.storm.Constants;
import org.apache.storm.generated.StormTopology;
import org.apache.storm.metric.SystemBolt;
import org.apache.storm.metrics2.StormMetricRegistry;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.utils.Utils;

/**
 * Runs in a worker's container in the worker's place: makes the worker's metrics as Storm does, and writes those of its
 * cgroup into a file, {@code name value} a line.
 *
 * <p>Arguments: the file, then the classes to make metrics with.
 */
public final class WorkerMetricsProgram {
    private static final int SYSTEM_TASK = (int) Constants.SYSTEM_TASK_ID;

    private WorkerMetricsProgram() {
    }

    /** Writes the file, which appears whole. */
    public static void main(String[] args) throws Exception {
        Map<String, String> classes = new HashMap<>();
        List.of(args).subList(1, args.length).forEach(name -> classes.put(name, name));
        Map<String, Object> conf = new HashMap<>(Utils.readDefaultConfig());
        conf.put(Config.STORM_CLUSTER_MODE, "local");
        conf.put(Config.WORKER_METRICS, classes);
        StormMetricRegistry registry = new StormMetricRegistry();
        TopologyContext context = new TopologyContext(new StormTopology(), conf,
            Map.of(SYSTEM_TASK, Constants.SYSTEM_COMPONENT_ID), Map.of(), Map.of(), Map.of(), "metrics", "", "",
            SYSTEM_TASK, 0, List.of(SYSTEM_TASK), Map.of(), Map.of(), new HashMap<>(), new HashMap<>(),
            new AtomicBoolean(false), registry);
        new SystemBolt().prepare(conf, context, null);
        Map<String, Object> values = new TreeMap<>();
        registry.getTaskGauges(SYSTEM_TASK).forEach((name, gauge) -> values.put(name, gauge.getValue()));
        StringBuilder lines = new StringBuilder();
        values.forEach((name, value) -> {
            if (name.startsWith("CGroup")) {
                lines.append(name).append(' ').append(value).append('\n');
            }
        });
        Path part = Path.of(args[0] + ".part");
        Files.writeString(part, lines);
        Files.move(part, Path.of(args[0]));
        System.exit(0);
    }
}
