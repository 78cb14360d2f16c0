package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.URL;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.ZipFile;
import org.apache.storm.DaemonConfig;
import org.apache.storm.container.ResourceIsolationInterface;
import org.apache.storm.utils.ReflectionUtils;
import org.apache.storm.utils.Utils;
import org.apache.storm.validation.ConfigValidation;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Which class Storm finds where the jar lies, and that looking at classes needs no native library. */
class ClassLoadingTest {
    private static final String DROP_IN = "org.apache.storm.container.oci.RuncLibContainerManager";
    private static final String OWN_NAME = "org.apache.storm.container.oci.NativeRuncLibContainerManager";

    @TempDir
    Path stormHome;

    private ChildJvm jvm;

    @BeforeEach
    void makeStormHome() throws IOException {
        jvm = new ChildJvm(stormHome);
    }

    /** Prints from which jar Storm's own way of making a plugin takes it, and what it is. */
    static final class MakePlugin {
        public static void main(String[] arguments) throws Exception {
            ResourceIsolationInterface plugin = ReflectionUtils.newInstance(arguments[0]);
            URL location = plugin.getClass().getProtectionDomain().getCodeSource().getLocation();
            System.out.println("loaded from " + Paths.get(location.toURI()));
            System.out.println("superclass " + plugin.getClass().getSuperclass().getName());
            System.out.println("an OCI manager: " + (plugin instanceof OciContainerManager));
        }
    }

    @Test
    void inStormHomeTheDropInReplacesStormsClass() throws Exception {
        Path jar = jvm.installJar(".");
        String output = jvm.run(MakePlugin.class, DROP_IN);
        assertTrue(output.contains("loaded from " + jar + "\n"), output);
        assertTrue(output.contains("superclass " + OWN_NAME), output);
        assertTrue(output.contains("an OCI manager: true"), output);
    }

    @Test
    void inExtlibDaemonStormsClassStaysAndOursHasItsOwnName() throws Exception {
        Path jar = jvm.installJar("extlib-daemon");
        String stock = jvm.run(MakePlugin.class, DROP_IN);
        assertTrue(stock.contains("/storm-server-"), stock);
        assertFalse(stock.contains(jar.toString()), stock);
        String ours = jvm.run(MakePlugin.class, OWN_NAME);
        assertTrue(ours.contains("loaded from " + jar + "\n"), ours);
        assertTrue(ours.contains("an OCI manager: true"), ours);
    }

    /** Validates a configuration as Nimbus does, which initialises every class it names. */
    static final class ValidateConfiguration {
        public static void main(String[] arguments) throws Exception {
            Map<String, Object> conf = new HashMap<>(Utils.readDefaultConfig());
            conf.put(DaemonConfig.STORM_RESOURCE_ISOLATION_PLUGIN, arguments[0]);
            conf.put(DaemonConfig.STORM_OCI_IMAGE_TAG_TO_MANIFEST_PLUGIN,
                LocalOrHdfsImageTagToManifestPlugin.class.getName());
            conf.put(DaemonConfig.STORM_OCI_MANIFEST_TO_RESOURCES_PLUGIN,
                HdfsManifestToResourcesPlugin.class.getName());
            conf.put(DaemonConfig.STORM_OCI_RESOURCES_LOCALIZER, HdfsOciResourcesLocalizer.class.getName());
            ConfigValidation.validateFields(conf, List.of(DaemonConfig.class));
            for (String name : List.of("NativeContainers", "NativeLibrary", "NativeImages", "NativeEvents", "Json")) {
                Class.forName("org.apache.storm.container.oci." + name);
            }
            System.out.println("valid");
        }
    }

    @Test
    void classesAreInitialisedWithoutTheLibrary() throws Exception {
        jvm.installJar(".");
        for (String plugin : List.of(DROP_IN, OWN_NAME)) {
            String output = jvm.option("-Djava.library.path=" + stormHome).run(ValidateConfiguration.class, plugin);
            assertTrue(output.contains("valid"), output);
        }
    }

    @Test
    void theJarHoldsOurClassesAndNoConfiguration() throws IOException {
        try (ZipFile jar = new ZipFile(System.getProperty("storm.oci.jar"))) {
            jar.stream()
                .filter(entry -> !entry.isDirectory())
                .map(entry -> entry.getName())
                .forEach(name -> assertTrue(
                    name.equals("META-INF/MANIFEST.MF") || name.startsWith("org/apache/storm/container/oci/"), name));
        }
    }
}
