package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The library never keeps a JVM from exiting: {@code storm kill_workers} is one that only returns from main. */
class JvmExitTest {
    @TempDir
    Path directory;

    /** Prepares a manager and a plugin, leaves their threads waiting, and returns. */
    static final class UseLibrary {
        public static void main(String[] arguments) throws Exception {
            StormNode node = new StormNode(Path.of(arguments[0]));
            NativeRuncLibContainerManager manager = new NativeRuncLibContainerManager();
            manager.prepare(node.conf);
            StormNode.Worker worker = node.worker();
            worker.launch(manager, Map.of());
            LocalOrHdfsImageTagToManifestPlugin tagToManifest = new LocalOrHdfsImageTagToManifestPlugin();
            tagToManifest.init(node.conf);
            System.out.println("found " + tagToManifest.getHashFromImageTag(ImageStore.TAG));
        }
    }

    @Test
    void aJvmThatReturnsFromMainExits() throws Exception {
        ChildJvm jvm = new ChildJvm(directory.resolve("home"));
        jvm.installJar(".");
        jvm.option("-D" + NativeLibrary.KEY + "=" + TestLibrary.path());
        assertTrue(jvm.run(UseLibrary.class, directory.toString()).contains("found "));
    }
}
