package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;

/** Whatever Java hands to the library, the answer is an exception with a code. */
@Timeout(value = 240, unit = TimeUnit.SECONDS)
class NativeBoundaryTest {
    private static final long NEVER_OPENED = 4711;
    private static final String HALF_PAIR = "a\uD83Db";

    @TempDir
    Path directory;

    @BeforeAll
    static void loadLibrary() throws OciNativeException {
        TestLibrary.load();
    }

    private long openImages() throws Exception {
        return NativeContainers.openImages(Json.text(ImageStore.create(directory).conf()));
    }

    private static void assertCode(String code, Executable call) {
        assertEquals(code, assertThrows(OciNativeException.class, call).getCode());
    }

    /** Every method with a handle, with arguments that are all right. */
    private static Map<String, Call> calls() {
        Map<String, Call> calls = new LinkedHashMap<>();
        calls.put("manifest", handle -> NativeContainers.manifest(handle, "tag"));
        calls.put("resources", handle -> NativeContainers.resources(handle, "{}"));
        calls.put("localize", handle -> NativeContainers.localize(handle, "{}"));
        calls.put("reserve", handle -> NativeContainers.reserve(handle, "{}"));
        calls.put("launch", handle -> NativeContainers.launch(handle, "{}"));
        calls.put("allProcessesDead", handle -> NativeContainers.allProcessesDead(handle, "u", "w"));
        calls.put("kill", handle -> NativeContainers.kill(handle, "u", "w", true));
        calls.put("cleanup", handle -> NativeContainers.cleanup(handle, "u", "w", -1));
        calls.put("memoryUsage", handle -> NativeContainers.memoryUsage(handle, "u", "w"));
        calls.put("systemFreeMemoryMb", NativeContainers::systemFreeMemoryMb);
        calls.put("profile", handle -> NativeContainers.profile(handle, "{}"));
        calls.put("metrics", NativeContainers::metrics);
        calls.put("close", NativeContainers::close);
        return calls;
    }

    private interface Call {
        void with(long handle) throws OciNativeException;
    }

    @Test
    void aHandleThatNeverWasIsRefused() {
        for (long handle : new long[] {0, -1, NEVER_OPENED, Long.MIN_VALUE, Long.MAX_VALUE}) {
            calls().forEach((name, call) -> assertCode("ARGUMENT", () -> call.with(handle)));
            assertCode("ARGUMENT", () -> NativeContainers.nextEvent(handle));
        }
    }

    @Test
    void aClosedHandleIsRefused() throws Exception {
        long images = openImages();
        NativeContainers.close(images);
        calls().forEach((name, call) -> assertCode("CLOSED", () -> call.with(images)));
        assertNull(NativeContainers.nextEvent(images));
    }

    @Test
    void aHandleOfTheOtherKindIsRefused() throws Exception {
        long images = openImages();
        assertCode("ARGUMENT", () -> NativeContainers.systemFreeMemoryMb(images));
        assertCode("ARGUMENT", () -> NativeContainers.metrics(images));
        assertCode("ARGUMENT", () -> NativeContainers.kill(images, "u", "w", false));
        assertCode("ARGUMENT", () -> NativeContainers.launch(images, "{}"));
        NativeContainers.close(images);
    }

    @Test
    void aHandleIsNeverUsedTwice() throws Exception {
        long first = openImages();
        NativeContainers.close(first);
        long second = openImages();
        assertTrue(second > first);
        NativeContainers.close(second);
    }

    @Test
    void nullIsRefused() throws Exception {
        assertCode("ARGUMENT", () -> NativeContainers.openImages(null));
        assertCode("ARGUMENT", () -> NativeContainers.openContainers(null));
        long images = openImages();
        assertCode("ARGUMENT", () -> NativeContainers.manifest(images, null));
        assertCode("ARGUMENT", () -> NativeContainers.resources(images, null));
        assertCode("ARGUMENT", () -> NativeContainers.localize(images, null));
        NativeContainers.close(images);
    }

    @Test
    void whatIsNotTheRightDocumentIsRefused() throws Exception {
        for (String document : List.of("", "null", "[]", "7", "{", "{\"conf\":1}", "\u0000", "\uD83D\uDE00")) {
            assertCode("ARGUMENT", () -> NativeContainers.openContainers(document));
        }
        for (String document : List.of("", "null", "[]", "7", "{")) {
            assertCode("ARGUMENT", () -> NativeContainers.openImages(document));
        }
        long images = openImages();
        assertThrows(OciNativeException.class, () -> NativeContainers.resources(images, "{}"));
        assertCode("ARGUMENT", () -> NativeContainers.localize(images, "{}"));
        NativeContainers.close(images);
    }

    @Test
    void halfASurrogatePairIsRefusedAndOtherTextComesThrough() throws Exception {
        assertCode("ARGUMENT", () -> NativeContainers.openImages(HALF_PAIR));
        long images = openImages();
        assertCode("ARGUMENT", () -> NativeContainers.manifest(images, HALF_PAIR));
        String tag = "nul\u0000 smile\uD83D\uDE00 replaced\uFFFD";
        OciNativeException unknown =
            assertThrows(OciNativeException.class, () -> NativeContainers.manifest(images, tag));
        assertTrue(unknown.getMessage().startsWith("cannot "), unknown.getMessage());
        NativeContainers.close(images);
    }

    @Test
    void closingWakesWhoWaitsForEvents() throws Exception {
        long images = openImages();
        ExecutorService waiter = Executors.newSingleThreadExecutor();
        CountDownLatch waiting = new CountDownLatch(1);
        Future<String> last = waiter.submit(() -> {
            waiting.countDown();
            String event = NativeContainers.nextEvent(images);
            while (event != null) {
                event = NativeContainers.nextEvent(images);
            }
            return event;
        });
        waiting.await();
        Thread.sleep(50);
        NativeContainers.close(images);
        assertNull(last.get(60, TimeUnit.SECONDS));
        waiter.shutdown();
    }

    @Test
    void callsFromManyThreadsMayMeetTheClose() throws Exception {
        ImageStore store = ImageStore.create(directory);
        String conf = Json.text(store.conf());
        ExecutorService threads = Executors.newFixedThreadPool(8);
        for (int round = 0; round < 20; round++) {
            long images = NativeContainers.openImages(conf);
            CountDownLatch start = new CountDownLatch(1);
            List<Future<Integer>> answers = new ArrayList<>();
            for (int i = 0; i < 8; i++) {
                answers.add(threads.submit(callUntilClosed(images, start)));
            }
            start.countDown();
            Thread.sleep(5);
            NativeContainers.close(images);
            for (Future<Integer> answer : answers) {
                answer.get(60, TimeUnit.SECONDS);
            }
        }
        threads.shutdown();
    }

    private static Callable<Integer> callUntilClosed(long images, CountDownLatch start) {
        return () -> {
            start.await();
            int answered = 0;
            while (true) {
                try {
                    assertTrue(NativeContainers.manifest(images, ImageStore.TAG).contains("layers"));
                    answered++;
                } catch (OciNativeException e) {
                    assertEquals("CLOSED", e.getCode(), e.getMessage());
                    return answered;
                }
            }
        };
    }
}
