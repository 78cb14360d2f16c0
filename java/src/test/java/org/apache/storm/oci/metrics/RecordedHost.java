package org.apache.storm.oci.metrics;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** What a real host showed a process in a cgroup, laid out as files again. */
final class RecordedHost {
    private static final Path RECORDS = Path.of("tests/fixtures/cgroup");
    private static final String FILE = "@@@ /";

    private RecordedHost() {
    }

    /** Writes the files of a record below a directory. */
    static void unpack(String record, Path root) throws IOException {
        Path file = null;
        StringBuilder text = new StringBuilder();
        for (String line : Files.readAllLines(RECORDS.resolve(record + ".txt"))) {
            if (line.startsWith(FILE)) {
                write(file, text);
                file = root.resolve(line.substring(FILE.length()));
                text.setLength(0);
            } else {
                text.append(line).append('\n');
            }
        }
        write(file, text);
    }

    private static void write(Path file, StringBuilder text) throws IOException {
        if (file != null) {
            Files.createDirectories(file.getParent());
            Files.writeString(file, text);
        }
    }
}
