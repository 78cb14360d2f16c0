package org.apache.storm.container.oci.slots;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Whole lives of workers, on several slots at once: launch, an end, clean up. */
final class Rounds {
    private static final int EXIT_SECONDS = 120;
    /** 128 and the number of SIGTERM. */
    private static final int TOLD_TO_END = 143;

    private final Slots slots;
    private final int firstPort;
    private final List<Integer> ports = new ArrayList<>();
    private final ExecutorService threads;

    Rounds(Slots slots, int firstPort, int count) {
        this.slots = slots;
        this.firstPort = firstPort;
        for (int i = 0; i < count; i++) {
            ports.add(firstPort + i);
        }
        threads = Executors.newFixedThreadPool(count);
    }

    /**
     * One life on each slot; every other worker is killed, the rest end by themselves.
     *
     * @param number the round's, so that slots take turns
     * @param killed a topology whose workers go on until they are told to end
     * @param ends a topology whose workers end by themselves
     * @param code the exit code of the latter
     */
    void run(int number, SmallTopology killed, SmallTopology ends, int code) throws Exception {
        List<Callable<Void>> lives = new ArrayList<>();
        for (int port : ports) {
            boolean kill = (port - firstPort + number) % 2 == 0;
            lives.add(() -> {
                live(port, kill ? killed : ends, kill, kill ? TOLD_TO_END : code);
                return null;
            });
        }
        for (Future<Void> life : threads.invokeAll(lives)) {
            life.get();
        }
    }

    private void live(int port, SmallTopology topology, boolean kill, int code) throws Exception {
        String workerId = slots.launch(port, topology);
        if (kill) {
            slots.container(port).kill();
        }
        NotedExits.Exit exit = NotedExits.await(workerId, EXIT_SECONDS);
        if (exit.code() != code) {
            throw new IllegalStateException("worker " + workerId + " ended with " + exit.code() + ", not " + code);
        }
        slots.awaitDeath(port);
        slots.cleanUp(port);
    }
}
