package org.apache.storm.container.oci.slots;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.apache.storm.Config;
import org.apache.storm.daemon.supervisor.ClientSupervisorUtils;
import org.apache.storm.generated.LocalAssignment;
import org.apache.storm.generated.StormTopology;
import org.apache.storm.generated.WorkerResources;
import org.apache.storm.utils.ConfigUtils;
import org.apache.storm.utils.Utils;

/**
 * A topology as a supervisor has it on its disk once it has fetched it, without a cluster to fetch it from.
 *
 * @param id its id
 * @param owner whose it is
 */
record SmallTopology(String id, String owner) {
    /** The image's {@code java} does what this variable says. */
    private static final String WORK = "WORK";

    private static final double HEAP_MB = 64;
    private static final double CPU_PERCENT = 100;

    /**
     * Writes the topology's files and gives them to its owner, as the supervisor's localizer does.
     *
     * @param image the tag of its image
     * @param work a line for the image's shell, which is all that its workers do
     */
    void localize(Map<String, Object> conf, String image, String work) throws IOException {
        String root = ConfigUtils.supervisorStormDistRoot(conf, id);
        Files.createDirectories(Path.of(root));
        Files.write(Path.of(ConfigUtils.supervisorStormJarPath(root)), new byte[0]);
        Files.write(Path.of(ConfigUtils.supervisorStormCodePath(root)),
            Utils.serialize(new StormTopology(Map.of(), Map.of(), Map.of())));
        Map<String, Object> topoConf =
            Map.of(Config.TOPOLOGY_OCI_IMAGE, image, Config.TOPOLOGY_ENVIRONMENT, Map.of(WORK, work));
        Files.write(Path.of(ConfigUtils.supervisorStormConfPath(root)), Utils.toCompressedJsonConf(topoConf));
        ClientSupervisorUtils.setupStormCodeDir(conf, owner, root);
        String shared = ConfigUtils.sharedByTopologyDir(conf, id);
        Files.createDirectories(Path.of(shared));
        ClientSupervisorUtils.setupWorkerArtifactsDir(conf, owner, shared);
    }

    /** Answers what a supervisor is told to run. */
    LocalAssignment assignment() {
        WorkerResources resources = new WorkerResources();
        resources.set_mem_on_heap(HEAP_MB);
        resources.set_mem_off_heap(0);
        resources.set_cpu(CPU_PERCENT);
        LocalAssignment assignment = new LocalAssignment(id, List.of());
        assignment.set_resources(resources);
        assignment.set_owner(owner);
        return assignment;
    }
}
