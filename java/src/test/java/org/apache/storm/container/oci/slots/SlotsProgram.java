package org.apache.storm.container.oci.slots;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Map;
import org.apache.storm.utils.ConfigUtils;

/**
 * Drives workers on a node without a cluster, as a supervisor's slots do: each line of input is a command, and has one
 * line of output, {@code = } and an answer or {@code ! } and what went wrong. It ends with its input.
 *
 * <p>Its only argument is the account that the topologies belong to.
 */
public final class SlotsProgram {
    private static final int EXIT_SECONDS = 120;
    private static final int COLLECTIONS = 3;

    private final Map<String, Object> conf;
    private final String owner;
    private final Slots slots;
    private PolledEnds polled;
    private Rounds rounds;
    private int roundsRun;

    private SlotsProgram(Map<String, Object> conf, String owner) throws Exception {
        this.conf = conf;
        this.owner = owner;
        slots = new Slots(conf);
    }

    /** Reads commands until there are no more. */
    public static void main(String[] args) throws Exception {
        SlotsProgram program = new SlotsProgram(ConfigUtils.readStormConfig(), args[0]);
        System.out.println("= ready");
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            try {
                System.out.println("= " + program.answer(line.split(" ", 3)));
            } catch (Exception e) {
                e.printStackTrace();
                System.out.println("! " + e);
            }
        }
        System.exit(0);
    }

    private Object answer(String[] words) throws Exception {
        switch (words[0]) {
            case "topology":
                String[] imageAndWork = words[2].split(" ", 2);
                topology(words[1]).localize(conf, imageAndWork[0], imageAndWork[1]);
                return "localized";
            case "rounds":
                return runRounds(Integer.parseInt(words[1]), words[2].split(" "));
            case "collect":
                return heapAfterCollection();
            default:
                return answer(words[0], Integer.parseInt(words[1]), words.length > 2 ? words[2] : null);
        }
    }

    private Object answer(String command, int port, String rest) throws Exception {
        switch (command) {
            case "launch":
                return slots.launch(port, topology(rest));
            case "recover":
                return slots.recover(port, topology(rest));
            case "heartbeat":
                slots.heartbeat(port, topology(rest));
                return "written";
            case "await-past-heartbeat":
                slots.awaitPastHeartbeat(port);
                return "seen";
            case "dead":
                return slots.container(port).areAllProcessesDead();
            case "kill":
                slots.container(port).kill();
                return "told to end";
            case "force-kill":
                slots.container(port).forceKill();
                return "killed";
            case "await-exit":
                NotedExits.Exit exit = NotedExits.await(slots.container(port).getWorkerId(), EXIT_SECONDS);
                return exit.code() + " " + micros(exit.at());
            case "exited":
                return slots.container(port).didMainProcessExit();
            case "await-death":
                slots.awaitDeath(port);
                return "dead";
            case "clean-up":
                slots.cleanUp(port);
                return "clean";
            case "memory-mb":
                return slots.container(port).getMemoryUsageMb();
            case "memory-cost":
                String[] words = rest.split(" ");
                long[] medians = MemoryCost.medians(slots.container(port), words[0], Integer.parseInt(words[1]));
                return medians[0] + " " + medians[1];
            case "poll":
                polled = polled == null ? new PolledEnds() : polled;
                polled.watch(pid(port));
                return "watched";
            case "await-polled":
                return micros(polled.await(Long.parseLong(rest)));
            case "pid":
                return pid(port);
            default:
                throw new IllegalArgumentException("cannot do `" + command + "`");
        }
    }

    /** The first slot's port, how many slots, the two topologies, and the exit code of the second one's workers. */
    private int runRounds(int count, String[] words) throws Exception {
        if (rounds == null) {
            rounds = new Rounds(slots, Integer.parseInt(words[0]), Integer.parseInt(words[1]));
        }
        for (int i = 0; i < count; i++) {
            rounds.run(roundsRun++, topology(words[2]), topology(words[3]), Integer.parseInt(words[4]));
        }
        return roundsRun;
    }

    private SmallTopology topology(String id) {
        return new SmallTopology(id, owner);
    }

    private static long heapAfterCollection() {
        for (int i = 0; i < COLLECTIONS; i++) {
            System.gc();
        }
        return ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed();
    }

    /** Answers the first process of a container, from the file that is for people. */
    private long pid(int port) throws Exception {
        String workerId = slots.container(port).getWorkerId();
        Path file = Path.of(ConfigUtils.workerArtifactsSymlink(conf, workerId), "container-" + workerId + ".pid");
        return Long.parseLong(Files.readString(file).strip());
    }

    private static long micros(Instant at) {
        return ChronoUnit.MICROS.between(Instant.EPOCH, at);
    }
}
