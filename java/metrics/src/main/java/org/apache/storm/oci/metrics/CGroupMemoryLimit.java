package org.apache.storm.oci.metrics;

import java.io.IOException;
import java.util.Map;

/**
 * {@code CGroupMemoryLimit}: how much memory the worker may use, in bytes: what Storm has set for it, which the
 * supervisor watches over, and otherwise its cgroup's limit.
 */
public final class CGroupMemoryLimit extends CgroupMetric {
    private static final long BYTES_PER_MB = 1024 * 1024;

    /** No limit, as cgroups of version 1 say it. */
    private static final long UNLIMITED = Long.MAX_VALUE / 4096 * 4096;

    /** Instantiated by Storm. */
    public CGroupMemoryLimit() {
        super("memory", Map.of("CGroupMemoryLimit", CGroupMemoryLimit::limit));
    }

    private static long limit(Cgroup cgroup) throws IOException {
        // Storm gives it to every worker whose resources it manages.
        long setByStorm = Long.getLong("worker.memory_limit_mb", -1);
        if (setByStorm > 0) {
            return setByStorm * BYTES_PER_MB;
        }
        if (!cgroup.isVersion2()) {
            return cgroup.number("memory.limit_in_bytes");
        }
        return cgroup.words("memory.max")[0].equals("max") ? UNLIMITED : cgroup.number("memory.max");
    }
}
