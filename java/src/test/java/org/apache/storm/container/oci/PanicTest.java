package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * A panic in native code is an exception, and the JVM goes on.
 *
 * <p>The shipped library has nothing that panics on request, so this one is built beside it, behind the same entry.
 */
class PanicTest {
    static native void panic(String text) throws OciNativeException;

    @BeforeAll
    static void loadLibrary() {
        System.load(System.getProperty("storm.oci.panic.library"));
    }

    @Test
    void aPanicIsAnException() {
        OciNativeException thrown = assertThrows(OciNativeException.class, () -> panic("broken \uD83D\uDE00"));
        assertEquals("INTERNAL", thrown.getCode());
        assertTrue(thrown.getMessage().endsWith("panicked: broken \uD83D\uDE00"), thrown.getMessage());
    }

    @Test
    void manyPanicsAtOnceAreAsManyExceptions() throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(4);
        List<Future<OciNativeException>> thrown = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            String text = "number " + i;
            thrown.add(threads.submit(() -> assertThrows(OciNativeException.class, () -> panic(text))));
        }
        for (int i = 0; i < thrown.size(); i++) {
            String message = thrown.get(i).get(60, TimeUnit.SECONDS).getMessage();
            assertTrue(message.endsWith("number " + i), message);
        }
        threads.shutdown();
    }
}
