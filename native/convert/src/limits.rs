//! How much an image may ask of the host that converts it.

/// The most that is accepted of an image. What is beyond is refused before anything is published.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Layers of an image.
    pub layers: usize,
    /// Bytes of all layers of an image together, as the manifest gives them: compressed.
    pub image_bytes: u64,
    /// Bytes of one layer's tar stream, and of the holes in its sparse files. What protects from a
    /// decompression bomb.
    pub layer_bytes: u64,
    /// Entries of one layer. Each takes some hundred bytes of memory.
    pub layer_entries: u64,
    /// Bytes of one layer's names, link targets and extended attributes, which are all kept in memory.
    pub layer_metadata_bytes: u64,
    /// Bytes of one header: long names and PAX records of one entry together.
    pub header_bytes: u64,
    /// Bytes of a manifest, an index or an image config.
    pub document_bytes: u64,
}

impl Default for Limits {
    /// Room for every image that was seen, and no way to fill a disk or the memory.
    fn default() -> Self {
        Self {
            layers: 127,
            image_bytes: 10 << 30,
            layer_bytes: 64 << 30,
            layer_entries: 4_000_000,
            layer_metadata_bytes: 1 << 30,
            header_bytes: 1 << 20,
            document_bytes: 4 << 20,
        }
    }
}
