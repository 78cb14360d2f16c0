package org.apache.storm.container.oci;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.slf4j.event.Level;

/**
 * One daemon thread that waits for a handle's events and passes them on: exits to whom they concern, log lines to slf4j.
 *
 * <p>The thread ends when the handle is closed, and never keeps the JVM from exiting.
 */
final class NativeEvents implements Runnable {
    private static final Logger LOG = LoggerFactory.getLogger(NativeEvents.class);

    /** Puts the native log targets where operators set the levels of this package. */
    private static final String LOGGER_PREFIX = NativeEvents.class.getPackageName() + ".";

    /** How long to wait after a failure that may come again at once. */
    private static final long PAUSE_MILLIS = 1000;

    private final long handle;
    private final Consumer<JsonNode> exits;

    private NativeEvents(long handle, Consumer<JsonNode> exits) {
        this.handle = handle;
        this.exits = exits;
    }

    static void start(String name, long handle, Consumer<JsonNode> exits) {
        Thread thread = new Thread(new NativeEvents(handle, exits), name);
        thread.setDaemon(true);
        thread.start();
    }

    @Override
    public void run() {
        while (true) {
            try {
                String event = NativeContainers.nextEvent(handle);
                if (event == null) {
                    return;
                }
                dispatch(Json.parse(event));
            } catch (OciNativeException e) {
                if (OciNativeException.CLOSED.equals(e.getCode())) {
                    return;
                }
                LOG.error("Cannot read the next event", e);
                if (!pause()) {
                    return;
                }
            } catch (IOException | RuntimeException e) {
                LOG.error("Cannot pass on an event", e);
            }
        }
    }

    private void dispatch(JsonNode event) {
        if ("log".equals(event.path("type").asText())) {
            log(event);
            return;
        }
        // The library has logged the end already, with its reason.
        LOG.debug("Exit event: {}", event);
        exits.accept(event);
    }

    private static void log(JsonNode event) {
        String target = event.path("target").asText().replace("::", ".");
        LoggerFactory.getLogger(LOGGER_PREFIX + target)
            .atLevel(Level.valueOf(event.path("level").asText()))
            .log(event.path("message").asText());
    }

    private static boolean pause() {
        try {
            Thread.sleep(PAUSE_MILLIS);
            return true;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        }
    }
}
