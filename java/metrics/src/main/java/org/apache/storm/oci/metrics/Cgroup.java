package org.apache.storm.oci.metrics;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The cgroup in which one controller counts and limits this process, and what its files say.
 *
 * <p>On version 1 each controller has a hierarchy and a line in {@code /proc/self/cgroup} of its own; on version 2 all
 * share one; a hybrid host has both. Where a hierarchy is mounted, only {@code mountinfo} knows.
 *
 * @see <a href="https://man7.org/linux/man-pages/man7/cgroups.7.html">cgroups(7)</a>
 * @see <a href="https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html">proc_pid_mountinfo(5)</a>
 */
final class Cgroup {
    private static final Pattern OCTAL = Pattern.compile("\\\\([0-7]{3})");

    private final boolean isVersion2;
    private final Path directory;

    private Cgroup(boolean isVersion2, Path directory) {
        this.isVersion2 = isVersion2;
        this.directory = directory;
    }

    /**
     * Finds the cgroup of this process.
     *
     * @param root the root directory, below which {@code proc} and {@code sys} are
     * @param controller the controller's name
     * @throws IOException when this process is in none, or its hierarchy is not mounted where this process sees it
     */
    static Cgroup of(Path root, String controller) throws IOException {
        Path file = root.resolve("proc/self/cgroup");
        String unified = null;
        for (String line : lines(file)) {
            String[] parts = line.split(":", 3);
            if (parts.length == 3 && List.of(parts[1].split(",")).contains(controller)) {
                return new Cgroup(false, directory(root, controller, parts[2]));
            }
            if (parts.length == 3 && parts[0].equals("0") && parts[1].isEmpty()) {
                unified = parts[2];
            }
        }
        if (unified == null) {
            throw new IOException("cannot find controller " + controller + " in " + file);
        }
        return new Cgroup(true, directory(root, null, unified));
    }

    /** The directory of a cgroup in a controller's hierarchy; the unified one has no name. */
    private static Path directory(Path root, String controller, String cgroup) throws IOException {
        Path file = root.resolve("proc/self/mountinfo");
        // What was mounted later covers what was mounted before: in a container the host's tree covers the runtime's.
        List<String> latestFirst = new ArrayList<>(lines(file));
        Collections.reverse(latestFirst);
        for (String line : latestFirst) {
            int separator = line.indexOf(" - ");
            if (separator < 0) {
                continue;
            }
            // ID, parent, device, root, mount point …; type, source, options of the file system
            String[] mount = line.substring(0, separator).split(" ");
            String[] fileSystem = line.substring(separator + 3).split(" ");
            if (mount.length < 5 || fileSystem.length < 3) {
                continue;
            }
            boolean found = controller == null
                ? fileSystem[0].equals("cgroup2")
                : fileSystem[0].equals("cgroup") && List.of(fileSystem[2].split(",")).contains(controller);
            String below = found ? below(plain(mount[3]), cgroup) : null;
            if (below != null) {
                Path directory = root.resolve("." + plain(mount[4])).resolve(below).normalize();
                if (Files.isDirectory(directory)) {
                    return directory;
                }
            }
        }
        throw new IOException("cannot find where cgroup " + cgroup + " is mounted in " + file);
    }

    /** The cgroup's path below what a mount shows of its hierarchy; {@code null} when it shows another part. */
    private static String below(String mounted, String cgroup) {
        String prefix = asDirectory(mounted);
        String path = asDirectory(cgroup);
        return path.startsWith(prefix) ? path.substring(prefix.length()) : null;
    }

    private static String asDirectory(String path) {
        return path.endsWith("/") ? path : path + "/";
    }

    /** A name without the kernel's escapes of blanks. */
    private static String plain(String name) {
        return OCTAL.matcher(name).replaceAll(
            found -> Matcher.quoteReplacement(String.valueOf((char) Integer.parseInt(found.group(1), 8))));
    }

    /** Whether this is a cgroup of version 2, whose files have other names and units. */
    boolean isVersion2() {
        return isVersion2;
    }

    /**
     * The words of a file's first line.
     *
     * @throws IOException when it cannot be read
     */
    String[] words(String name) throws IOException {
        List<String> lines = lines(directory.resolve(name));
        return lines.isEmpty() ? new String[0] : lines.get(0).trim().split(" ");
    }

    /**
     * The number that a file holds.
     *
     * @throws IOException when it cannot be read or holds none
     */
    long number(String name) throws IOException {
        return number(name, words(name)[0]);
    }

    /**
     * The number after a word in a file of such pairs.
     *
     * @throws IOException when it cannot be read or has no such pair
     */
    long field(String name, String word) throws IOException {
        for (String line : lines(directory.resolve(name))) {
            String[] pair = line.split(" ");
            if (pair.length == 2 && pair[0].equals(word)) {
                return number(name, pair[1]);
            }
        }
        throw new IOException("cannot find " + word + " in " + directory.resolve(name));
    }

    /**
     * The number that a text from a file is.
     *
     * @throws IOException when it is none
     */
    long number(String name, String text) throws IOException {
        try {
            return Long.parseLong(text);
        } catch (NumberFormatException e) {
            throw new IOException("cannot read " + directory.resolve(name) + ": '" + text + "' is no number", e);
        }
    }

    /** Mount points need not be UTF-8; those that matter here are. */
    private static List<String> lines(Path file) throws IOException {
        return new String(Files.readAllBytes(file), StandardCharsets.UTF_8).lines().toList();
    }
}
