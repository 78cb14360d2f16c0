package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.logging.log4j.Level;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.core.LogEvent;
import org.apache.logging.log4j.core.Logger;
import org.apache.logging.log4j.core.appender.AbstractAppender;
import org.apache.logging.log4j.core.config.Property;
import org.apache.storm.Config;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The library's log lines come out where Storm's do, with their level. */
class NativeEventsTest {
    private static final int A_MOMENT_SECONDS = 60;

    @TempDir
    Path directory;

    private static final class Collector extends AbstractAppender {
        private final BlockingQueue<LogEvent> lines = new LinkedBlockingQueue<>();

        Collector() {
            super("collector", null, null, true, Property.EMPTY_ARRAY);
        }

        @Override
        public void append(LogEvent event) {
            if (event.getLoggerName().contains("storm_oci")) {
                lines.add(event.toImmutable());
            }
        }
    }

    @Test
    void aFailedLaunchIsOneErrorLineOfTheLibrary() throws Exception {
        Logger root = (Logger) LogManager.getRootLogger();
        Collector collector = new Collector();
        collector.start();
        root.addAppender(collector);
        try {
            StormNode node = new StormNode(directory);
            NativeRuncLibContainerManager manager = new NativeRuncLibContainerManager();
            manager.prepare(node.conf);
            StormNode.Worker worker = node.worker();
            worker.launch(manager, Map.of(Config.TOPOLOGY_OCI_IMAGE, "storm/none:9"));
            assertNotNull(worker.exits.poll(A_MOMENT_SECONDS, TimeUnit.SECONDS));
            LogEvent error = collector.lines.poll(A_MOMENT_SECONDS, TimeUnit.SECONDS);
            while (error != null && error.getLevel() != Level.ERROR) {
                error = collector.lines.poll(A_MOMENT_SECONDS, TimeUnit.SECONDS);
            }
            assertNotNull(error, "no error line");
            assertTrue(error.getLoggerName().startsWith("org.apache.storm.container.oci.storm_oci"),
                error.getLoggerName());
            String message = error.getMessage().getFormattedMessage();
            assertTrue(message.contains("storm/none:9"), message);
            assertEquals(0, collector.lines.stream().filter(line -> line.getLevel() == Level.ERROR).count());
        } finally {
            root.removeAppender(collector);
        }
    }
}
