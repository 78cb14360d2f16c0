package org.apache.storm.container.oci;

/**
 * {@link NativeRuncLibContainerManager} under the name that Storm's own container manager has.
 *
 * <p>A cluster whose configuration names this class uses the native one when our jar lies in {@code $STORM_HOME}
 * itself, which comes before Storm's {@code lib} on the daemons' class path. In {@code extlib-daemon} it comes after;
 * there only {@link NativeRuncLibContainerManager} is found.
 */
public class RuncLibContainerManager extends NativeRuncLibContainerManager {
}
