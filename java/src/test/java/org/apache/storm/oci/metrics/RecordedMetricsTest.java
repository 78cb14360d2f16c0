package org.apache.storm.oci.metrics;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.codahale.metrics.Gauge;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The metrics on hosts of every kind, from what such hosts showed. */
class RecordedMetricsTest {
    private static final String CGROUP = "storm/6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb";
    private static final String SET_BY_STORM = "worker.memory_limit_mb";

    @TempDir
    Path root;

    @AfterEach
    void clearProperty() {
        System.clearProperty(SET_BY_STORM);
    }

    private static List<CgroupMetric> all() {
        return List.of(new CGroupCpu(), new CGroupCpuGuarantee(), new CGroupCpuGuaranteeByCfsQuota(),
            new CGroupCpuStat(), new CGroupMemoryLimit(), new CGroupMemoryUsage());
    }

    private Map<String, Gauge<Long>> gauges() {
        Map<String, Gauge<Long>> gauges = new HashMap<>();
        all().forEach(metric -> metric.register(root, gauges::put));
        return gauges;
    }

    private Map<String, Long> values() {
        Map<String, Long> values = new HashMap<>();
        gauges().forEach((name, gauge) -> values.put(name, gauge.getValue()));
        return values;
    }

    @Test
    void controllersThatShareHierarchies() throws IOException {
        RecordedHost.unpack("v1", root);
        assertEquals(Map.of(
            "CGroupCpu.user-ms", 1220L,
            "CGroupCpu.sys-ms", 870L,
            "CGroupCpuGuarantee", 1024L,
            "CGroupCpuGuaranteeByCfsQuota", 50L,
            "CGroupCpuStat.nr.period-count", 40L,
            "CGroupCpuStat.nr.throttled-count", 39L,
            "CGroupCpuStat.nr.throttled-percentage", 97L,
            "CGroupCpuStat.throttled.time-ms", 1654L,
            "CGroupMemoryLimit", 402653184L,
            "CGroupMemoryUsage", 8560640L - 7741440L), values());
    }

    @Test
    void hierarchiesOfBothVersions() throws IOException {
        RecordedHost.unpack("hybrid", root);
        assertEquals(Map.of(
            "CGroupCpu.user-ms", 1640L,
            "CGroupCpu.sys-ms", 410L,
            "CGroupCpuGuarantee", 1024L,
            "CGroupCpuGuaranteeByCfsQuota", 150L,
            "CGroupCpuStat.nr.period-count", 20L,
            "CGroupCpuStat.nr.throttled-count", 1L,
            "CGroupCpuStat.nr.throttled-percentage", 5L,
            "CGroupCpuStat.throttled.time-ms", 3L,
            "CGroupMemoryLimit", 402653184L,
            "CGroupMemoryUsage", 2338816L - 4096L), values());
    }

    @Test
    void oneHierarchyOfVersion2() throws IOException {
        RecordedHost.unpack("v2", root);
        assertEquals(Map.of(
            "CGroupCpu.user-ms", 1020L,
            "CGroupCpu.sys-ms", 715L,
            "CGroupCpuGuarantee", 1024L,
            "CGroupCpuGuaranteeByCfsQuota", 50L,
            "CGroupCpuStat.nr.period-count", 35L,
            "CGroupCpuStat.nr.throttled-count", 34L,
            "CGroupCpuStat.nr.throttled-percentage", 97L,
            "CGroupCpuStat.throttled.time-ms", 1603L,
            "CGroupMemoryLimit", 402653184L,
            "CGroupMemoryUsage", 8462336L - 4026368L), values());
    }

    @Test
    void noLimitIsTheSameNumberEverywhere() throws IOException {
        RecordedHost.unpack("v2", root);
        Path directory = root.resolve("sys/fs/cgroup").resolve(CGROUP);
        Files.writeString(directory.resolve("memory.max"), "max\n");
        Files.writeString(directory.resolve("cpu.max"), "max 100000\n");
        assertEquals(9223372036854771712L, values().get("CGroupMemoryLimit"));
        assertEquals(-1, values().get("CGroupCpuGuaranteeByCfsQuota"));
        Files.writeString(directory.resolve("cpu.weight"), "39\n");
        assertEquals(399, values().get("CGroupCpuGuarantee"));
    }

    @Test
    void theLimitThatTheSupervisorWatchesComesFirst() throws IOException {
        RecordedHost.unpack("v2", root);
        System.setProperty(SET_BY_STORM, "768");
        assertEquals(768L << 20, values().get("CGroupMemoryLimit"));
    }

    @Test
    void aMountMayShowPartOfItsHierarchyOnly() throws IOException {
        RecordedHost.unpack("v2", root);
        Path mountinfo = root.resolve("proc/self/mountinfo");
        Files.createDirectories(root.resolve("sys/fs/whole group"));
        Files.move(root.resolve("sys/fs/cgroup/storm"), root.resolve("sys/fs/whole group/part"));
        Files.writeString(mountinfo, """
            33 24 0:31 /stor /sys/fs/cgroup rw - cgroup2 cgroup rw
            34 24 0:31 /storm /sys/fs/whole\\040group/part rw shared:4 - cgroup2 cgroup rw
            """);
        assertEquals(402653184L, values().get("CGroupMemoryLimit"));
    }

    @Test
    void theCgroupMayBeTheRootOfItsNamespace() throws IOException {
        RecordedHost.unpack("v2", root);
        Files.writeString(root.resolve("proc/self/cgroup"), "0::/\n");
        Files.writeString(root.resolve("proc/self/mountinfo"),
            "33 24 0:31 / /sys/fs/cgroup/" + CGROUP + " rw - cgroup2 cgroup rw\n");
        assertEquals(402653184L, values().get("CGroupMemoryLimit"));
    }

    /** So it is in every container: the runtime's mount of the cgroup alone, below the host's of all. */
    @Test
    void aLaterMountCoversAnEarlierOne() throws IOException {
        RecordedHost.unpack("v2", root);
        Files.writeString(root.resolve("proc/self/mountinfo"),
            "33 24 0:31 /" + CGROUP + " /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
                + "34 33 0:31 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
        Files.writeString(root.resolve("sys/fs/cgroup/memory.max"), "4096\n");
        assertEquals(402653184L, values().get("CGroupMemoryLimit"));
    }

    @Test
    void whatIsNotThereIsLeftOut() throws IOException {
        assertEquals(Map.of(), values());
        RecordedHost.unpack("v2", root);
        Path directory = root.resolve("sys/fs/cgroup").resolve(CGROUP);
        // So it is where the processor controller is not switched on.
        Files.writeString(directory.resolve("cpu.stat"), "usage_usec 3000\nuser_usec 2000\nsystem_usec 1000\n");
        for (String file : List.of("cpu.max", "cpu.weight", "memory.current")) {
            Files.delete(directory.resolve(file));
        }
        Files.writeString(directory.resolve("memory.max"), "plenty\n");
        assertEquals(Map.of("CGroupCpu.user-ms", 2L, "CGroupCpu.sys-ms", 1L), values());
    }

    @Test
    void aGaugeWhoseFilesGoHasNoValue() throws IOException {
        RecordedHost.unpack("hybrid", root);
        Map<String, Gauge<Long>> gauges = gauges();
        assertEquals(10, gauges.size());
        try (Stream<Path> files = Files.walk(root.resolve("sys/fs/cgroup")).filter(Files::isRegularFile)) {
            for (Path file : files.toList()) {
                Files.writeString(file, "");
            }
        }
        gauges.forEach((name, gauge) -> assertNull(gauge.getValue(), name));
    }

    @Test
    void aNameThatIsTakenEndsNoWorker() throws IOException {
        RecordedHost.unpack("v1", root);
        for (CgroupMetric metric : all()) {
            metric.register(root, (name, gauge) -> {
                throw new IllegalArgumentException("A metric named " + name + " already exists");
            });
        }
        assertTrue(values().size() > 1);
    }
}
