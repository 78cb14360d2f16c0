//! The beginning of the file.

/// There is no such table.
pub(super) const ABSENT: u64 = u64::MAX;

/// Whole tails of files are in fragment blocks.
pub(super) const ALWAYS_FRAGMENTS: u16 = 0x20;
pub(super) const NO_FRAGMENTS: u16 = 0x10;
/// Contents that are the same are stored once.
pub(super) const DUPLICATES: u16 = 0x40;
/// There is a table of the inodes' places, by which NFS finds them.
pub(super) const EXPORTABLE: u16 = 0x80;
pub(super) const NO_XATTRS: u16 = 0x200;
/// The compression's options follow the superblock.
pub(super) const COMPRESSION_OPTIONS: u16 = 0x400;

/// Where everything else is.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub(super) inodes: u32,
    pub(super) block_size: u32,
    pub(super) fragments: u32,
    pub(super) compression: u16,
    pub(super) flags: u16,
    pub(super) ids: u16,
    /// The root directory's inode.
    pub(super) root: u64,
    pub(super) bytes_used: u64,
    pub(super) id_table: u64,
    pub(super) xattr_table: u64,
    pub(super) inode_table: u64,
    pub(super) directory_table: u64,
    pub(super) fragment_table: u64,
    pub(super) export_table: u64,
}

impl Superblock {
    pub(super) const LENGTH: u64 = 96;

    pub(super) fn encode(&self) -> Vec<u8> {
        const MAGIC: &[u8] = b"hsqs";
        const VERSION: (u16, u16) = (4, 0);
        /// The time at which the file was made. Its bytes tell of the content alone.
        const MADE: u32 = 0;
        let block_log = u16::try_from(self.block_size.trailing_zeros()).unwrap_or(0);
        [
            MAGIC,
            &self.inodes.to_le_bytes(),
            &MADE.to_le_bytes(),
            &self.block_size.to_le_bytes(),
            &self.fragments.to_le_bytes(),
            &self.compression.to_le_bytes(),
            &block_log.to_le_bytes(),
            &self.flags.to_le_bytes(),
            &self.ids.to_le_bytes(),
            &VERSION.0.to_le_bytes(),
            &VERSION.1.to_le_bytes(),
            &self.root.to_le_bytes(),
            &self.bytes_used.to_le_bytes(),
            &self.id_table.to_le_bytes(),
            &self.xattr_table.to_le_bytes(),
            &self.inode_table.to_le_bytes(),
            &self.directory_table.to_le_bytes(),
            &self.fragment_table.to_le_bytes(),
            &self.export_table.to_le_bytes(),
        ]
        .concat()
    }
}
