package org.apache.storm.container.oci.slots;

import java.io.File;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.storm.container.oci.NativeRuncLibContainerManager;
import org.apache.storm.daemon.supervisor.ExitCodeCallback;

/**
 * The plugin, which also notes what Storm's exit callbacks are told: Storm keeps no more of it than that it came.
 *
 * <p>Storm makes it from its name, so the notes are where everybody finds them.
 */
public final class NotedExits extends NativeRuncLibContainerManager {
    private static final ConcurrentMap<String, CompletableFuture<Exit>> EXITS = new ConcurrentHashMap<>();

    /**
     * One call of an exit callback.
     *
     * @param code what it was told
     * @param at when
     */
    public record Exit(int code, Instant at) {
    }

    @Override
    public void launchWorkerProcess(String user, String topologyId, Map<String, Object> topoConf, int port,
                                    String workerId, List<String> command, Map<String, String> env, String logPrefix,
                                    ExitCodeCallback processExitCallback, File targetDir) {
        CompletableFuture<Exit> exit = new CompletableFuture<>();
        EXITS.put(workerId, exit);
        super.launchWorkerProcess(user, topologyId, topoConf, port, workerId, command, env, logPrefix, code -> {
            Instant at = Instant.now();
            processExitCallback.call(code);
            if (!exit.complete(new Exit(code, at))) {
                throw new IllegalStateException("cannot end worker " + workerId + " again");
            }
        }, targetDir);
    }

    /**
     * Waits for the exit callback of a worker that this JVM launched.
     *
     * @throws TimeoutException if it does not come
     */
    static Exit await(String workerId, long seconds)
        throws InterruptedException, ExecutionException, TimeoutException {
        return EXITS.get(workerId).get(seconds, TimeUnit.SECONDS);
    }

    /** Drops the note of a worker. */
    static void forget(String workerId) {
        EXITS.remove(workerId);
    }
}
