package org.apache.storm.oci.metrics;

import java.io.IOException;
import java.util.Map;

/**
 * {@code CGroupCpuGuaranteeByCfsQuota}: how much processor time the container may use, in percent of a core; -1 for as
 * much as there is.
 */
public final class CGroupCpuGuaranteeByCfsQuota extends CgroupMetric {
    private static final long UNLIMITED = -1;

    /** Instantiated by Storm. */
    public CGroupCpuGuaranteeByCfsQuota() {
        super("cpu", Map.of("CGroupCpuGuaranteeByCfsQuota", CGroupCpuGuaranteeByCfsQuota::percent));
    }

    private static long percent(Cgroup cgroup) throws IOException {
        long quota;
        long period;
        if (cgroup.isVersion2()) {
            String[] both = cgroup.words("cpu.max");
            quota = both[0].equals("max") ? UNLIMITED : cgroup.number("cpu.max", both[0]);
            period = cgroup.number("cpu.max", both[1]);
        } else {
            quota = cgroup.number("cpu.cfs_quota_us");
            period = cgroup.number("cpu.cfs_period_us");
        }
        return quota < 0 ? UNLIMITED : quota * 100 / period;
    }
}
