package org.apache.storm.container.oci;

import java.util.HashMap;
import java.util.Map;
import org.apache.storm.daemon.supervisor.ExitCodeCallback;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Who wants to know how a worker ended.
 *
 * <p>Storm relaunches a worker under a new id, but with the object that the old worker's callback marks as ended. So
 * calling back and forgetting exclude each other: once {@link #forget} has returned, no call for that id is under way
 * and none will come.
 */
final class ExitCallbacks {
    private static final Logger LOG = LoggerFactory.getLogger(ExitCallbacks.class);

    private final Map<String, ExitCodeCallback> callbacks = new HashMap<>();

    /** Keeps the callback of a worker that is about to be launched. */
    synchronized void register(String workerId, ExitCodeCallback callback) {
        if (callback != null) {
            callbacks.put(workerId, callback);
        }
    }

    /** Drops the callback of a worker. */
    synchronized void forget(String workerId) {
        callbacks.remove(workerId);
    }

    /**
     * Tells how a worker ended, at most once.
     *
     * @param workerId the worker
     * @param shellCode its exit code as a shell tells it
     */
    synchronized void call(String workerId, int shellCode) {
        ExitCodeCallback callback = callbacks.remove(workerId);
        if (callback == null) {
            return;
        }
        try {
            callback.call(shellCode);
        } catch (RuntimeException e) {
            LOG.error("Cannot tell Storm that worker {} ended", workerId, e);
        }
    }
}
