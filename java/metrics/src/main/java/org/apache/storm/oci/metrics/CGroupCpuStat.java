package org.apache.storm.oci.metrics;

import java.io.IOException;
import java.util.Map;

/**
 * {@code CGroupCpuStat.*}: how the processor quota held the container back since it started.
 *
 * <ul>
 * <li>{@code nr.period-count}: in how many periods it wanted to run
 * <li>{@code nr.throttled-count}, {@code nr.throttled-percentage}: in how many of them its quota was used up
 * <li>{@code throttled.time-ms}: how long its threads waited for the next period, in milliseconds, all together
 * </ul>
 */
public final class CGroupCpuStat extends CgroupMetric {
    private static final String FILE = "cpu.stat";
    private static final String PERIODS = "nr_periods";
    private static final String THROTTLED = "nr_throttled";

    /** Instantiated by Storm. */
    public CGroupCpuStat() {
        super("cpu", Map.of(
            "CGroupCpuStat.nr.period-count", cgroup -> cgroup.field(FILE, PERIODS),
            "CGroupCpuStat.nr.throttled-count", cgroup -> cgroup.field(FILE, THROTTLED),
            "CGroupCpuStat.nr.throttled-percentage", CGroupCpuStat::percentage,
            "CGroupCpuStat.throttled.time-ms", CGroupCpuStat::milliseconds));
    }

    private static long percentage(Cgroup cgroup) throws IOException {
        long periods = cgroup.field(FILE, PERIODS);
        return periods == 0 ? 0 : cgroup.field(FILE, THROTTLED) * 100 / periods;
    }

    private static long milliseconds(Cgroup cgroup) throws IOException {
        return Math.round(cgroup.isVersion2()
            ? cgroup.field(FILE, "throttled_usec") / 1e3
            : cgroup.field(FILE, "throttled_time") / 1e6);
    }
}
