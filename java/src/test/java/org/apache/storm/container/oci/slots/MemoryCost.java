package org.apache.storm.container.oci.slots;

import java.io.IOException;
import java.util.Arrays;
import org.apache.storm.container.cgroup.CgroupUtils;
import org.apache.storm.daemon.supervisor.Container;

/** What it costs to read a worker's memory usage, by the plugin and as Storm's own manager does. */
final class MemoryCost {
    private static final int WARM_UP = 20_000;

    private MemoryCost() {
    }

    private interface Reading {
        long read() throws IOException;
    }

    /**
     * Measures both in turns.
     *
     * @param container a worker's
     * @param usageFile the file of its cgroup that holds its usage
     * @param calls how many to measure of each
     * @return the medians in nanoseconds, the plugin's first
     */
    static long[] medians(Container container, String usageFile, int calls) throws IOException {
        Reading ours = container::getMemoryUsageMb;
        Reading stock = () -> Long.parseLong(CgroupUtils.readFileByLine(usageFile).get(0));
        long[][] nanos = new long[2][calls];
        for (int i = -WARM_UP; i < calls; i++) {
            long plugins = nanos(ours);
            long stocks = nanos(stock);
            if (i >= 0) {
                nanos[0][i] = plugins;
                nanos[1][i] = stocks;
            }
        }
        return Arrays.stream(nanos).mapToLong(MemoryCost::median).toArray();
    }

    private static long nanos(Reading reading) throws IOException {
        long start = System.nanoTime();
        long value = reading.read();
        long taken = System.nanoTime() - start;
        if (value < 0) {
            throw new IllegalStateException("cannot read memory usage: got " + value);
        }
        return taken;
    }

    private static long median(long[] values) {
        Arrays.sort(values);
        return values[values.length / 2];
    }
}
