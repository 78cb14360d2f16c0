//! From image tag to running container and back.
