package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Where the library is looked for, and what is said when it is nowhere. */
class NativeLibraryTest {
    private static final String FILE_NAME = "libstorm_oci.so";

    @TempDir
    Path directory;

    private Path stormHome;
    private Path jar;
    private ChildJvm jvm;

    @BeforeEach
    void makeStormHome() throws IOException {
        stormHome = Files.createDirectory(directory.resolve("home"));
        jvm = new ChildJvm(stormHome);
        jar = jvm.installJar("extlib-daemon");
    }

    /** Loads the library twice, with the library's place as argument or without, and prints how it went. */
    static final class LoadTwice {
        public static void main(String[] arguments) {
            Map<String, Object> conf = new HashMap<>();
            if (arguments.length > 0) {
                conf.put("storm.oci.native.library", arguments[0]);
            }
            for (int i = 0; i < 2; i++) {
                try {
                    NativeLibrary.load(conf);
                    System.out.println("loaded");
                } catch (OciNativeException e) {
                    System.out.println(e.getCode() + " " + e.getMessage());
                }
            }
        }
    }

    private static Path library() {
        return Paths.get(TestLibrary.path());
    }

    private static int count(String text, String part) {
        return text.split(java.util.regex.Pattern.quote(part), -1).length - 1;
    }

    @Test
    void theKeyNamesIt() throws Exception {
        assertTrue(jvm.run(LoadTwice.class, library().toString()).contains("loaded"));
    }

    @Test
    void itLiesBesideTheJar() throws Exception {
        Files.copy(library(), jar.resolveSibling(FILE_NAME));
        assertTrue(jvm.run(LoadTwice.class).contains("loaded"));
    }

    @Test
    void itLiesWhereALinkToTheJarLeads() throws Exception {
        Path elsewhere = Files.createDirectory(directory.resolve("elsewhere"));
        Files.copy(library(), elsewhere.resolve(FILE_NAME));
        Path moved = Files.move(jar, elsewhere.resolve("storm-oci.jar"));
        Files.createSymbolicLink(jar, moved);
        assertTrue(jvm.run(LoadTwice.class).contains("loaded"));
    }

    @Test
    void itLiesInTheLibraryPath() throws Exception {
        Path second = Files.createDirectory(directory.resolve("second"));
        Files.copy(library(), second.resolve(FILE_NAME));
        jvm.option("-Djava.library.path=" + directory.resolve("first") + ":" + second);
        assertTrue(jvm.run(LoadTwice.class).contains("loaded"));
    }

    @Test
    void whenItIsNowhereEveryPlaceIsNamed() throws Exception {
        Path broken = Files.createDirectory(directory.resolve("broken"));
        Files.writeString(broken.resolve(FILE_NAME), "not a library");
        Path missing = directory.resolve("missing");
        jvm.option("-Djava.library.path=" + missing + ":" + broken);
        String output = jvm.run(LoadTwice.class);
        // Twice: the failure is kept.
        assertTrue(count(output, "LIBRARY cannot load the native library; places tried:") == 2, output);
        assertTrue(output.contains("\n  " + jar.resolveSibling(FILE_NAME) + ": no such file\n"), output);
        assertTrue(output.contains("\n  " + missing.resolve(FILE_NAME) + ": no such file\n"), output);
        assertTrue(output.contains("\n  " + broken.resolve(FILE_NAME) + ": "), output);
        assertTrue(output.contains("file too short") || output.contains("invalid ELF header"), output);
        assertTrue(output.contains("hint: set storm.oci.native.library"), output);
    }

    @Test
    void whatTheKeyNamesIsTheOnlyPlace() throws Exception {
        Files.copy(library(), jar.resolveSibling(FILE_NAME));
        String output = jvm.run(LoadTwice.class, "/nowhere/" + FILE_NAME);
        assertTrue(output.contains("\n  /nowhere/" + FILE_NAME + ": no such file\nhint"), output);
        String relative = jvm.run(LoadTwice.class, FILE_NAME);
        assertTrue(relative.contains("\n  " + FILE_NAME + ": "), relative);
    }
}
