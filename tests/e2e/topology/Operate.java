/*
 * Licensed under the Apache License, Version 2.0: see LICENSE at the root of this repository.
 */
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.storm.Config;
import org.apache.storm.StormSubmitter;
import org.apache.storm.blobstore.AtomicOutputStream;
import org.apache.storm.blobstore.BlobStoreAclHandler;
import org.apache.storm.blobstore.ClientBlobStore;
import org.apache.storm.generated.ExecutorSummary;
import org.apache.storm.generated.KillOptions;
import org.apache.storm.generated.Nimbus;
import org.apache.storm.generated.NodeInfo;
import org.apache.storm.generated.ProfileAction;
import org.apache.storm.generated.ProfileRequest;
import org.apache.storm.generated.RebalanceOptions;
import org.apache.storm.generated.SettableBlobMeta;
import org.apache.storm.generated.TopologySummary;
import org.apache.storm.utils.NimbusClient;
import org.apache.storm.utils.ObjectReader;
import org.apache.storm.utils.Utils;

/**
 * Does things to any number of topologies in one JVM, whose start is most of such a command's time.
 *
 * <pre>
 * Operate submit NAME=IMAGE...
 * Operate submit-commanded NAME=CONFIGURATION_FILE...
 * Operate profile NAME...
 * Operate dump NAME...
 * Operate restart-worker NAME...
 * Operate activate NAME...
 * Operate deactivate NAME...
 * Operate rebalance NAME=WORKERS...
 * Operate alive NAME...
 * Operate create-blob KEY=CONTENT...
 * Operate update-blob KEY=CONTENT...
 * Operate kill NAME...
 * Operate kill-after NAME=SECONDS...
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
            int equals = args[i].indexOf('=');
            String name = equals < 0 ? args[i] : args[i].substring(0, equals);
            operate(args[0], name, args[i].substring(equals + 1));
        }
    }

    private static void operate(String verb, String name, String value) throws Exception {
        switch (verb) {
            case "submit" -> submit(name, value);
            case "submit-commanded" -> submitCommanded(name, value);
            case "profile" ->
                profile(name, ProfileAction.JPROFILE_STOP, ProfileAction.JSTACK_DUMP, ProfileAction.JMAP_DUMP);
            case "dump" -> profile(name, ProfileAction.JPROFILE_DUMP);
            case "restart-worker" -> profile(name, ProfileAction.JVM_RESTART);
            case "activate" -> ask(nimbus -> nimbus.activate(name));
            case "deactivate" -> ask(nimbus -> nimbus.deactivate(name));
            case "rebalance" -> rebalance(name, Integer.parseInt(value));
            case "alive" -> alive(name);
            case "create-blob", "update-blob" -> write(verb, name, value);
            case "kill" -> kill(name);
            case "kill-after" -> killAfter(name, Integer.parseInt(value));
            default -> throw new IllegalArgumentException(verb);
        }
    }

    private interface Question {
        void ask(Nimbus.Iface nimbus) throws Exception;
    }

    private static void ask(Question question) throws Exception {
        try (NimbusClient nimbus = NimbusClient.Builder.withConf(Utils.readStormConfig()).build()) {
            question.ask(nimbus.getClient());
        }
    }

    private static TopologySummary find(Nimbus.Iface nimbus, String name) throws Exception {
        return nimbus.getTopologySummaries().stream()
            .filter(known -> known.get_name().equals(name)).findFirst().orElseThrow();
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

    /** The file is in YAML, the topology's whole configuration. */
    private static void submitCommanded(String name, String file) throws Exception {
        Map<String, Object> conf = Utils.findAndReadConfigFile(file, true);
        int spouts = ObjectReader.getInt(conf.get(Config.TOPOLOGY_TASKS), 1);
        StormSubmitter.submitTopology(name, conf, Commanded.topology(spouts));
    }

    /** Asks for something of the topology's only worker, as Storm's UI does; what stops a recording starts it. */
    private static void profile(String name, ProfileAction... actions) throws Exception {
        ask(nimbus -> {
            String id = find(nimbus, name).get_id();
            ExecutorSummary executor = nimbus.getTopologyInfo(id).get_executors().get(0);
            NodeInfo worker = new NodeInfo(executor.get_host(), Set.of((long) executor.get_port()));
            for (ProfileAction action : actions) {
                // Storm keeps one request of a kind, and removes it a while after it has been dealt with.
                String component = executor.get_component_id();
                while (!nimbus.getComponentPendingProfileActions(id, component, action).isEmpty()) {
                    Utils.sleep(LOOK_MILLIS);
                }
                ProfileRequest request = new ProfileRequest(worker, action);
                request.set_time_stamp(System.currentTimeMillis() + RECORD_MILLIS);
                nimbus.setWorkerProfiler(id, request);
            }
        });
    }

    private static void rebalance(String name, int workers) throws Exception {
        RebalanceOptions options = new RebalanceOptions();
        options.set_wait_secs(0);
        options.set_num_workers(workers);
        ask(nimbus -> nimbus.rebalance(name, options));
    }

    /** Prints how many executors Nimbus knows to be alive. */
    private static void alive(String name) throws Exception {
        ask(nimbus -> {
            List<ExecutorSummary> executors = nimbus.getTopologyInfo(find(nimbus, name).get_id()).get_executors();
            long alive = executors.stream().filter(executor -> executor.get_uptime_secs() > 0).count();
            System.out.println("alive " + name + " " + alive);
        });
    }

    private static void write(String verb, String key, String content) throws Exception {
        try (ClientBlobStore blobs = Utils.getClientBlobStore(Utils.readStormConfig());
                AtomicOutputStream out = open(blobs, verb, key)) {
            out.write(content.getBytes(StandardCharsets.UTF_8));
        }
    }

    private static AtomicOutputStream open(ClientBlobStore blobs, String verb, String key) throws Exception {
        if (verb.equals("create-blob")) {
            return blobs.createBlob(key, new SettableBlobMeta(BlobStoreAclHandler.WORLD_EVERYTHING));
        }
        return blobs.updateBlob(key);
    }

    /** Returns when Nimbus has taken the topology's workers away from the supervisors. */
    private static void kill(String name) throws Exception {
        killAfter(name, 0);
        ask(nimbus -> {
            while (nimbus.getTopologySummaries().stream().anyMatch(known -> known.get_name().equals(name))) {
                Utils.sleep(LOOK_MILLIS);
            }
        });
    }

    private static void killAfter(String name, int seconds) throws Exception {
        KillOptions options = new KillOptions();
        options.set_wait_secs(seconds);
        ask(nimbus -> nimbus.killTopologyWithOpts(name, options));
    }
}
