//! What a disk holds: directory entries and the contents behind them.
//!
//! An [`DiskImage`] knows one thing, how an operation changes it; the file system's view of now, its durable state and what
//! is left after a power loss are all images that differ in which operations were applied. Contents are shared between
//! images until one of them changes, so taking a copy of a whole disk copies no content.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

/// Identifies a content across renames, and across the images of one disk.
pub(super) type Inode = u64;

/// No file of a simulation is longer, in bytes: a wilder offset is a mistake, and better named than out of memory.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// One change that a power loss can undo as long as it is unsynced.
#[derive(Clone, Hash)]
pub(super) enum Operation {
    Write { inode: Inode, offset: u64, bytes: Bytes },
    Truncate { inode: Inode, len: u64 },
    Create { path: String, inode: Inode },
    Remove { path: String },
    // It carries its inode: `to` becomes that file even where the creation of `from` was lost.
    Rename { from: String, to: String, inode: Inode },
}

impl Operation {
    /// The content that the operation changes; directory operations change none.
    pub(super) fn inode(&self) -> Option<Inode> {
        match self {
            Self::Write { inode, .. } | Self::Truncate { inode, .. } => Some(*inode),
            Self::Create { .. } | Self::Remove { .. } | Self::Rename { .. } => None,
        }
    }

    /// The path whose directory the operation changes; operations on content change none.
    pub(super) fn entry(&self) -> Option<&str> {
        match self {
            Self::Write { .. } | Self::Truncate { .. } => None,
            Self::Create { path, .. } | Self::Remove { path } | Self::Rename { to: path, .. } => Some(path),
        }
    }
}

/// Directory entries and contents. A content without an entry belongs to a removed file that is still open.
#[derive(Clone, Default)]
pub(super) struct DiskImage {
    pub(super) entries: BTreeMap<String, Inode>,
    contents: BTreeMap<Inode, Arc<Vec<u8>>>,
}

impl DiskImage {
    /// The file at `path`, if there is one.
    pub(super) fn file(&self, path: &str) -> Option<Arc<Vec<u8>>> {
        let inode = self.entries.get(path)?;
        Some(self.contents.get(inode).cloned().unwrap_or_default())
    }

    /// The content of an inode; empty if nothing was ever written to it here.
    pub(super) fn content(&self, inode: Inode) -> &[u8] {
        self.contents.get(&inode).map_or(&[], |content| content.as_slice())
    }

    pub(super) fn apply(&mut self, operation: &Operation) {
        match operation {
            // A write of nothing does not even lengthen the file.
            Operation::Write { bytes, .. } if bytes.is_empty() => {}
            Operation::Write { inode, offset, bytes } => {
                let content = self.content_mut(*inode, *offset + bytes.len() as u64);
                let offset = *offset as usize;
                if content.len() < offset {
                    content.resize(offset, 0);
                }
                let (over, beyond) = bytes.split_at(bytes.len().min(content.len() - offset));
                content[offset..offset + over.len()].copy_from_slice(over);
                content.extend_from_slice(beyond);
            }
            Operation::Truncate { inode, len } => self.content_mut(*inode, *len).resize(*len as usize, 0),
            Operation::Create { path, inode } => {
                self.entries.insert(path.clone(), *inode);
            }
            Operation::Remove { path } => {
                self.entries.remove(path);
            }
            Operation::Rename { from, to, inode } => {
                self.entries.remove(from);
                self.entries.insert(to.clone(), *inode);
            }
        }
    }

    /// Puts other bytes into the file at `path`, which reaches at least that far.
    pub(super) fn overwrite(&mut self, path: &str, offset: usize, bytes: &[u8]) {
        let inode = self.entries[path];
        let end = offset + bytes.len();
        let content = self.content_mut(inode, end as u64);
        assert!(end <= content.len(), "{path} does not reach to byte {end}");
        content[offset..end].copy_from_slice(bytes);
    }

    /// Feeds all entries and their contents.
    pub(super) fn hash_into(&self, hasher: &mut Xxh3) {
        for (path, inode) in &self.entries {
            let content = self.content(*inode);
            for length in [path.len(), content.len()] {
                hasher.update(&(length as u64).to_le_bytes());
            }
            hasher.update(path.as_bytes());
            hasher.update(content);
        }
    }

    /// Forgets the contents that no entry names.
    pub(super) fn drop_unnamed(&mut self) {
        let entries = &self.entries;
        self.contents.retain(|inode, _| entries.values().any(|named| named == inode));
    }

    fn content_mut(&mut self, inode: Inode, end: u64) -> &mut Vec<u8> {
        assert!(end <= FILE_BYTES_MAX, "a file of {end} bytes: the offset is a mistake");
        Arc::make_mut(self.contents.entry(inode).or_default())
    }
}
