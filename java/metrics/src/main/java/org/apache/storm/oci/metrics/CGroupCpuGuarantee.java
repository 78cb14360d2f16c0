package org.apache.storm.oci.metrics;

import java.io.IOException;
import java.util.Map;

/**
 * {@code CGroupCpuGuarantee}: the container's relative weight, as {@code cpu.shares} of version 1 has it.
 *
 * <p>Containers are given a quota and keep the default weight, 1024; {@link CGroupCpuGuaranteeByCfsQuota} tells what
 * the worker may use.
 */
public final class CGroupCpuGuarantee extends CgroupMetric {
    private static final long DEFAULT_SHARES = 1024;
    private static final long DEFAULT_WEIGHT = 100;

    /** Instantiated by Storm. */
    public CGroupCpuGuarantee() {
        super("cpu", Map.of("CGroupCpuGuarantee", CGroupCpuGuarantee::shares));
    }

    /** The kernel turns one into the other by the same rule. */
    private static long shares(Cgroup cgroup) throws IOException {
        return cgroup.isVersion2()
            ? Math.round((double) cgroup.number("cpu.weight") * DEFAULT_SHARES / DEFAULT_WEIGHT)
            : cgroup.number("cpu.shares");
    }
}
