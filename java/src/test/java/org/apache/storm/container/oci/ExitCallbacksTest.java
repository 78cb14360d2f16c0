package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(value = 120, unit = TimeUnit.SECONDS)
class ExitCallbacksTest {
    private final ExitCallbacks callbacks = new ExitCallbacks();
    private final List<Integer> codes = new ArrayList<>();

    @Test
    void aWorkerIsToldOfOnceWithItsCode() {
        callbacks.register("w", codes::add);
        callbacks.call("w", 137);
        callbacks.call("w", 0);
        assertEquals(List.of(137), codes);
    }

    @Test
    void nothingIsToldOfAForgottenOrUnknownWorker() {
        callbacks.register("old", codes::add);
        callbacks.register("new", codes::add);
        callbacks.forget("old");
        callbacks.call("old", 1);
        callbacks.call("never seen", 1);
        callbacks.register("without callback", null);
        callbacks.call("without callback", 1);
        assertEquals(List.of(), codes);
    }

    @Test
    void aCallbackThatThrowsHarmsNobody() {
        callbacks.register("bad", code -> {
            throw new IllegalStateException("from a callback");
        });
        callbacks.register("good", codes::add);
        callbacks.call("bad", 1);
        callbacks.call("good", 2);
        assertEquals(List.of(2), codes);
    }

    @Test
    void forgettingWaitsForACallUnderWay() throws InterruptedException {
        CountDownLatch called = new CountDownLatch(1);
        CountDownLatch goOn = new CountDownLatch(1);
        AtomicBoolean ended = new AtomicBoolean();
        callbacks.register("w", code -> {
            called.countDown();
            try {
                goOn.await();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            ended.set(true);
        });
        Thread events = new Thread(() -> callbacks.call("w", 1));
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
