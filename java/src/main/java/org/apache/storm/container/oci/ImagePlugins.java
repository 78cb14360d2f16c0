package org.apache.storm.container.oci;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.apache.storm.DaemonConfig;
import org.apache.storm.utils.ReflectionUtils;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Who resolves images: the native library, or classes that an operator named.
 *
 * <p>A key that is unset, or names the class of ours that Storm's documentation has there, means the library. As soon
 * as one key names another class, the three steps run in Java through Storm's interfaces, with our classes for the
 * other keys.
 */
final class ImagePlugins {
    private static final Logger LOG = LoggerFactory.getLogger(ImagePlugins.class);

    private final Map<String, Object> conf;
    private final String tagToManifestClass;
    private final String manifestToResourcesClass;
    private final String localizerClass;

    private OciImageTagToManifestPluginInterface tagToManifest;
    private OciManifestToResourcesPluginInterface manifestToResources;
    private OciResourcesLocalizerInterface localizer;

    ImagePlugins(Map<String, Object> conf) {
        this.conf = conf;
        tagToManifestClass = className(
            DaemonConfig.STORM_OCI_IMAGE_TAG_TO_MANIFEST_PLUGIN, LocalOrHdfsImageTagToManifestPlugin.class);
        manifestToResourcesClass = className(
            DaemonConfig.STORM_OCI_MANIFEST_TO_RESOURCES_PLUGIN, HdfsManifestToResourcesPlugin.class);
        localizerClass = className(DaemonConfig.STORM_OCI_RESOURCES_LOCALIZER, HdfsOciResourcesLocalizer.class);
    }

    private String className(String key, Class<?> ours) {
        return Objects.toString(conf.get(key), ours.getName());
    }

    /** Tells whether images are resolved in Java. */
    boolean custom() {
        return customTagToManifest() || customManifestToResources() || customLocalizer();
    }

    private boolean customTagToManifest() {
        return !tagToManifestClass.equals(LocalOrHdfsImageTagToManifestPlugin.class.getName());
    }

    private boolean customManifestToResources() {
        return !manifestToResourcesClass.equals(HdfsManifestToResourcesPlugin.class.getName());
    }

    private boolean customLocalizer() {
        return !localizerClass.equals(HdfsOciResourcesLocalizer.class.getName());
    }

    /** Answers the part of the prepare document that tells the library whose classes are configured. */
    ObjectNode document() {
        return Json.object()
            .put("tagToManifest", kind(customTagToManifest()))
            .put("manifestToResources", kind(customManifestToResources()))
            .put("localizer", kind(customLocalizer()));
    }

    private static String kind(boolean custom) {
        return custom ? "custom" : "native";
    }

    /**
     * Makes and initialises the classes, if one of them is not ours.
     *
     * @param problems gets what is wrong, each problem once
     */
    void load(Set<String> problems) {
        if (!custom()) {
            return;
        }
        load(DaemonConfig.STORM_OCI_IMAGE_TAG_TO_MANIFEST_PLUGIN, tagToManifestClass, problems, name -> {
            tagToManifest = ReflectionUtils.newInstance(name);
            tagToManifest.init(conf);
        });
        load(DaemonConfig.STORM_OCI_MANIFEST_TO_RESOURCES_PLUGIN, manifestToResourcesClass, problems, name -> {
            manifestToResources = ReflectionUtils.newInstance(name);
            manifestToResources.init(conf);
        });
        load(DaemonConfig.STORM_OCI_RESOURCES_LOCALIZER, localizerClass, problems, name -> {
            localizer = ReflectionUtils.newInstance(name);
            localizer.init(conf);
        });
    }

    private interface Loading {
        void load(String className) throws IOException;
    }

    private static void load(String key, String className, Set<String> problems, Loading loading) {
        LOG.info("{} is {}", key, className);
        try {
            loading.load(className);
        } catch (OciNativeException e) {
            // Of our own classes; they share one store and fail alike.
            problems.add(e.getMessage());
        } catch (IOException | RuntimeException | LinkageError e) {
            problems.add("cannot use class `" + className + "` of `" + key + "`: " + reason(e));
        }
    }

    private static String reason(Throwable failure) {
        // Storm's ReflectionUtils wraps what went wrong in a RuntimeException without words of its own.
        boolean wrapped = failure.getClass() == RuntimeException.class && failure.getCause() != null;
        return String.valueOf(wrapped ? failure.getCause() : failure);
    }

    /**
     * Resolves and localizes an image through the classes.
     *
     * @param tag the image's tag
     * @return the launch document's {@code image}, with paths on this host, lowest layer first
     * @throws IOException if one of the classes cannot do its part
     */
    ObjectNode resolve(String tag) throws IOException {
        ImageManifest manifest = given(tagToManifest.getManifestFromImageTag(tag), tagToManifestClass, "manifest", tag);
        String config = localizer.localize(
            given(manifestToResources.getConfigResource(manifest), manifestToResourcesClass, "config", tag));
        List<String> layers = localizer.localize(
            given(manifestToResources.getLayerResources(manifest), manifestToResourcesClass, "layers", tag));
        ObjectNode image = Json.object()
            .put("tag", tag)
            .put("manifest", tagToManifest.getHashFromImageTag(tag))
            .put("configPath", given(config, localizerClass, "path of the config", tag));
        ArrayNode paths = image.putArray("layers");
        given(layers, localizerClass, "paths of the layers", tag).forEach(paths::add);
        return image;
    }

    private static <T> T given(T value, String className, String what, String tag) throws OciNativeException {
        if (value == null) {
            throw new OciNativeException(
                OciNativeException.IMAGE, "cannot use image `" + tag + "`: `" + className + "` gave no " + what);
        }
        return value;
    }
}
