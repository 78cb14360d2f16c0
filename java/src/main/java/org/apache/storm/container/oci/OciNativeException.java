package org.apache.storm.container.oci;

import java.io.IOException;

/**
 * What the native library, or the way to it, could not do.
 *
 * <p>The message is for people: {@code cannot <verb> <object>: cause}. Code that has to tell failures apart asks for
 * {@link #getCode()}, a constant such as {@code IMAGE}, {@code STORE}, {@code ARGUMENT}, {@code CLOSED} or
 * {@code INTERNAL}, and never reads the message.
 */
public final class OciNativeException extends IOException {
    /** The library could not be loaded. */
    static final String LIBRARY = "LIBRARY";
    /** Storm's configuration does not allow to go on. */
    static final String CONFIG = "CONFIG";
    /** The image is not there, or cannot be used. */
    static final String IMAGE = "IMAGE";
    /** The handle was closed, or never opened. */
    static final String CLOSED = "CLOSED";

    private static final long serialVersionUID = 1L;

    private final String code;

    /**
     * Creates an exception; the native library calls this by its signature.
     *
     * @param code what kind of failure it is, a stable constant
     * @param message what could not be done, and why
     */
    public OciNativeException(String code, String message) {
        super(message);
        this.code = code;
    }

    OciNativeException(String code, String message, Throwable cause) {
        super(message, cause);
        this.code = code;
    }

    /**
     * Tells what kind of failure this is.
     *
     * @return a stable constant in upper case
     */
    public String getCode() {
        return code;
    }
}
