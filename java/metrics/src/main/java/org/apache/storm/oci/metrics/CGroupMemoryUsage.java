package org.apache.storm.oci.metrics;

import java.io.IOException;
import java.util.Map;

/**
 * {@code CGroupMemoryUsage}: the container's working set in bytes, which is what the supervisor sees and enforces: what
 * is charged to it, less inactive file pages, which the kernel drops first.
 */
public final class CGroupMemoryUsage extends CgroupMetric {
    /** Instantiated by Storm. */
    public CGroupMemoryUsage() {
        super("memory", Map.of("CGroupMemoryUsage", CGroupMemoryUsage::workingSet));
    }

    private static long workingSet(Cgroup cgroup) throws IOException {
        boolean isVersion2 = cgroup.isVersion2();
        long usage = cgroup.number(isVersion2 ? "memory.current" : "memory.usage_in_bytes");
        long inactive = cgroup.field("memory.stat", isVersion2 ? "inactive_file" : "total_inactive_file");
        return Math.max(0, usage - inactive);
    }
}
