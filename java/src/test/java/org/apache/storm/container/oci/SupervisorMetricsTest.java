package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.codahale.metrics.MetricRegistry;
import com.codahale.metrics.Timer;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import javax.management.MBeanServer;
import javax.management.ObjectName;
import org.apache.storm.DaemonConfig;
import org.apache.storm.command.KillWorkers;
import org.apache.storm.daemon.metrics.reporters.ConsolePreparableReporter;
import org.apache.storm.daemon.metrics.reporters.CsvPreparableReporter;
import org.apache.storm.daemon.metrics.reporters.JmxPreparableReporter;
import org.apache.storm.daemon.metrics.reporters.PreparableReporter;
import org.apache.storm.metric.StormMetricsRegistry;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The library's numbers in the reporters of Storm's configuration, beside those of Storm's own registry. */
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class SupervisorMetricsTest {
    private static final MBeanServer BEANS = ManagementFactory.getPlatformMBeanServer();
    private static final List<MetricRegistry> PREPARED = new ArrayList<>();

    @TempDir
    Path directory;

    private StormNode node;
    private Path csv;
    private String domain;

    /** Keeps the registries it gets. */
    public static final class Collecting implements PreparableReporter {
        @Override
        public void prepare(MetricRegistry registry, Map<String, Object> conf) {
            PREPARED.add(registry);
        }

        @Override
        public void start() {
        }

        @Override
        public void stop() {
        }
    }

    /** Cannot work. */
    public static final class Failing implements PreparableReporter {
        @Override
        public void prepare(MetricRegistry registry, Map<String, Object> conf) {
            throw new IllegalStateException("no server");
        }

        @Override
        public void start() {
        }

        @Override
        public void stop() {
        }
    }

    @BeforeEach
    void makeNode() throws IOException {
        node = new StormNode(directory);
        csv = Files.createDirectories(directory.resolve("csv"));
        domain = "test-" + directory.getFileName();
        node.conf.put(DaemonConfig.STORM_DAEMON_METRICS_REPORTER_CSV_LOG_DIR, csv.toString());
        node.conf.put(DaemonConfig.STORM_DAEMON_METRICS_REPORTER_PLUGIN_DOMAIN, domain);
        node.conf.put(DaemonConfig.STORM_DAEMON_METRICS_REPORTER_INTERVAL_SECS, 1);
        PREPARED.clear();
    }

    private void name(Class<?>... reporters) {
        node.conf.put(DaemonConfig.STORM_DAEMON_METRICS_REPORTER_PLUGINS,
            List.of(reporters).stream().map(Class::getName).toList());
    }

    /** Answers an attribute of the bean of a metric, or null when there is none. */
    private Object bean(String metric, String attribute) throws Exception {
        for (ObjectName bean : BEANS.queryNames(new ObjectName(domain + ":*"), null)) {
            if (ObjectName.quote(metric).equals(bean.getKeyProperty("name"))) {
                return BEANS.getAttribute(bean, attribute);
            }
        }
        return null;
    }

    private static void await(String what, Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!condition.call()) {
            assertTrue(System.nanoTime() < end, "waited in vain for " + what);
            Thread.sleep(10);
        }
    }

    @Test
    void stormsReportersTakeASecondRegistry() throws Exception {
        name(Failing.class, JmxPreparableReporter.class, ConsolePreparableReporter.class, CsvPreparableReporter.class);
        NativeRuncLibContainerManager manager = new NativeRuncLibContainerManager();
        manager.prepare(node.conf);
        // As the supervisor does after it: its registry, the same reporters.
        StormMetricsRegistry storms = new StormMetricsRegistry();
        storms.registerMeter("supervisor:num-launched").mark();
        name(JmxPreparableReporter.class, ConsolePreparableReporter.class, CsvPreparableReporter.class);
        storms.startMetricsReporters(node.conf);
        try {
            assertEquals(1L, bean("supervisor:num-launched", "Count"));
            assertEquals(0L, bean("storm-oci:exits.requested", "Value"));
            StormNode.Worker worker = node.worker();
            worker.launch(manager, Map.of());
            assertNotNull(worker.exits.poll(60, TimeUnit.SECONDS));
            await("a launch that failed", () -> Long.valueOf(1).equals(bean("storm-oci:launches.launch", "Value")));
            for (String metric : List.of("storm-oci:launches.ok", "storm-oci:containers", "supervisor:num-launched")) {
                await(metric, () -> Files.exists(csv.resolve(metric + ".csv")));
            }
        } finally {
            storms.stopMetricsReporters();
        }
    }

    @Test
    void numbersAreGaugesAndTheStepsOfLaunchesTimers() throws Exception {
        name(Collecting.class);
        NativeRuncLibContainerManager manager = new NativeRuncLibContainerManager();
        manager.prepare(node.conf);
        assertEquals(1, PREPARED.size());
        MetricRegistry registry = PREPARED.get(0);
        assertTrue(registry.getGauges().keySet().stream().allMatch(name -> name.startsWith("storm-oci:")));
        assertEquals(0L, registry.getGauges().get("storm-oci:launches.ok").getValue());
        assertEquals(0L, registry.getGauges().get("storm-oci:oom-kills.host").getValue());
        manager.metrics.launched(Json.parse("{\"phases\":[{\"name\":\"launcher.layers\",\"micros\":1500}]}"));
        Timer timer = registry.getTimers().get("storm-oci:launch-phase.launcher.layers");
        assertEquals(1, timer.getCount());
        assertEquals(TimeUnit.MICROSECONDS.toNanos(1500), timer.getSnapshot().getMax());
    }

    @Test
    void aCommandBesideTheSupervisorReportsNothing() throws Exception {
        name(Collecting.class);
        Path file = directory.resolve("storm-oci.prom");
        node.conf.put("storm.oci.metrics.prometheus.file", file.toString());
        KillWorkers.prepare(new NativeRuncLibContainerManager(), node.conf);
        assertTrue(PREPARED.isEmpty());
        assertFalse(Files.exists(file));
        new NativeRuncLibContainerManager().prepare(node.conf);
        assertEquals(1, PREPARED.size());
        await("the metrics file", () -> Files.exists(file));
    }
}
