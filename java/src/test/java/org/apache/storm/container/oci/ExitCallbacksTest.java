package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.storm.daemon.supervisor.ExitCodeCallback;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(value = 120, unit = TimeUnit.SECONDS)
class ExitCallbacksTest {
    private static final String TOPOLOGY = "topology-1-1";
    private static final int PORT = 6700;

    private final List<Integer> codes = new ArrayList<>();
    /** What the slots were made to look at, after how many codes. */
    private final List<String> written = new ArrayList<>();
    private final ExitCallbacks callbacks = new ExitCallbacks(new WorkerHeartbeats(Map.of(), 0) {
        @Override
        void writePresent(String workerId, String topologyId, int port) {
            written.add(workerId + " " + topologyId + " " + port + " after " + codes);
        }

        @Override
        void writePast(String workerId) throws IOException {
            written.add(workerId + " past");
            throw new IOException("a worker's directory that is gone");
        }
    });

    private void register(String workerId, ExitCodeCallback callback) {
        callbacks.register(workerId, TOPOLOGY, PORT, callback);
    }

    private void call(String workerId, int code) {
        callbacks.call(workerId, code, false);
    }

    @Test
    void aWorkerIsToldOfOnceWithItsCode() {
        register("w", codes::add);
        call("w", 137);
        call("w", 0);
        assertEquals(List.of(137), codes);
        assertEquals(List.of(), written);
    }

    @Test
    void aSlotThatWaitsIsMadeToLookAfterItsCallback() throws IOException {
        register("w", codes::add);
        callbacks.ended(Json.parse("{\"workerId\":\"w\",\"shellCode\":3,\"beforeHeartbeat\":true,\"adopted\":false}"));
        assertEquals(List.of("w " + TOPOLOGY + " 6700 after [3]"), written);
    }

    @Test
    void ofAnAdoptedWorkerThereIsNoCallbackAndTheSlotLooks() throws IOException {
        callbacks.ended(Json.parse("{\"workerId\":\"w\",\"shellCode\":3,\"beforeHeartbeat\":false,\"adopted\":true}"));
        assertEquals(List.of("w past"), written);
    }

    @Test
    void nothingIsToldOfAForgottenOrUnknownWorker() {
        register("old", codes::add);
        register("new", codes::add);
        callbacks.forget("old");
        call("old", 1);
        call("never seen", 1);
        register("without callback", null);
        call("without callback", 1);
        callbacks.register("forgotten while it starts", TOPOLOGY, PORT, codes::add);
        callbacks.forget("forgotten while it starts");
        callbacks.call("forgotten while it starts", 1, true);
        assertEquals(List.of(), codes);
        assertEquals(List.of(), written);
    }

    @Test
    void aCallbackThatThrowsHarmsNobody() {
        register("bad", code -> {
            throw new IllegalStateException("from a callback");
        });
        register("good", codes::add);
        call("bad", 1);
        call("good", 2);
        assertEquals(List.of(2), codes);
    }

    @Test
    void forgettingWaitsForACallUnderWay() throws InterruptedException {
        CountDownLatch called = new CountDownLatch(1);
        CountDownLatch goOn = new CountDownLatch(1);
        AtomicBoolean ended = new AtomicBoolean();
        register("w", code -> {
            called.countDown();
            try {
                goOn.await();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            ended.set(true);
        });
        Thread events = new Thread(() -> call("w", 1));
        events.start();
        called.await();
        AtomicBoolean endedWhenForgotten = new AtomicBoolean();
        Thread slot = new Thread(() -> {
            callbacks.forget("w");
            endedWhenForgotten.set(ended.get());
        });
        slot.start();
        slot.join(100);
        assertTrue(slot.isAlive());
        assertFalse(ended.get());
        goOn.countDown();
        events.join();
        slot.join();
        assertTrue(endedWhenForgotten.get());
    }
}
