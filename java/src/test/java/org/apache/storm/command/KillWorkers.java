package org.apache.storm.command;

import java.io.IOException;
import java.util.Map;
import org.apache.storm.container.oci.OciContainerManager;

/** Stands for Storm's command of this name, which storm-core has and these tests lack. */
public final class KillWorkers {
    private KillWorkers() {
    }

    /** Prepares a manager, as the command does. */
    public static void prepare(OciContainerManager manager, Map<String, Object> conf) throws IOException {
        manager.prepare(conf);
    }
}
