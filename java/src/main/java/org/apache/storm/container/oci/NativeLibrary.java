package org.apache.storm.container.oci;

import java.io.File;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.security.CodeSource;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Finds and loads the native library, once a JVM.
 *
 * <p>With {@link #KEY} set, that file is the only place. Otherwise the library is looked for beside the jar this class
 * came from (also where a symbolic link to the jar leads), then in each directory of {@code java.library.path}.
 */
final class NativeLibrary {
    /** The configuration key that holds the library's absolute path. */
    static final String KEY = "storm.oci.native.library";

    private static final Logger LOG = LoggerFactory.getLogger(NativeLibrary.class);
    private static final String FILE_NAME = System.mapLibraryName("storm_oci");

    // A JVM loads a library once and for all, so the outcome lives as long as the JVM.
    private static boolean loaded;
    private static OciNativeException failure;

    private NativeLibrary() {
    }

    /**
     * Loads the library, unless that was done before.
     *
     * @param conf Storm's configuration
     * @throws OciNativeException if it cannot be loaded; the message names every place tried with the reason. The
     *     first failure is kept and thrown again: the JVM would not answer differently
     */
    static synchronized void load(Map<String, Object> conf) throws OciNativeException {
        if (loaded) {
            return;
        }
        if (failure == null) {
            failure = tryPlaces(places(conf.get(KEY)));
        }
        if (failure != null) {
            throw new OciNativeException(failure.getCode(), failure.getMessage(), failure);
        }
        loaded = true;
    }

    private static OciNativeException tryPlaces(Set<Path> places) {
        List<Throwable> reasons = new ArrayList<>();
        StringBuilder message = new StringBuilder("cannot load the native library; places tried:");
        for (Path place : places) {
            try {
                if (!Files.isRegularFile(place)) {
                    message.append("\n  ").append(place).append(": no such file");
                    continue;
                }
                System.load(place.toString());
                LOG.info("Loaded the native library {}", place);
                return null;
            } catch (UnsatisfiedLinkError | SecurityException e) {
                message.append("\n  ").append(place).append(": ").append(e.getMessage());
                reasons.add(e);
            }
        }
        message.append("\nhint: set ").append(KEY).append(" to the absolute path of ").append(FILE_NAME);
        OciNativeException failed = new OciNativeException(OciNativeException.LIBRARY, message.toString());
        reasons.forEach(failed::addSuppressed);
        return failed;
    }

    private static Set<Path> places(Object named) {
        Set<Path> places = new LinkedHashSet<>();
        if (named != null && !String.valueOf(named).isBlank()) {
            places.add(Paths.get(String.valueOf(named)));
            return places;
        }
        addPlacesBesideJar(places);
        for (String directory : System.getProperty("java.library.path", "").split(File.pathSeparator)) {
            if (!directory.isEmpty()) {
                places.add(Paths.get(directory, FILE_NAME).toAbsolutePath());
            }
        }
        return places;
    }

    private static void addPlacesBesideJar(Set<Path> places) {
        CodeSource source = NativeLibrary.class.getProtectionDomain().getCodeSource();
        if (source == null || source.getLocation() == null) {
            return;
        }
        try {
            Path jar = Paths.get(source.getLocation().toURI());
            places.add(jar.resolveSibling(FILE_NAME));
            places.add(jar.toRealPath().resolveSibling(FILE_NAME));
        } catch (URISyntaxException | IOException | IllegalArgumentException e) {
            LOG.warn("Cannot look for the native library beside {}: {}", source.getLocation(), e.toString());
        }
    }
}
