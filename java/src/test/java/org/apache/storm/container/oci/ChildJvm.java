package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * Runs a class of the tests in a JVM of its own, with the class path of a Storm daemon.
 *
 * <p>The order is Storm's: {@code $STORM_HOME/*}, what is in {@code lib}, {@code extlib-daemon/*}; the tests come last.
 */
final class ChildJvm {
    private static final long LIMIT_SECONDS = 240;

    private final Path stormHome;
    private final List<String> options = new ArrayList<>();

    ChildJvm(Path stormHome) throws IOException {
        this.stormHome = stormHome;
        Files.createDirectories(stormHome.resolve("extlib-daemon"));
    }

    /** Installs our jar in a directory of the Storm home. */
    Path installJar(String directory) throws IOException {
        Path installed = stormHome.resolve(directory).resolve("storm-oci.jar").normalize();
        return Files.copy(Paths.get(System.getProperty("storm.oci.jar")), installed);
    }

    ChildJvm option(String option) {
        options.add(option);
        return this;
    }

    /** A process that runs a main class; its errors go where its output goes. */
    ProcessBuilder prepare(Class<?> main, String... arguments) {
        List<String> command = new ArrayList<>();
        command.add(Paths.get(System.getProperty("java.home"), "bin", "java").toString());
        command.add("-Xcheck:jni");
        command.add("-Dstorm.home=" + stormHome);
        command.addAll(options);
        command.add("-cp");
        command.add(String.join(File.pathSeparator, stormHome + "/*", System.getProperty("storm.oci.storm.jars"),
            stormHome + "/extlib-daemon/*", testClasses().toString()));
        command.add(main.getName());
        command.addAll(List.of(arguments));
        return new ProcessBuilder(command).redirectErrorStream(true);
    }

    /** Runs a main class that must end by itself, and answers what it printed. */
    String run(Class<?> main, String... arguments) throws IOException, InterruptedException {
        Path output = Files.createTempFile(stormHome, "output", ".txt");
        Process process = prepare(main, arguments).redirectOutput(output.toFile()).start();
        boolean ended = process.waitFor(LIMIT_SECONDS, TimeUnit.SECONDS);
        process.destroyForcibly();
        String text = Files.readString(output, StandardCharsets.UTF_8);
        assertTrue(ended, "the JVM did not exit:\n" + text);
        assertEquals(0, process.exitValue(), text);
        assertFalse(text.contains("WARNING"), text);
        return text;
    }

    private static Path testClasses() {
        try {
            return Paths.get(ChildJvm.class.getProtectionDomain().getCodeSource().getLocation().toURI());
        } catch (URISyntaxException e) {
            throw new IllegalStateException(e);
        }
    }
}
