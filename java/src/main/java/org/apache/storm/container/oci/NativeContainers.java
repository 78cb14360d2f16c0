package org.apache.storm.container.oci;

/**
 * The native library's entry points, and nothing else.
 *
 * <p>A handle stands for what {@link #openImages} or {@link #openContainers} made; it is never used twice in the life
 * of the JVM. Every method may be called by any number of threads at once, and throws {@link OciNativeException} for
 * whatever goes wrong, also for null arguments, for a handle that is closed or of the other kind, and for a panic in
 * native code. {@link NativeLibrary#load} must have been called before: this class loads nothing itself, so that
 * daemons which only look at class names never need the library.
 */
final class NativeContainers {
    private NativeContainers() {
    }

    /** Opens the image store of a configuration, without anything that runs containers. */
    static native long openImages(String confJson) throws OciNativeException;

    /** Answers the manifest an image tag stands for, byte for byte as the store has it. */
    static native String manifest(long images, String tag) throws OciNativeException;

    /** Answers where a manifest's config and layers are. */
    static native String resources(long images, String manifestJson) throws OciNativeException;

    /** Brings one resource to this host and answers where it lies. */
    static native String localize(long images, String resourceJson) throws OciNativeException;

    /** Checks the installation, removes what earlier crashes left, and takes over running containers. */
    static native long openContainers(String prepareJson) throws OciNativeException;

    /** Keeps a worker's resources for its launch. */
    static native void reserve(long containers, String reservationJson) throws OciNativeException;

    /** Launches a worker; a launch that did not come about is an answer, not an exception. */
    static native String launch(long containers, String launchJson) throws OciNativeException;

    /** Tells whether nothing of a worker runs any more. */
    static native boolean allProcessesDead(long containers, String user, String workerId) throws OciNativeException;

    /** Asks a worker's processes to end, or ends them when {@code force} is set. */
    static native void kill(long containers, String user, String workerId, boolean force) throws OciNativeException;

    /** Removes what a worker left; {@code port} is -1 when it is not known. */
    static native void cleanup(long containers, String user, String workerId, int port) throws OciNativeException;

    /** Puts a heartbeat, a serialized local state, into the directory of a worker that Storm still knows. */
    static native void writeHeartbeat(long containers, String workerId, byte[] state) throws OciNativeException;

    /** Answers a worker's memory in use, in bytes. */
    static native long memoryUsage(long containers, String user, String workerId) throws OciNativeException;

    /** Answers the memory that is free for workers, in MiB. */
    static native long systemFreeMemoryMb(long containers) throws OciNativeException;

    /** Runs a profiling command in a worker's container. */
    static native boolean profile(long containers, String profileJson) throws OciNativeException;

    /** Answers what is counted, as one flat object of numbers whose names never change. */
    static native String metrics(long containers) throws OciNativeException;

    /**
     * Waits for the next event of a handle of either kind: the end of a container, or a line to log.
     *
     * @return the event as JSON, or null once the handle is closed
     */
    static native String nextEvent(long handle) throws OciNativeException;

    /** Closes a handle of either kind and wakes who waits for its events. Workers go on. */
    static native void close(long handle) throws OciNativeException;
}
