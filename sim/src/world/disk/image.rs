//! The content of a disk: directory entries and the file contents behind them.
//!
//! A [`DiskImage`] only knows how an operation changes it. The current state, the durable state and the state
//! after a power loss are all images, which differ in the operations that were applied to them. Images share
//! a content until one of them changes it, so copying a disk copies no content.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

/// Identifies a file's content across renames, and across the images of one disk.
pub(super) type Inode = u64;

/// The maximum length of a file in a simulation, in bytes. A larger offset is a bug, and a panic that shows
/// the offset is better than running out of memory.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A change that a power loss can undo while it is unsynced.
#[derive(Clone, Hash)]
pub(super) enum Operation {
    Write { inode: Inode, offset: u64, bytes: Bytes },
    Truncate { inode: Inode, len: u64 },
    Create { path: String, inode: Inode },
    Remove { path: String },
    // A rename carries its inode: `to` becomes that file even if the creation of `from` is lost.
    Rename { from: String, to: String, inode: Inode },
}

impl Operation {
    /// The inode whose content the operation changes. `None` for an operation on a directory.
    pub(super) fn inode(&self) -> Option<Inode> {
        match self {
            Self::Write { inode, .. } | Self::Truncate { inode, .. } => Some(*inode),
            Self::Create { .. } | Self::Remove { .. } | Self::Rename { .. } => None,
        }
    }

    /// The path whose directory entry the operation changes. `None` for an operation on a content.
    pub(super) fn entry(&self) -> Option<&str> {
        match self {
            Self::Write { .. } | Self::Truncate { .. } => None,
            Self::Create { path, .. } | Self::Remove { path } | Self::Rename { to: path, .. } => Some(path),
        }
    }
}

/// Directory entries and file contents. A content without an entry belongs to a removed file that is still
/// open.
#[derive(Clone, Default)]
pub(super) struct DiskImage {
    pub(super) entries: BTreeMap<String, Inode>,
    contents: BTreeMap<Inode, Arc<Vec<u8>>>,
}

impl DiskImage {
    pub(super) fn file(&self, path: &str) -> Option<Arc<Vec<u8>>> {
        let inode = self.entries.get(path)?;
        Some(self.contents.get(inode).cloned().unwrap_or_default())
    }

    /// The content of an inode. Empty if this image has no write to it.
    pub(super) fn content(&self, inode: Inode) -> &[u8] {
        self.contents.get(&inode).map_or(&[], |content| content.as_slice())
    }

    pub(super) fn apply(&mut self, operation: &Operation) {
        match operation {
            // An empty write does not even extend the file.
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

    /// Overwrites bytes of the file at `path`. The file must be long enough.
    pub(super) fn overwrite(&mut self, path: &str, offset: usize, bytes: &[u8]) {
        let inode = self.entries[path];
        let end = offset + bytes.len();
        let content = self.content_mut(inode, end as u64);
        assert!(end <= content.len(), "{path} is shorter than {end} bytes");
        content[offset..end].copy_from_slice(bytes);
    }

    /// Hashes all entries and their contents.
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

    /// Drops the contents that have no entry.
    pub(super) fn drop_unnamed(&mut self) {
        let entries = &self.entries;
        self.contents.retain(|inode, _| entries.values().any(|named| named == inode));
    }

    fn content_mut(&mut self, inode: Inode, end: u64) -> &mut Vec<u8> {
        assert!(
            end <= FILE_BYTES_MAX,
            "a write or truncate at byte {end} exceeds the maximum file length: the offset is wrong"
        );
        Arc::make_mut(self.contents.entry(inode).or_default())
    }
}
