package org.apache.storm.container.oci.slots;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.function.Predicate;
import org.apache.storm.daemon.supervisor.Container;
import org.apache.storm.daemon.supervisor.ContainerLauncher;
import org.apache.storm.daemon.supervisor.ContainerMemoryTracker;
import org.apache.storm.daemon.supervisor.ContainerRecoveryException;
import org.apache.storm.generated.LSWorkerHeartbeat;
import org.apache.storm.metric.StormMetricsRegistry;
import org.apache.storm.utils.ConfigUtils;
import org.apache.storm.utils.LocalState;
import org.apache.storm.utils.ServerConfigUtils;
import org.apache.storm.utils.Time;

/**
 * A supervisor's slots: stock Storm's launcher of containers and what it launched, one a port. What a slot of Storm
 * does in its own time happens here when it is told to.
 */
final class Slots {
    private static final int SUPERVISOR_PORT = 6628;
    private static final String SUPERVISOR = "supervisor-without-a-cluster";
    private static final long LIMIT_MILLIS = 120_000;
    private static final long LOOK_MILLIS = 2;

    private final Map<String, Object> conf;
    private final ContainerLauncher launcher;
    private final LocalState state;
    private final ConcurrentMap<Integer, Container> containers = new ConcurrentHashMap<>();

    Slots(Map<String, Object> conf) throws IOException {
        this.conf = conf;
        StormMetricsRegistry registry = new StormMetricsRegistry();
        launcher = ContainerLauncher.make(
            conf, SUPERVISOR, SUPERVISOR_PORT, null, registry, new ContainerMemoryTracker(registry), null);
        state = ServerConfigUtils.supervisorState(conf);
    }

    Container container(int port) {
        return containers.get(port);
    }

    /** Launches a worker and waits until it does its work. */
    String launch(int port, SmallTopology topology) throws IOException, InterruptedException {
        Container container = launcher.launchContainer(port, topology.assignment(), state);
        containers.put(port, container);
        // The image's java makes it.
        Path runs = Path.of(ConfigUtils.workerTmpRoot(conf, container.getWorkerId()), "runs");
        await("see worker " + container.getWorkerId() + " run", container, any -> Files.exists(runs));
        return container.getWorkerId();
    }

    /** Takes over a worker that an earlier JVM launched. */
    String recover(int port, SmallTopology topology) throws IOException, ContainerRecoveryException {
        Container container = launcher.recoverContainer(port, topology.assignment(), state);
        containers.put(port, container);
        return container.getWorkerId();
    }

    /** Waits until nothing of a worker runs any more. */
    void awaitDeath(int port) throws InterruptedException {
        await("see all processes of a worker dead", containers.get(port), container -> {
            try {
                return container.areAllProcessesDead();
            } catch (IOException e) {
                throw new IllegalStateException(e);
            }
        });
    }

    /** Writes the heartbeat of a worker, which the small ones do not. */
    void heartbeat(int port, SmallTopology topology) throws IOException {
        ConfigUtils.workerState(conf, containers.get(port).getWorkerId()).setWorkerHeartBeat(
            new LSWorkerHeartbeat(Time.currentTimeSecs(), topology.id(), List.of(), port));
    }

    /** Waits until the last heartbeat of a worker is one of long ago, at which its slot would launch another. */
    void awaitPastHeartbeat(int port) throws InterruptedException {
        await("see an old heartbeat", containers.get(port), container -> {
            try {
                return container.readHeartbeat().get_time_secs() < Time.currentTimeSecs() - LIMIT_MILLIS;
            } catch (IOException e) {
                throw new IllegalStateException(e);
            }
        });
    }

    void cleanUp(int port) throws IOException {
        Container container = containers.remove(port);
        String workerId = container.getWorkerId();
        container.cleanUp();
        NotedExits.forget(workerId);
    }

    private static void await(String what, Container container, Predicate<Container> done)
        throws InterruptedException {
        long end = System.nanoTime() + LIMIT_MILLIS * 1_000_000;
        while (!done.test(container)) {
            if (System.nanoTime() > end) {
                throw new IllegalStateException("cannot " + what + " within " + LIMIT_MILLIS + " ms: " + container);
            }
            Thread.sleep(LOOK_MILLIS);
        }
    }
}
