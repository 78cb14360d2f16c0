//! References, digests, manifests and the tag map; remote stores; the local layer cache.
