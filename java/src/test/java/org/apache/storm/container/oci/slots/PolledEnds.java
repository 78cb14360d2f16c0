package org.apache.storm.container.oci.slots;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/** Sees the ends of processes as Storm's own manager does: a look every three seconds whether each is still there. */
final class PolledEnds {
    private static final int PERIOD_SECONDS = 3;

    private final Map<Long, Instant> seen = new ConcurrentHashMap<>();
    private final Map<Long, Path> watched = new ConcurrentHashMap<>();

    PolledEnds() {
        ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor();
        timer.scheduleAtFixedRate(this::look, PERIOD_SECONDS, PERIOD_SECONDS, TimeUnit.SECONDS);
    }

    void watch(long pid) {
        watched.put(pid, Path.of("/proc", Long.toString(pid)));
    }

    /** Answers when a look found the process gone. */
    Instant await(long pid) throws InterruptedException {
        while (!seen.containsKey(pid)) {
            Thread.sleep(TimeUnit.SECONDS.toMillis(1));
        }
        return seen.remove(pid);
    }

    private void look() {
        watched.forEach((pid, directory) -> {
            if (!Files.exists(directory)) {
                watched.remove(pid);
                seen.put(pid, Instant.now());
            }
        });
    }
}
