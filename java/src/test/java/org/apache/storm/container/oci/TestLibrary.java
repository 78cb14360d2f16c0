package org.apache.storm.container.oci;

import java.util.Map;

/** The library under test. */
final class TestLibrary {
    private TestLibrary() {
    }

    static String path() {
        return System.getProperty(NativeLibrary.KEY);
    }

    static void load() throws OciNativeException {
        NativeLibrary.load(Map.of(NativeLibrary.KEY, path()));
    }
}
