package org.apache.storm.container.oci;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.apache.storm.DaemonConfig;
import org.apache.storm.container.oci.OciResource.OciResourceType;
import org.apache.storm.utils.ConfigUtils;

/** The native image store in the words of Storm's image plugins. */
final class NativeImages {
    // Storm makes three plugins from one configuration. They share one store, with its bound on transfers, its fetches
    // under way and its caches, for as long as the JVM lives: Storm never tells a plugin that it is done with it.
    // By document, since two maps of the same settings need not have the same order.
    private static final Map<ObjectNode, NativeImages> OPEN = new HashMap<>();

    private final long handle;

    private NativeImages(long handle) {
        this.handle = handle;
    }

    /**
     * Opens the image store of a configuration, or answers the one that is open.
     *
     * @param conf Storm's configuration
     * @throws IOException if the library cannot be loaded or the configuration names no usable store
     */
    static NativeImages open(Map<String, Object> conf) throws IOException {
        NativeLibrary.load(conf);
        ObjectNode document = Json.object();
        document.setAll((ObjectNode) Json.value(conf));
        String localDir = DaemonConfig.STORM_OCI_RESOURCES_LOCAL_DIR;
        if (!document.hasNonNull(localDir)) {
            document.put(localDir, ConfigUtils.supervisorLocalDir(conf) + File.separator + "oci-resources");
        }
        synchronized (OPEN) {
            NativeImages images = OPEN.get(document);
            if (images == null) {
                images = new NativeImages(NativeContainers.openImages(Json.text(document)));
                NativeEvents.start("oci-image-events", images.handle, exit -> { });
                OPEN.put(document, images);
            }
            return images;
        }
    }

    ImageManifest manifest(String tag) throws IOException {
        return Json.parse(NativeContainers.manifest(handle, tag), ImageManifest.class);
    }

    /** Answers the digest of a tag's manifest, in hex: a manifest is named by the SHA-256 of its content. */
    String manifestDigest(String tag) throws IOException {
        byte[] manifest = NativeContainers.manifest(handle, tag).getBytes(StandardCharsets.UTF_8);
        try {
            return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(manifest));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("cannot find SHA-256, which every Java has", e);
        }
    }

    OciResource config(ImageManifest manifest) throws IOException {
        return resource(resources(manifest).path("config"));
    }

    List<OciResource> layers(ImageManifest manifest) throws IOException {
        List<OciResource> layers = new ArrayList<>();
        for (JsonNode layer : resources(manifest).path("layers")) {
            layers.add(resource(layer));
        }
        return layers;
    }

    String localize(OciResource resource) throws IOException {
        ObjectNode document = Json.object()
            .put("uri", resource.getPath())
            .put("fileName", resource.getFileName())
            .put("size", resource.getSize())
            .put("modified", resource.getTimestamp())
            .put("type", String.valueOf(resource.getType()));
        return Json.parse(NativeContainers.localize(handle, Json.text(document))).path("path").asText();
    }

    private JsonNode resources(ImageManifest manifest) throws IOException {
        return Json.parse(NativeContainers.resources(handle, Json.text(manifest)));
    }

    private static OciResource resource(JsonNode document) {
        return new OciResource(
            document.path("uri").asText(),
            document.path("fileName").asText(),
            document.path("size").asLong(),
            document.path("modified").asLong(),
            OciResourceType.valueOf(document.path("type").asText()));
    }
}
