package org.apache.storm.container.oci;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Map;
import org.apache.storm.generated.LSWorkerHeartbeat;
import org.apache.storm.generated.LocalStateData;
import org.apache.storm.generated.ThriftSerializedObject;
import org.apache.storm.utils.ConfigUtils;
import org.apache.storm.utils.LocalState;
import org.apache.storm.utils.Time;
import org.apache.storm.utils.Utils;

/**
 * Heartbeats of workers that have ended, so that their slots look again.
 *
 * <p>A slot that waits for a worker to start looks at nothing but the worker's heartbeat, and one that took over a
 * worker from an earlier supervisor looks at its age alone. What is written here names no executor, so that nobody
 * learns from it that one is alive.
 */
class WorkerHeartbeats {
    /** Older than any timeout. */
    private static final int LONG_AGO = 1;

    private final Map<String, Object> conf;
    private final long handle;

    WorkerHeartbeats(Map<String, Object> conf, long handle) {
        this.conf = conf;
        this.handle = handle;
    }

    /** Lets a slot that waits for a worker's start go on, to find that the worker has ended. */
    void writePresent(String workerId, String topologyId, int port) throws IOException {
        write(workerId, new LSWorkerHeartbeat(Time.currentTimeSecs(), topologyId, List.of(), port));
    }

    /** Makes the last heartbeat of a worker an old one. Without one its slot has noticed already. */
    void writePast(String workerId) throws IOException {
        LSWorkerHeartbeat last = ConfigUtils.workerState(conf, workerId).getWorkerHeartBeat();
        if (last != null) {
            write(workerId, new LSWorkerHeartbeat(LONG_AGO, last.get_topology_id(), List.of(), last.get_port()));
        }
    }

    private void write(String workerId, LSWorkerHeartbeat heartbeat) throws IOException {
        ThriftSerializedObject part = new ThriftSerializedObject(LSWorkerHeartbeat.class.getName(),
            ByteBuffer.wrap(Utils.thriftSerialize(heartbeat)));
        LocalStateData state = new LocalStateData(Map.of(LocalState.LS_WORKER_HEARTBEAT, part));
        NativeContainers.writeHeartbeat(handle, workerId, Utils.thriftSerialize(state));
    }
}
