package org.apache.storm.container.oci;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.commons.codec.digest.DigestUtils;
import org.apache.storm.DaemonConfig;
import org.apache.storm.utils.Utils;

/** An image of two layers in Storm's store layout, in a local directory. */
final class ImageStore {
    static final String TAG = "storm/test:1";

    static final String TAG_MAP_KEY = "storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.hdfs.hash.file";

    final Path root;
    final Path store;
    final List<String> layers = new ArrayList<>();
    final String config;
    final String manifest;

    private ImageStore(Path root) throws IOException {
        this.root = root;
        store = Files.createDirectories(root.resolve("store"));
        ObjectNode manifestDocument = Json.object()
            .put("schemaVersion", 2)
            .put("mediaType", "application/vnd.docker.distribution.manifest.v2+json");
        config = publish("config",
            "{\"config\":{\"Env\":[\"PATH=/usr/bin:/bin\"],\"Entrypoint\":null},\"os\":\"linux\"}"
                .getBytes(StandardCharsets.UTF_8));
        manifestDocument.set("config",
            descriptor("application/vnd.docker.container.image.v1+json", config, size("config", config)));
        var layerDescriptors = manifestDocument.putArray("layers");
        for (String name : List.of("lower", "upper")) {
            // Storm names a squashfs file after the tar.gz it was made from, and so does the manifest.
            String digest = digest(("the tar.gz of " + name).getBytes(StandardCharsets.UTF_8));
            write("layers", digest + ".sqsh", squashfs(name));
            layers.add(digest);
            layerDescriptors.add(
                descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", digest, 12345));
        }
        manifest = publish("manifests", Json.text(manifestDocument).getBytes(StandardCharsets.UTF_8));
        Files.writeString(tagMap(),
            "# the image of the tests\n" + TAG + ",storm/test:same:" + manifest + "#a comment\n");
    }

    static ImageStore create(Path root) throws IOException {
        return new ImageStore(root);
    }

    Path tagMap() {
        return store.resolve("image-tag-to-hash");
    }

    Path layer(int index) {
        return store.resolve("layers").resolve(layers.get(index) + ".sqsh");
    }

    /** Where a layer is once it has been localized. */
    Path localLayer(int index) {
        return localDir().resolve("layers").resolve(layers.get(index) + ".sqsh");
    }

    Path localDir() {
        return root.resolve("local").resolve("oci-resources");
    }

    /** Storm's defaults, with this store. */
    Map<String, Object> conf() {
        Map<String, Object> conf = new HashMap<>(Utils.readDefaultConfig());
        conf.put(NativeLibrary.KEY, TestLibrary.path());
        conf.put("storm.local.dir", root.resolve("local").toString());
        conf.put(DaemonConfig.STORM_OCI_IMAGE_HDFS_TOPLEVEL_DIR, store.toUri().toString());
        conf.put(TAG_MAP_KEY, tagMap().toUri().toString());
        conf.put(DaemonConfig.STORM_OCI_RESOURCES_LOCAL_DIR, localDir().toString());
        conf.put(DaemonConfig.STORM_OCI_ALLOWED_IMAGES, List.of("*"));
        conf.put(DaemonConfig.STORM_OCI_IMAGE, TAG);
        return conf;
    }

    private String publish(String kind, byte[] content) throws IOException {
        String digest = digest(content);
        write(kind, digest, content);
        return digest;
    }

    private void write(String kind, String name, byte[] content) throws IOException {
        Files.write(Files.createDirectories(store.resolve(kind)).resolve(name), content);
    }

    private long size(String kind, String name) throws IOException {
        return Files.size(store.resolve(kind).resolve(name));
    }

    private static ObjectNode descriptor(String mediaType, String digest, long size) {
        return Json.object().put("mediaType", mediaType).put("size", size).put("digest", "sha256:" + digest);
    }

    /** Enough of a squashfs file for all but the kernel: its magic number and some bytes. */
    private static byte[] squashfs(String text) {
        return ("hsqs" + text.repeat(1000)).getBytes(StandardCharsets.UTF_8);
    }

    private static String digest(byte[] content) {
        return DigestUtils.sha256Hex(content);
    }
}
