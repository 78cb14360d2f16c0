package org.apache.storm.container.oci;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.File;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.apache.storm.Config;
import org.apache.storm.DaemonConfig;
import org.apache.storm.daemon.supervisor.ExitCodeCallback;
import org.apache.storm.utils.ConfigUtils;
import org.apache.storm.utils.ServerUtils;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Runs Storm's workers in OCI containers made from squashfs layers, through the native library.
 *
 * <p>This class translates and decides nothing: it asks Storm for paths, writes Storm's worker script, and hands JSON
 * to {@link NativeContainers}. {@link #prepare} fails when the installation cannot work, with every problem found. The
 * methods that a slot's thread calls never throw for what a user can cause, since Storm ends the whole supervisor
 * then: a worker that cannot be launched costs one log line and one call of its exit callback.
 *
 * <p>It extends {@link OciContainerManager} because Storm looks for that type, but does not use what that class
 * derives from the configuration: the native library reads the same keys.
 */
public class NativeRuncLibContainerManager extends OciContainerManager {
    private static final Logger LOG = LoggerFactory.getLogger(NativeRuncLibContainerManager.class);

    /** Group members read what a worker writes, others do not; the same as Storm's own managers. */
    private static final String WORKER_UMASK = "0027";

    /** What a shell answers for a command that could not be started. */
    private static final int NOT_STARTED = 126;

    private volatile ExitCallbacks callbacks;
    private volatile ImagePlugins plugins;
    volatile SupervisorMetrics metrics;
    private volatile long handle;

    /**
     * Loads the native library, checks the whole installation, and takes over containers that still run.
     *
     * @param conf Storm's configuration
     * @throws OciNativeException if workers could not be launched; the message has every problem, one a line
     */
    @Override
    public void prepare(Map<String, Object> conf) throws IOException {
        this.conf = conf;
        Set<String> problems = new LinkedHashSet<>();
        plugins = new ImagePlugins(conf);
        plugins.load(problems);
        boolean reportsMetrics = SupervisorMetrics.isReporting();
        long opened;
        try {
            NativeLibrary.load(conf);
            opened = NativeContainers.openContainers(Json.text(prepareDocument(reportsMetrics)));
        } catch (OciNativeException e) {
            problems.add(e.getMessage());
            throw new OciNativeException(e.getCode(), String.join("\n", problems), e);
        }
        if (!problems.isEmpty()) {
            NativeContainers.close(opened);
            throw new OciNativeException(OciNativeException.CONFIG, String.join("\n", problems));
        }
        handle = opened;
        metrics = SupervisorMetrics.open(handle);
        if (reportsMetrics) {
            metrics.report(conf);
        }
        callbacks = new ExitCallbacks(new WorkerHeartbeats(conf, handle));
        NativeEvents.start("oci-container-events", handle, callbacks::ended);
    }

    private ObjectNode prepareDocument(boolean reportsMetrics) throws IOException {
        String stormHome = stormHome();
        Object launcher = conf.get(Config.SUPERVISOR_WORKER_LAUNCHER);
        ObjectNode paths = Json.object()
            .put("stormHome", stormHome)
            .put("supervisorLocalDir", ConfigUtils.supervisorLocalDir(conf))
            .put("workersRoot", ConfigUtils.workerRoot(conf))
            .put("launcher", launcher == null || launcher.toString().isBlank()
                ? stormHome + "/bin/worker-launcher" : launcher.toString());
        ObjectNode document = Json.object();
        document.set("conf", Json.value(conf));
        document.set("paths", paths);
        document.set("plugins", plugins.document());
        document.put("reportsMetrics", reportsMetrics);
        return document;
    }

    private static String stormHome() {
        return System.getProperty(ConfigUtils.STORM_HOME, "");
    }

    @Override
    public void reserveResourcesForWorker(String workerId, Integer workerMemory, Integer workerCpu, String numaId) {
        attempt("reserve resources for", workerId, () -> NativeContainers.reserve(handle, Json.text(Json.object()
            .put("workerId", workerId)
            .put("memoryMb", workerMemory)
            .put("cpu", workerCpu)
            .put("numaId", numaId))));
    }

    @Override
    public void launchWorkerProcess(String user, String topologyId, Map<String, Object> topoConf, int port,
                                    String workerId, List<String> command, Map<String, String> env, String logPrefix,
                                    ExitCodeCallback processExitCallback, File targetDir) {
        callbacks.register(workerId, topologyId, port, processExitCallback);
        try {
            Map<String, String> environment = environment(env);
            ObjectNode document = Json.object()
                .put("user", user)
                .put("topologyId", topologyId)
                .put("port", port)
                .put("workerId", workerId)
                .put("workerDir", targetDir.getAbsolutePath())
                .put("artifactsDir", ConfigUtils.workerArtifactsSymlink(conf, workerId))
                .put("workerArtifactsRoot", ConfigUtils.workerArtifactsRoot(conf, topologyId, port))
                .put("workerTmp", ConfigUtils.workerTmpRoot(conf, workerId))
                .put("workerUserFile", ConfigUtils.workerUserFile(conf, workerId))
                .put("sharedByTopology", ConfigUtils.sharedByTopologyDir(conf, topologyId))
                .put("stormHome", stormHome())
                .put("script",
                    ServerUtils.writeScript(targetDir.getAbsolutePath(), command, environment, WORKER_UMASK));
            document.set("environment", Json.value(environment));
            document.set("image", image(topoConf));
            JsonNode outcome = Json.parse(NativeContainers.launch(handle, Json.text(document)));
            // A launch that failed is in the library's log and comes as an exit event.
            LOG.debug("[{}-{}] launch: {}", port, workerId, outcome);
            metrics.launched(outcome);
        } catch (IOException | RuntimeException e) {
            LOG.error("[{}-{}] cannot launch worker of topology {}: {}", port, workerId, topologyId, reason(e), e);
            callbacks.call(workerId, NOT_STARTED, true);
        }
    }

    /** Storm declares strings, but takes whatever a topology's configuration holds. */
    private static Map<String, String> environment(Map<?, ?> given) {
        Map<String, String> environment = new LinkedHashMap<>();
        if (given != null) {
            given.forEach((name, value) -> environment.put(String.valueOf(name), Objects.toString(value, "")));
        }
        return environment;
    }

    private ObjectNode image(Map<String, Object> topoConf) throws IOException {
        Object tag = topoConf == null ? null : topoConf.get(Config.TOPOLOGY_OCI_IMAGE);
        if (!plugins.custom()) {
            return Json.object().put("tag", Objects.toString(tag, null));
        }
        Object image = tag == null ? conf.get(DaemonConfig.STORM_OCI_IMAGE) : tag;
        if (image == null) {
            throw new OciNativeException(OciNativeException.IMAGE,
                "cannot choose an image: neither " + Config.TOPOLOGY_OCI_IMAGE + " nor "
                    + DaemonConfig.STORM_OCI_IMAGE + " is set");
        }
        return plugins.resolve(image.toString());
    }

    @Override
    public boolean areAllProcessesDead(String user, String workerId) {
        // Without an answer a worker counts as alive: Storm deletes the directories of a dead one.
        return answer("look for processes of", workerId, false,
            () -> NativeContainers.allProcessesDead(handle, user, workerId));
    }

    @Override
    public void kill(String user, String workerId) {
        attempt("end", workerId, () -> NativeContainers.kill(handle, user, workerId, false));
    }

    @Override
    public void forceKill(String user, String workerId) {
        attempt("kill", workerId, () -> NativeContainers.kill(handle, user, workerId, true));
    }

    @Override
    public void cleanup(String user, String workerId, int port) {
        // First, so that an event of this worker which is still on its way cannot end its successor.
        callbacks.forget(workerId);
        attempt("clean up after", workerId, () -> NativeContainers.cleanup(handle, user, workerId, port));
    }

    @Override
    public long getMemoryUsage(String user, String workerId, int port) {
        return answer("read memory usage of", workerId, -1L,
            () -> NativeContainers.memoryUsage(handle, user, workerId));
    }

    @Override
    public long getSystemFreeMemoryMb() throws IOException {
        try {
            return NativeContainers.systemFreeMemoryMb(handle);
        } catch (OciNativeException e) {
            LOG.warn("Cannot read free memory of the workers' cgroup: {}", e.getMessage());
            // To Storm an exception means that nothing is free, and a worker is killed.
            return ServerUtils.getMemInfoFreeMb();
        }
    }

    @Override
    public boolean runProfilingCommand(String user, String workerId, List<String> command, Map<String, String> env,
                                       String logPrefix, File targetDir) {
        // After a failure the request counts as dealt with: Storm repeats what answers false every few seconds.
        return answer("profile", workerId, true, () -> {
            ObjectNode document = Json.object()
                .put("user", user)
                .put("workerId", workerId)
                .put("targetDir", targetDir.getAbsolutePath());
            document.set("command", Json.value(command));
            document.set("environment", Json.value(environment(env)));
            return NativeContainers.profile(handle, Json.text(document));
        });
    }

    @Override
    public boolean isResourceManaged() {
        return true;
    }

    private interface Action {
        void run() throws IOException;
    }

    private interface Question<T> {
        T ask() throws IOException;
    }

    private static void attempt(String what, String workerId, Action action) {
        answer(what, workerId, null, () -> {
            action.run();
            return null;
        });
    }

    private static <T> T answer(String what, String workerId, T otherwise, Question<T> question) {
        try {
            return question.ask();
        } catch (IOException | RuntimeException e) {
            LOG.error("Cannot {} worker {}: {}", what, workerId, reason(e));
            return otherwise;
        }
    }

    private static String reason(Exception failure) {
        return failure instanceof OciNativeException ? failure.getMessage() : failure.toString();
    }
}
