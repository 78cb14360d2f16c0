package org.apache.storm.container.oci;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.nio.file.Paths;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The library never keeps a JVM from exiting: {@code storm kill_workers} is one that only returns from main. */
class JvmExitTest {
    @TempDir
    Path directory;

    /** Uses a store, leaves its event thread waiting, and returns. */
    static final class UseStore {
        public static void main(String[] arguments) throws Exception {
            ImageStore store = ImageStore.create(Paths.get(arguments[0]));
            HdfsOciResourcesLocalizer localizer = new HdfsOciResourcesLocalizer();
            localizer.init(store.conf());
            LocalOrHdfsImageTagToManifestPlugin tagToManifest = new LocalOrHdfsImageTagToManifestPlugin();
            tagToManifest.init(store.conf());
            System.out.println("found " + tagToManifest.getHashFromImageTag(ImageStore.TAG));
        }
    }

    @Test
    void aJvmThatReturnsFromMainExits() throws Exception {
        ChildJvm jvm = new ChildJvm(directory.resolve("home"));
        jvm.installJar(".");
        jvm.option("-D" + NativeLibrary.KEY + "=" + TestLibrary.path());
        assertTrue(jvm.run(UseStore.class, directory.toString()).contains("found "));
    }
}
