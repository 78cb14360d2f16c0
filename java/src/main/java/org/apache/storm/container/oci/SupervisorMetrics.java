package org.apache.storm.container.oci;

import com.codahale.metrics.Gauge;
import com.codahale.metrics.MetricRegistry;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.storm.daemon.metrics.MetricsUtils;
import org.apache.storm.daemon.metrics.reporters.PreparableReporter;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What the library counts, and how long launches take, in a metric registry for the reporters that Storm's
 * configuration names.
 *
 * <p>A plugin cannot reach the supervisor's own registry. So each reporter has a second instance, for this one; its
 * names begin with {@code storm-oci:}, which none of Storm's does.
 */
final class SupervisorMetrics {
    private static final Logger LOG = LoggerFactory.getLogger(SupervisorMetrics.class);

    private static final String PREFIX = "storm-oci:";

    /** The command that prepares a manager of its own beside the supervisor's. */
    private static final String KILL_WORKERS = "org.apache.storm.command.KillWorkers";

    /** Reporters ask for one number after the other; for so long they get them from one answer of the library. */
    private static final long KEPT_NANOS = TimeUnit.SECONDS.toNanos(1);

    private final long handle;
    private final MetricRegistry registry = new MetricRegistry();
    private JsonNode numbers;
    private long readAt;

    private SupervisorMetrics(long handle) {
        this.handle = handle;
    }

    /**
     * Tells whether this JVM is the one that reports a node's metrics: the supervisor. To be called by the thread that
     * prepares the plugin.
     */
    static boolean isReporting() {
        return StackWalker.getInstance().walk(
            frames -> frames.noneMatch(frame -> frame.getClassName().equals(KILL_WORKERS)));
    }

    /**
     * Makes a metric of each number of the library.
     *
     * @param handle the containers' handle
     * @throws IOException if the library does not answer
     */
    static SupervisorMetrics open(long handle) throws IOException {
        SupervisorMetrics metrics = new SupervisorMetrics(handle);
        metrics.numbers = Json.parse(NativeContainers.metrics(handle));
        metrics.readAt = System.nanoTime();
        metrics.numbers.fieldNames().forEachRemaining(name -> {
            Gauge<Long> gauge = () -> metrics.number(name);
            metrics.registry.register(PREFIX + name, gauge);
        });
        return metrics;
    }

    /** Starts the reporters. What is wrong with one of them costs its report, and nothing else. */
    void report(Map<String, Object> conf) {
        List<PreparableReporter> reporters;
        try {
            reporters = MetricsUtils.getPreparableReporters(conf);
        } catch (RuntimeException | LinkageError e) {
            LOG.warn("Cannot make the reporters of metrics: {}", e.toString());
            return;
        }
        for (PreparableReporter reporter : reporters) {
            try {
                reporter.prepare(registry, conf);
                reporter.start();
            } catch (RuntimeException | LinkageError e) {
                LOG.warn("Cannot report metrics through {}: {}", reporter.getClass().getName(), e.toString());
            }
        }
    }

    /** Adds how long the steps of a launch took, from its outcome. */
    void launched(JsonNode outcome) {
        for (JsonNode phase : outcome.path("phases")) {
            registry.timer(PREFIX + "launch-phase." + phase.path("name").asText())
                .update(phase.path("micros").asLong(), TimeUnit.MICROSECONDS);
        }
    }

    private synchronized long number(String name) {
        long now = System.nanoTime();
        if (now - readAt >= KEPT_NANOS) {
            readAt = now;
            try {
                numbers = Json.parse(NativeContainers.metrics(handle));
            } catch (IOException e) {
                LOG.debug("Cannot read metrics: {}", e.getMessage());
            }
        }
        return numbers.path(name).asLong();
    }
}
