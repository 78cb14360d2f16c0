package org.apache.storm.container.oci;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;

/**
 * A program in the launcher's place that writes down how it was called, and refuses to launch.
 *
 * <p>The real one needs root and is tested where root is. What counts here is which calls come out of the JVM.
 */
final class RecordingLauncher {
    static final String REFUSAL = "cannot launch: this launcher only takes notes";

    /** Field 22 of {@code /proc/self/stat}, counted behind the program's name. */
    private static final int START_TIME = 19;

    final Path path;
    private final Path calls;
    private final Path records;

    RecordingLauncher(Path directory) throws IOException {
        path = directory.resolve("worker-launcher");
        calls = directory.resolve("launcher-calls");
        Files.createFile(calls);
        records = Files.createDirectories(directory.resolve("run-root/records"));
        Files.writeString(path, String.join("\n",
            "#!/bin/bash",
            "echo \"$@\" >> " + calls,
            "case \"$1\" in",
            "--checksetup) exit 0 ;;",
            "--version) echo worker-launcher 0.1.0; exit 0 ;;",
            "--print-config)",
            "  echo 'storm.worker-launcher.group='$(id -gn)",
            "  echo 'min.user.id=1000'",
            "  echo 'worker.launcher.oci.run-root=" + directory.resolve("run-root") + "'",
            "  echo 'worker.launcher.oci.runc=/usr/sbin/runc'",
            "  echo 'worker.launcher.oci.cgroup-parent=/storm'",
            "  exit 0 ;;",
            "esac",
            "case \"$2\" in",
            "run-oci-container) echo 'worker-launcher: " + REFUSAL + "' >&2; exit 44 ;;",
            "esac",
            "exit 0",
            ""));
        Files.setPosixFilePermissions(path, PosixFilePermissions.fromString("rwxr-xr-x"));
    }

    /** Leaves the record of a worker's container, whose first process is this JVM. */
    void record(String worker, String workerRoot) throws IOException {
        String stat = Files.readString(Path.of("/proc/self/stat"));
        String start = stat.substring(stat.lastIndexOf(')') + 2).split(" ")[START_TIME];
        Files.writeString(records.resolve("6700-" + worker + ".json"), String.join("",
            "{\"version\":1,\"containerId\":\"6700-" + worker + "\",\"state\":\"started\",",
            "\"caller\":{\"uid\":" + Files.getAttribute(path, "unix:uid") + ",\"gid\":0},",
            "\"workerRoot\":\"" + workerRoot + "\",\"user\":\"stormtest\",\"uid\":1001,\"gid\":1001,",
            "\"cgroup\":\"/storm/6700-" + worker + "\",\"layers\":[],\"monitor\":null,",
            "\"init\":{\"pid\":" + ProcessHandle.current().pid() + ",\"startTime\":" + start + "},",
            "\"launchedMillis\":1,\"phases\":[]}"));
    }

    /** Answers the calls so far, one line each, arguments separated by blanks. */
    List<String> calls() throws IOException {
        return Files.readAllLines(calls);
    }
}
