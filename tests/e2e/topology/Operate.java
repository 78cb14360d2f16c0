/*
 * Licensed under the Apache License, Version 2.0: see LICENSE at the root of this repository.
 */
import java.util.Map;
import java.util.Set;
import org.apache.storm.Config;
import org.apache.storm.StormSubmitter;
import org.apache.storm.generated.ExecutorSummary;
import org.apache.storm.generated.KillOptions;
import org.apache.storm.generated.NodeInfo;
import org.apache.storm.generated.ProfileAction;
import org.apache.storm.generated.ProfileRequest;
import org.apache.storm.utils.NimbusClient;
import org.apache.storm.utils.Utils;

/**
 * Submits, profiles and kills any number of word counts in one JVM, whose start is most of such a command's
 * time.
 *
 * <pre>
 * Operate submit NAME=IMAGE...
 * Operate profile NAME...
 * Operate dump NAME...
 * Operate kill NAME...
 * </pre>
 */
public final class Operate {
    private static final long LOOK_MILLIS = 50;
    private static final long RECORD_MILLIS = 600_000;

    private Operate() {
    }

    /** Ends with a non-zero code when Nimbus refuses any of them. */
    public static void main(String[] args) throws Exception {
        for (int i = 1; i < args.length; i++) {
            if (args[0].equals("submit")) {
                int equals = args[i].indexOf('=');
                submit(args[i].substring(0, equals), args[i].substring(equals + 1));
            } else if (args[0].equals("profile")) {
                profile(args[i], ProfileAction.JPROFILE_STOP, ProfileAction.JSTACK_DUMP, ProfileAction.JMAP_DUMP);
            } else if (args[0].equals("dump")) {
                profile(args[i], ProfileAction.JPROFILE_DUMP);
            } else {
                kill(args[i]);
            }
        }
    }

    private static void submit(String name, String image) throws Exception {
        Config conf = new Config();
        conf.setNumWorkers(1);
        conf.setNumAckers(0);
        if (!image.isEmpty()) {
            conf.put(Config.TOPOLOGY_OCI_IMAGE, image);
        }
        StormSubmitter.submitTopology(name, conf, WordCount.topology());
    }

    /** Asks for something of the topology's only worker, as Storm's UI does; what stops a recording starts it. */
    private static void profile(String name, ProfileAction... actions) throws Exception {
        try (NimbusClient nimbus = NimbusClient.Builder.withConf(Utils.readStormConfig()).build()) {
            String id = nimbus.getClient().getTopologySummaries().stream()
                .filter(known -> known.get_name().equals(name)).findFirst().orElseThrow().get_id();
            ExecutorSummary executor = nimbus.getClient().getTopologyInfo(id).get_executors().get(0);
            NodeInfo worker = new NodeInfo(executor.get_host(), Set.of((long) executor.get_port()));
            for (ProfileAction action : actions) {
                ProfileRequest request = new ProfileRequest(worker, action);
                request.set_time_stamp(System.currentTimeMillis() + RECORD_MILLIS);
                nimbus.getClient().setWorkerProfiler(id, request);
            }
        }
    }

    /** Returns when Nimbus has taken the topology's workers away from the supervisors. */
    private static void kill(String name) throws Exception {
        Map<String, Object> conf = Utils.readStormConfig();
        KillOptions now = new KillOptions();
        now.set_wait_secs(0);
        try (NimbusClient nimbus = NimbusClient.Builder.withConf(conf).build()) {
            nimbus.getClient().killTopologyWithOpts(name, now);
            while (nimbus.getClient().getTopologySummaries().stream().anyMatch(known -> known.get_name().equals(name))) {
                Utils.sleep(LOOK_MILLIS);
            }
        }
    }
}
