/*
 * Licensed under the Apache License, Version 2.0: see LICENSE at the root of this repository.
 */
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.storm.generated.StormTopology;
import org.apache.storm.spout.SpoutOutputCollector;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.topology.OutputFieldsDeclarer;
import org.apache.storm.topology.TopologyBuilder;
import org.apache.storm.topology.base.BaseRichSpout;
import org.apache.storm.utils.Utils;

/**
 * A topology whose workers do what a file in their artifacts directory tells them, and report how they are.
 *
 * <pre>
 * exit CODE      System.exit
 * halt CODE      ends at once, without Storm's own shutdown
 * segv           writes to address 0
 * heap           takes more than the heap has
 * native         takes memory outside the heap until there is none
 * hold MIB       takes so much memory outside the heap, and keeps it
 * child          starts a program that takes memory until the kernel ends it
 * ignore-term    lets SIGTERM pass without effect
 * hook MILLIS    prints a line when the worker is told to end, and another so much later
 * </pre>
 */
public final class Commanded {
    /** Below the worker's directory, which is its working directory. */
    private static final Path COMMAND = Path.of("artifacts/command");
    private static final Path REPORT = Path.of("artifacts/ticks.json");
    /** A blob's link, where the topology has one. */
    private static final Path BLOB = Path.of("blob.txt");
    private static final long LOOK_MILLIS = 50;
    private static final long TICK_MILLIS = 20;
    private static final int CHUNK = 1 << 20;
    /** The kernel takes the child rather than the worker. */
    private static final String GREEDY = "echo 1000 > /proc/self/oom_score_adj; exec tail /dev/zero";

    private static final AtomicBoolean WATCHED = new AtomicBoolean();
    private static final AtomicLong TICKS = new AtomicLong();
    private static final List<ByteBuffer> HELD = new ArrayList<>();
    private static volatile boolean active;
    private static volatile String taken = "";
    private static volatile int childCode = -1;

    private Commanded() {
    }

    /** The topology: so many tasks of one spout, which does nothing but count. */
    static StormTopology topology(int spouts) {
        TopologyBuilder builder = new TopologyBuilder();
        builder.setSpout("ticks", new Ticks(), spouts);
        return builder.createTopology();
    }

    /** Counts how often it is asked for a tuple. */
    public static final class Ticks extends BaseRichSpout {
        private static final long serialVersionUID = 1L;

        @Override
        public void open(Map<String, Object> conf, TopologyContext context, SpoutOutputCollector out) {
            active = true;
            if (WATCHED.compareAndSet(false, true)) {
                Thread watch = new Thread(Commanded::watch, "commands");
                watch.setDaemon(true);
                watch.start();
            }
        }

        @Override
        public void activate() {
            active = true;
        }

        @Override
        public void deactivate() {
            active = false;
        }

        @Override
        public void nextTuple() {
            TICKS.incrementAndGet();
            Utils.sleep(TICK_MILLIS);
        }

        @Override
        public void declareOutputFields(OutputFieldsDeclarer declarer) {
            // Nothing is emitted.
        }
    }

    private static void watch() {
        while (true) {
            try {
                report();
                if (Files.exists(COMMAND)) {
                    String command = Files.readString(COMMAND).trim();
                    Files.delete(COMMAND);
                    obey(command.split(" "));
                    taken = command;
                }
                Thread.sleep(LOOK_MILLIS);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            } catch (ReflectiveOperationException | InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    /** A reader never sees half a report. */
    private static void report() throws IOException {
        String worker = Path.of("").toAbsolutePath().getFileName().toString();
        String blob = Files.exists(BLOB) ? Files.readString(BLOB).trim() : "";
        Path part = Path.of(REPORT + ".part");
        Files.writeString(part, "{\"worker\":\"" + worker + "\",\"pid\":" + ProcessHandle.current().pid()
            + ",\"ticks\":" + TICKS + ",\"active\":" + active + ",\"taken\":\"" + taken + "\",\"childCode\":"
            + childCode + ",\"blob\":\"" + blob + "\"}");
        Files.move(part, REPORT, StandardCopyOption.ATOMIC_MOVE);
    }

    private static void obey(String[] words) throws IOException, ReflectiveOperationException, InterruptedException {
        switch (words[0]) {
            case "exit" -> System.exit(Integer.parseInt(words[1]));
            case "halt" -> Runtime.getRuntime().halt(Integer.parseInt(words[1]));
            case "segv" -> writeToNowhere();
            case "heap" -> takeHeap();
            case "native" -> takeNative();
            case "hold" -> hold(Integer.parseInt(words[1]));
            case "child" -> childCode = new ProcessBuilder("bash", "-c", GREEDY).start().waitFor();
            case "ignore-term" -> ignoreTerm();
            case "hook" -> addHook(Long.parseLong(words[1]));
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    // By reflection, since javac warns of these classes by name.

    private static void writeToNowhere() throws ReflectiveOperationException {
        Class<?> unsafe = Class.forName("sun.misc.Unsafe");
        Field field = unsafe.getDeclaredField("theUnsafe");
        field.setAccessible(true);
        unsafe.getMethod("putAddress", long.class, long.class).invoke(field.get(null), 0L, 0L);
    }

    private static void ignoreTerm() throws ReflectiveOperationException {
        Class<?> signal = Class.forName("sun.misc.Signal");
        Class<?> handler = Class.forName("sun.misc.SignalHandler");
        Method handle = signal.getMethod("handle", signal, handler);
        handle.invoke(null, signal.getConstructor(String.class).newInstance("TERM"), handler.getField("SIG_IGN").get(null));
    }

    private static void takeHeap() {
        List<byte[]> taken = new ArrayList<>();
        while (taken.size() >= 0) {
            taken.add(new byte[CHUNK]);
        }
    }

    /** A direct buffer is filled with zeros, so the memory is really used. */
    private static void takeNative() {
        List<ByteBuffer> taken = new ArrayList<>();
        while (taken.size() >= 0) {
            taken.add(ByteBuffer.allocateDirect(CHUNK));
        }
    }

    private static void hold(int mebibytes) {
        for (int i = 0; i < mebibytes; i++) {
            HELD.add(ByteBuffer.allocateDirect(CHUNK));
        }
    }

    private static void addHook(long millis) {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            say("hook begins");
            Utils.sleep(millis);
            say("hook ends");
        }));
    }

    /** Into the worker's log, by way of Storm's log writer. */
    private static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
