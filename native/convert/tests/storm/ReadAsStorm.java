// Reads a store as Storm's own plugins do: the tag map line by line, manifests into Storm's class
// with a plain ObjectMapper, and the status of each config and layer from HDFS. In Storm's package,
// because what is in its manifests is not public.

package org.apache.storm.container.oci;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

class ReadAsStorm {
    private static final String CONFIG = "application/vnd.docker.container.image.v1+json";
    private static final String LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip";

    public static void main(String[] arguments) throws Exception {
        Path top = new Path(arguments[0]);
        FileSystem fs = top.getFileSystem(new Configuration());
        TreeMap<String, String> tags = new TreeMap<>();
        try (BufferedReader lines =
                new BufferedReader(new InputStreamReader(fs.open(new Path(top, "image-tag-to-hash"))))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                int comment = line.indexOf('#');
                String entry = comment < 0 ? line : line.substring(0, comment);
                if (comment == 0) {
                    continue;
                }
                int colon = entry.lastIndexOf(':');
                if (colon < 0) {
                    throw new IllegalStateException("malformed: " + line);
                }
                String hash = entry.substring(colon + 1);
                if (!hash.matches("[a-zA-Z0-9]{64}")) {
                    throw new IllegalStateException("no hash: " + line);
                }
                for (String tag : entry.substring(0, colon).split(",")) {
                    tags.put(tag, hash);
                }
            }
        }
        for (String tag : tags.keySet()) {
            ImageManifest manifest;
            try (InputStream json = fs.open(new Path(top, "manifests/" + tags.get(tag)))) {
                manifest = new ObjectMapper().readValue(json.readAllBytes(), ImageManifest.class);
            }
            require(CONFIG, manifest.getConfig().getMediaType());
            fs.getFileStatus(new Path(top, "config/" + hex(manifest.getConfig().getDigest())));
            List<String> layers = new ArrayList<>();
            for (ImageManifest.Blob layer : manifest.getLayers()) {
                require(LAYER, layer.getMediaType());
                Path file = new Path(top, "layers/" + hex(layer.getDigest()) + ".sqsh");
                layers.add(layer.getSize() + "/" + fs.getFileStatus(file).getLen());
            }
            System.out.println(tag + " " + tags.get(tag) + " " + String.join(" ", layers));
        }
    }

    private static String hex(String digest) {
        require("sha256", digest.split(":")[0]);
        String hex = digest.split(":")[1];
        if (!hex.matches("[a-zA-Z0-9]{64}")) {
            throw new IllegalStateException(digest);
        }
        return hex;
    }

    private static void require(String expected, String found) {
        if (!expected.equals(found)) {
            throw new IllegalStateException(found + " is not " + expected);
        }
    }
}
