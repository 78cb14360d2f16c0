package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertNotNull;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/** A real HDFS that has a copy of a directory; it ends with this process, however that ends. */
final class HdfsServer implements AutoCloseable {
    /** Where the copy is. */
    final String url;
    /** The Hadoop configuration of its clients. */
    final String confDir;

    private final Process process;

    HdfsServer(Path directory) throws IOException {
        // It ends when its standard input does.
        process = new ProcessBuilder(System.getProperty("storm.oci.hdfs.program"), directory.toString())
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
        BufferedReader output = process.inputReader(StandardCharsets.UTF_8);
        url = output.readLine();
        confDir = output.readLine();
        assertNotNull(confDir, "HDFS did not start");
    }

    @Override
    public void close() throws IOException {
        process.getOutputStream().close();
        process.onExit().join();
    }
}
