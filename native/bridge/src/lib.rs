//! libstorm_oci.so: the JNI entry points.
