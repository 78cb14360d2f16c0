package org.apache.storm.container.oci;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.util.HashMap;
import java.util.Map;
import org.apache.storm.daemon.supervisor.ExitCodeCallback;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Who wants to know how a worker ended, and how its slot is made to look.
 *
 * <p>Storm relaunches a worker under a new id, but with the object that the old worker's callback marks as ended. So
 * telling and forgetting exclude each other: once {@link #forget} has returned, no call for that id is under way and
 * none will come.
 */
final class ExitCallbacks {
    private static final Logger LOG = LoggerFactory.getLogger(ExitCallbacks.class);

    private final Map<String, Launched> launched = new HashMap<>();
    private final WorkerHeartbeats heartbeats;

    private record Launched(String topologyId, int port, ExitCodeCallback callback) {
    }

    ExitCallbacks(WorkerHeartbeats heartbeats) {
        this.heartbeats = heartbeats;
    }

    /** Keeps the callback of a worker that is about to be launched. */
    synchronized void register(String workerId, String topologyId, int port, ExitCodeCallback callback) {
        launched.put(workerId, new Launched(topologyId, port, callback));
    }

    /** Drops the callback of a worker. */
    synchronized void forget(String workerId) {
        launched.remove(workerId);
    }

    /** Passes on an exit event of the library. */
    void ended(JsonNode event) {
        String workerId = event.path("workerId").asText();
        if (event.path("adopted").asBoolean()) {
            endAdopted(workerId);
        } else {
            call(workerId, event.path("shellCode").asInt(-1), event.path("beforeHeartbeat").asBoolean());
        }
    }

    /**
     * Tells how a worker ended, at most once.
     *
     * @param workerId the worker
     * @param shellCode its exit code as a shell tells it
     * @param waiting whether its slot still waits for its first heartbeat
     */
    synchronized void call(String workerId, int shellCode, boolean waiting) {
        Launched worker = launched.remove(workerId);
        if (worker == null) {
            return;
        }
        if (worker.callback != null) {
            try {
                worker.callback.call(shellCode);
            } catch (RuntimeException e) {
                LOG.error("Cannot tell Storm that worker {} ended", workerId, e);
            }
        }
        if (waiting) {
            // After the callback: a slot that goes on must find what the callback noted.
            wake(workerId, () -> heartbeats.writePresent(workerId, worker.topologyId, worker.port));
        }
    }

    /** Tells that a worker which an earlier supervisor had launched has ended: it has no callback any more. */
    private synchronized void endAdopted(String workerId) {
        wake(workerId, () -> heartbeats.writePast(workerId));
    }

    private interface Write {
        void run() throws IOException;
    }

    private static void wake(String workerId, Write write) {
        try {
            write.run();
        } catch (IOException | RuntimeException e) {
            LOG.warn("Cannot make the slot of worker {} look at once; it will by itself: {}", workerId, e.getMessage());
        }
    }
}
