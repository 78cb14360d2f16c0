package org.apache.storm.oci.metrics;

import java.io.IOException;
import java.util.Map;

/**
 * {@code CGroupCpu.user-ms} and {@code CGroupCpu.sys-ms}: the processor time that the worker's container has used, in
 * milliseconds, in user and in kernel mode.
 */
public final class CGroupCpu extends CgroupMetric {
    /** {@code USER_HZ}, which is part of the kernel's interface: the same on every machine that runs this JVM. */
    private static final long TICKS_PER_SECOND = 100;

    /** Instantiated by Storm. */
    public CGroupCpu() {
        super("cpuacct", Map.of(
            "CGroupCpu.user-ms", cgroup -> milliseconds(cgroup, "user"),
            "CGroupCpu.sys-ms", cgroup -> milliseconds(cgroup, "system")));
    }

    private static long milliseconds(Cgroup cgroup, String mode) throws IOException {
        return cgroup.isVersion2()
            ? cgroup.field("cpu.stat", mode + "_usec") / 1000
            : cgroup.field("cpuacct.stat", mode) * 1000 / TICKS_PER_SECOND;
    }
}
