package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.apache.storm.DaemonConfig;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A supervisor that is killed at any point of a fetch: the next one has the right bytes. */
class KilledFetchTest {
    private static final int KILLS = Integer.getInteger("storm.oci.kills", 4);
    private static final int IN_A_ROW = 3;
    private static final int REPORT_EVERY = 50;
    private static final int LAYER_BYTES = 24 << 20;
    private static final String FETCHING = "fetching";
    private static final String FETCHED = "fetched";

    @TempDir
    Path directory;

    /** Brings the image's layers to the local directory, and says when. */
    static final class Fetch {
        public static void main(String[] arguments) throws Exception {
            Map<String, Object> conf = new HashMap<>();
            for (String argument : arguments) {
                String[] entry = argument.split("=", 2);
                conf.put(entry[0], entry[1]);
            }
            LocalOrHdfsImageTagToManifestPlugin tagToManifest = new LocalOrHdfsImageTagToManifestPlugin();
            tagToManifest.init(conf);
            HdfsManifestToResourcesPlugin manifestToResources = new HdfsManifestToResourcesPlugin();
            manifestToResources.init(conf);
            HdfsOciResourcesLocalizer localizer = new HdfsOciResourcesLocalizer();
            localizer.init(conf);
            ImageManifest manifest = tagToManifest.getManifestFromImageTag(ImageStore.TAG);
            System.out.println(FETCHING);
            localizer.localize(manifestToResources.getLayerResources(manifest));
            System.out.println(FETCHED);
        }
    }

    @Test
    void aKilledFetchFromADirectoryIsMadeUpFor() throws Exception {
        byte[] content = new byte[LAYER_BYTES];
        ImageStore store = storeOfALargeLayer(content);
        killFetches(store, store.conf(), content);
    }

    @Test
    void aKilledFetchFromHdfsIsMadeUpFor() throws Exception {
        byte[] content = new byte[LAYER_BYTES];
        ImageStore store = storeOfALargeLayer(content);
        try (HdfsServer hdfs = new HdfsServer(store.store)) {
            Map<String, Object> conf = store.conf();
            conf.put(DaemonConfig.STORM_OCI_IMAGE_HDFS_TOPLEVEL_DIR, hdfs.url);
            conf.put(ImageStore.TAG_MAP_KEY, hdfs.url + "/" + store.tagMap().getFileName());
            conf.put("storm.oci.hadoop.conf.dir", hdfs.confDir);
            killFetches(store, conf, content);
        }
    }

    private ImageStore storeOfALargeLayer(byte[] content) throws IOException {
        ImageStore store = ImageStore.create(directory);
        new Random(1).nextBytes(content);
        Files.write(store.layer(0), content);
        return store;
    }

    private void killFetches(ImageStore store, Map<String, Object> settings, byte[] content) throws Exception {
        Random random = new Random(2);
        ChildJvm jvm = new ChildJvm(directory.resolve("home"));
        jvm.installJar(".");
        jvm.option("-XX:TieredStopAtLevel=1").option("-XX:+UseSerialGC");
        String[] conf = arguments(settings);

        long undisturbed = fetch(jvm.prepare(Fetch.class, conf).start());
        expectFetched(store, content);
        int ended = 0;
        for (int kill = 1; kill <= KILLS; kill++) {
            Files.deleteIfExists(store.localLayer(0));
            Process killed = jvm.prepare(Fetch.class, conf).start();
            waitFor(FETCHING, killed.inputReader(StandardCharsets.UTF_8));
            TimeUnit.MICROSECONDS.sleep(random.nextLong(undisturbed));
            ended += killed.isAlive() ? 0 : 1;
            killed.destroyForcibly().waitFor();
            // Several in a row, so that what a killed one left is met by one that is killed, too.
            if (kill % IN_A_ROW == 0 || kill == KILLS) {
                fetch(jvm.prepare(Fetch.class, conf).start());
                expectFetched(store, content);
            }
            if (kill % REPORT_EVERY == 0 || kill == KILLS) {
                System.out.println(kill + " fetches killed, of which " + ended + " had ended before");
            }
        }
    }

    /** Waits for the end of the process; answers the microseconds that the fetch alone took. */
    private static long fetch(Process process) throws IOException, InterruptedException {
        BufferedReader output = process.inputReader(StandardCharsets.UTF_8);
        waitFor(FETCHING, output);
        long begin = System.nanoTime();
        waitFor(FETCHED, output);
        long micros = TimeUnit.NANOSECONDS.toMicros(System.nanoTime() - begin);
        assertEquals(0, process.waitFor());
        return micros;
    }

    private static void waitFor(String word, BufferedReader output) throws IOException {
        StringBuilder printed = new StringBuilder();
        for (String line = output.readLine(); !word.equals(line); line = output.readLine()) {
            assertNotNull(line, printed.toString());
            printed.append(line).append('\n');
        }
    }

    private static void expectFetched(ImageStore store, byte[] content) throws IOException {
        assertArrayEquals(content, Files.readAllBytes(store.localLayer(0)));
        assertArrayEquals(Files.readAllBytes(store.layer(1)), Files.readAllBytes(store.localLayer(1)));
        try (var partial = Files.list(store.localDir().resolve("partial"))) {
            assertEquals(0, partial.count());
        }
    }

    private static String[] arguments(Map<String, Object> conf) {
        return conf.entrySet().stream()
            .filter(entry -> entry.getKey().startsWith("storm.oci.") && entry.getValue() instanceof String)
            .map(entry -> entry.getKey() + "=" + entry.getValue())
            .toArray(String[]::new);
    }
}
