package org.apache.storm.container.oci;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.apache.storm.Config;
import org.apache.storm.DaemonConfig;
import org.apache.storm.container.ResourceIsolationInterface;
import org.apache.storm.utils.ConfigUtils;

/** The directories a supervisor has, with an image store and a launcher that takes notes. */
final class StormNode {
    static final String TOPOLOGY = "words-1-1600000000";
    static final int PORT = 6700;
    static final String USER = System.getProperty("user.name");

    final ImageStore store;
    final RecordingLauncher launcher;
    final Map<String, Object> conf;

    StormNode(Path root) throws IOException {
        store = ImageStore.create(root);
        launcher = new RecordingLauncher(root);
        conf = store.conf();
        Path home = Files.createDirectories(root.resolve("home"));
        Path logs = Files.createDirectories(root.resolve("logs"));
        System.setProperty(ConfigUtils.STORM_HOME, home.toString());
        System.setProperty("storm.log.dir", logs.toString());
        conf.put(Config.SUPERVISOR_WORKER_LAUNCHER, launcher.path.toString());
        conf.put(DaemonConfig.STORM_OCI_NSCD_DIR, Files.createDirectories(root.resolve("nscd")).toString());
        conf.put(DaemonConfig.STORM_RESOURCE_ISOLATION_PLUGIN_ENABLE, true);
        // Nothing is relaunched here: every end is told at once.
        conf.put("storm.oci.relaunch.backoff.max.secs", 0);
        Files.createDirectories(Path.of(ConfigUtils.workerRoot(conf)));
        Files.createDirectories(Path.of(ConfigUtils.sharedByTopologyDir(conf, TOPOLOGY)));
    }

    /** One worker, with everything a supervisor makes before it launches one. */
    final class Worker {
        final String id = UUID.randomUUID().toString();
        final BlockingQueue<Integer> exits = new LinkedBlockingQueue<>();
        final File directory = new File(ConfigUtils.workerRoot(conf, id));

        Worker() throws IOException {
            Files.createDirectories(Path.of(ConfigUtils.workerTmpRoot(conf, id)));
            Path artifacts =
                Files.createDirectories(Path.of(ConfigUtils.workerArtifactsRoot(conf, TOPOLOGY, PORT)));
            Files.createSymbolicLink(Path.of(ConfigUtils.workerArtifactsSymlink(conf, id)), artifacts);
            Path userFile = Path.of(ConfigUtils.workerUserFile(conf, id));
            Files.createDirectories(userFile.getParent());
            Files.writeString(userFile, USER);
        }

        void launch(ResourceIsolationInterface manager, Map<String, Object> topoConf) throws IOException {
            manager.reserveResourcesForWorker(id, 512, 100, null);
            manager.launchWorkerProcess(USER, TOPOLOGY, topoConf, PORT, id, List.of("java", "-version"),
                Map.of("LD_LIBRARY_PATH", "/usr/lib", "GREETING", "it's"), "Worker Process " + id, exits::add,
                directory);
        }

        Path request() {
            return directory.toPath().resolve("oci-config.json");
        }
    }

    Worker worker() throws IOException {
        return new Worker();
    }
}
