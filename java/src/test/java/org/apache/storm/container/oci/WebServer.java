package org.apache.storm.container.oci;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;

/** Busybox's web server, before a directory, on a free port of this host. */
final class WebServer implements AutoCloseable {
    private static final long LIMIT_SECONDS = 120;

    private final Process process;
    private final Thread ending;
    private final int port;

    WebServer(Path directory) throws IOException, InterruptedException {
        try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            port = free.getLocalPort();
        }
        Path log = Files.createTempFile("httpd", ".log");
        process = new ProcessBuilder(
                "busybox", "httpd", "-f", "-p", "127.0.0.1:" + port, "-h", directory.toString())
            .redirectErrorStream(true)
            .redirectOutput(log.toFile())
            .start();
        ending = new Thread(process::destroyForcibly);
        Runtime.getRuntime().addShutdownHook(ending);
        for (long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(LIMIT_SECONDS); !answers();) {
            if (!process.isAlive() || System.nanoTime() > end) {
                close();
                throw new IOException("cannot start a web server: " + Files.readString(log));
            }
            TimeUnit.MILLISECONDS.sleep(10);
        }
        Files.delete(log);
    }

    private boolean answers() {
        try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
            return socket.isConnected();
        } catch (IOException e) {
            return false;
        }
    }

    String url(String path) {
        return "http://127.0.0.1:" + port + path;
    }

    @Override
    public void close() {
        process.destroyForcibly().onExit().join();
        Runtime.getRuntime().removeShutdownHook(ending);
    }
}
