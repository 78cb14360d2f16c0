package org.apache.storm.oci.metrics;

import com.codahale.metrics.Gauge;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.BiConsumer;
import org.apache.storm.metrics2.WorkerMetricRegistrant;
import org.apache.storm.task.TopologyContext;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Gauges over the files of the worker's cgroup.
 *
 * <p>An exception here would end the worker, so there is none: what cannot be read is told once and left out.
 */
abstract class CgroupMetric implements WorkerMetricRegistrant {
    private static final Logger LOG = LoggerFactory.getLogger(CgroupMetric.class);

    private final String controller;
    private final Map<String, Reading> readings;

    /** What a gauge shows. */
    interface Reading {
        long read(Cgroup cgroup) throws IOException;
    }

    /**
     * Shows what one controller counts.
     *
     * @param controller its name on version 1
     * @param readings the names of the gauges, and what they show
     */
    CgroupMetric(String controller, Map<String, Reading> readings) {
        this.controller = controller;
        this.readings = readings;
    }

    @Override
    public final void registerMetrics(TopologyContext context) {
        register(Path.of("/"), context::registerGauge);
    }

    /** Registers each gauge that has a value, on a host with such a root directory. */
    final void register(Path root, BiConsumer<String, Gauge<Long>> registry) {
        try {
            Cgroup cgroup = Cgroup.of(root, controller);
            readings.forEach((name, reading) -> {
                CgroupGauge gauge = new CgroupGauge(name, cgroup, reading);
                if (gauge.getValue() != null) {
                    registry.accept(name, gauge);
                }
            });
        } catch (IOException | RuntimeException e) {
            LOG.warn("Worker metric {} is left out: {}", getClass().getName(), e.toString());
        }
    }

    private static final class CgroupGauge implements Gauge<Long> {
        private final String name;
        private final Cgroup cgroup;
        private final Reading reading;
        private final AtomicBoolean told = new AtomicBoolean();

        CgroupGauge(String name, Cgroup cgroup, Reading reading) {
            this.name = name;
            this.cgroup = cgroup;
            this.reading = reading;
        }

        /** The value, or {@code null}, which reporters pass over. */
        @Override
        public Long getValue() {
            try {
                return reading.read(cgroup);
            } catch (IOException | RuntimeException e) {
                if (!told.getAndSet(true)) {
                    LOG.warn("Metric {} has no value: {}", name, e.toString());
                }
                return null;
            }
        }
    }
}
