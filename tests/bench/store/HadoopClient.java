import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

/**
 * Hadoop's own client, as Storm's localizer uses it: one file system, one
 * {@code copyToLocalFile} after another, nothing hashed.
 *
 * <p>The arguments are {@code name=value} over the configuration. Each line of the input is
 * {@code REMOTE LOCAL}: the layers of a directory are copied, and the milliseconds it took are
 * printed.
 */
final class HadoopClient {
    private HadoopClient() {
    }

    public static void main(String[] options) throws IOException {
        Configuration configuration = new Configuration();
        for (String option : options) {
            String[] words = option.split("=", 2);
            configuration.set(words[0], words[1]);
        }
        FileSystem store = FileSystem.get(configuration);
        BufferedReader requests =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            String[] words = line.split(" ");
            long start = System.nanoTime();
            fetch(store, new Path(words[0]), new File(words[1]));
            System.out.println((System.nanoTime() - start) / 1e6);
        }
    }

    private static void fetch(FileSystem store, Path from, File to) throws IOException {
        File working = new File(to, "working");
        if (!working.mkdirs()) {
            throw new IOException("cannot make " + working);
        }
        for (FileStatus file : store.listStatus(from)) {
            String name = file.getPath().getName();
            if (!name.endsWith(".sqsh")) {
                continue;
            }
            File copy = new File(working, name);
            store.copyToLocalFile(file.getPath(), new Path(copy.toString()));
            if (!copy.setReadable(true, false) || !copy.renameTo(new File(to, name))) {
                throw new IOException("cannot publish " + copy);
            }
        }
    }
}
