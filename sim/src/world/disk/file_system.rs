//! The file system of one boot: its current state, its durable state, and the log of operations between them.
//!
//! Guarantees: the current state is the durable state plus the whole log, in order, plus writes that a failed
//! sync has dropped from the log: they can still be read, and no later sync makes them durable. A sync of a
//! file makes that file's logged writes and truncates durable and nothing else. A sync of a directory makes
//! the creations, renames and removals in it durable and nothing else. So a file's content can be durable
//! while its name is not, and the other way round.
//!
//! Not in this module: access by processes, crashes of the machine, and the trace. They are in `io` and
//! `machine`.
//!
//! Cost: an operation copies only its own bytes. A sync makes one pass over the log, which is short because
//! the engine and the core sync after a handful of writes.

use std::collections::BTreeSet;
use std::hash::Hash as _;
use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::image::{DiskImage, Inode, Operation};
use crate::fault::{CrashKind, FileClass, Survival, Tear};
use crate::judge::{MetadataVersion, Unsynced};

#[derive(Clone, Default)]
pub(super) struct FileSystem {
    current: DiskImage,
    durable: DiskImage,
    /// Every unsynced operation of the machine, oldest first.
    log: Vec<Operation>,
    next_inode: Inode,
    /// The files of which a failed sync has dropped writes. These writes are unsynced, although the log no
    /// longer holds them.
    dropped: BTreeSet<Inode>,
}

impl FileSystem {
    pub(super) fn current(&self) -> &DiskImage {
        &self.current
    }

    pub(super) fn durable(&self) -> &DiskImage {
        &self.durable
    }

    pub(super) fn unsynced_operations(&self) -> u32 {
        u32::try_from(self.log.len()).expect("a machine has fewer than 2^32 unsynced operations")
    }

    /// For each unsynced operation, oldest first, the number of bytes that it writes. `None` for an operation
    /// that is not a write.
    pub(super) fn unsynced_write_bytes(&self) -> Vec<Option<u32>> {
        let write_bytes = |operation: &Operation| match operation {
            Operation::Write { bytes, .. } => Some(bytes.len() as u32),
            _ => None,
        };
        self.log.iter().map(write_bytes).collect()
    }

    /// Hashes of the durable state followed by the first 0, 1, 2 … unsynced operations.
    pub(super) fn hashes_of_prefixes(&self) -> Vec<u64> {
        let mut hasher = Xxh3::new();
        self.durable.hash_into(&mut hasher);
        let mut hashes = vec![hasher.digest()];
        for operation in &self.log {
            operation.hash(&mut hasher);
            hashes.push(hasher.digest());
        }
        hashes
    }

    /// Hashes everything that a process could see of this disk, now or after a later crash.
    pub(super) fn hash_into(&self, hasher: &mut Xxh3) {
        self.current.hash_into(hasher);
        if !self.log.is_empty() {
            self.durable.hash_into(hasher);
        }
    }

    /// Allocates the inode of a file that is about to be created.
    pub(super) fn allocate_inode(&mut self) -> Inode {
        self.next_inode += 1;
        self.next_inode
    }

    pub(super) fn apply(&mut self, operation: Operation) {
        self.current.apply(&operation);
        self.log.push(operation);
    }

    pub(super) fn sync(&mut self, inode: Inode) {
        for operation in self.log.extract_if(.., |operation| operation.inode() == Some(inode)) {
            self.durable.apply(&operation);
        }
    }

    /// Drops the unsynced writes to a file from the log after a failed sync. Reads still return them, but no
    /// sync makes them durable.
    pub(super) fn drop_writes(&mut self, inode: Inode) {
        let is_write = |operation: &mut Operation| {
            matches!(operation, Operation::Write { .. }) && operation.inode() == Some(inode)
        };
        if self.log.extract_if(.., is_write).count() > 0 {
            self.dropped.insert(inode);
        }
    }

    /// Syncs the directory that holds `path`.
    pub(super) fn sync_directory(&mut self, path: &str) {
        let is_inside = |entry: &str| directory_of(entry) == directory_of(path);
        for operation in self.log.extract_if(.., |operation| operation.entry().is_some_and(is_inside)) {
            self.durable.apply(&operation);
        }
    }

    /// The positions in the log of the operations that survive a crash.
    pub(super) fn survivors(&self, kind: &CrashKind) -> Vec<u32> {
        match kind {
            CrashKind::Kill => (0..self.unsynced_operations()).collect(),
            CrashKind::PowerLoss { survival: Survival::Files { keep }, .. } => (0..self
                .unsynced_operations())
                .filter(|index| keep.contains(&self.class_of(&self.log[*index as usize])))
                .collect(),
            CrashKind::PowerLoss { survival, .. } => survival.survivors(self.unsynced_operations()),
        }
    }

    /// The file system as a crash leaves it.
    pub(super) fn after_crash(&self, kind: &CrashKind) -> Self {
        match kind {
            CrashKind::Kill => self.clone(),
            CrashKind::PowerLoss { torn, .. } => self.after_power_loss(&self.survivors(kind), *torn),
        }
    }

    /// The role of the file that an operation changes, by the file's current name.
    fn class_of(&self, operation: &Operation) -> FileClass {
        let path = operation.entry().or_else(|| {
            let entries = self.current.entries.iter().chain(&self.durable.entries);
            entries
                .into_iter()
                .find(|(_, inode)| Some(**inode) == operation.inode())
                .map(|(path, _)| path.as_str())
        });
        path.map_or(FileClass::Any, FileClass::of)
    }

    pub(super) fn metadata(&self) -> Option<Arc<Vec<u8>>> {
        let path = self.current.entries.keys().find(|path| FileClass::of(path) == FileClass::Metadata)?;
        self.current.file(path)
    }

    /// The file system after a power loss. All of it is durable. `survivors` are positions in the log.
    pub(super) fn after_power_loss(&self, survivors: &[u32], torn: Option<Tear>) -> Self {
        let survivors: Vec<&Operation> = survivors.iter().map(|index| &self.log[*index as usize]).collect();
        let last_write = survivors.iter().rposition(|operation| matches!(operation, Operation::Write { .. }));

        let mut left = self.durable.clone();
        for (position, operation) in survivors.into_iter().enumerate() {
            match (operation, torn) {
                (Operation::Write { inode, offset, bytes }, Some(tear)) if Some(position) == last_write => {
                    for part in tear.left(*offset, bytes.len()) {
                        let offset = offset + part.start as u64;
                        left.apply(&Operation::Write { inode: *inode, offset, bytes: bytes.slice(part) });
                    }
                }
                _ => left.apply(operation),
            }
        }
        left.drop_unnamed();
        let (current, next_inode) = (left.clone(), self.next_inode);
        Self { current, durable: left, log: Vec::new(), next_inode, dropped: BTreeSet::new() }
    }

    /// The current files, all of them durable.
    pub(super) fn settled(&self) -> Self {
        let mut left = self.current.clone();
        left.drop_unnamed();
        Self { current: left.clone(), durable: left, next_inode: self.next_inode, ..Self::default() }
    }

    /// The file system after the deletion of all files.
    pub(super) fn emptied(&self) -> Self {
        Self { next_inode: self.next_inode, ..Self::default() }
    }

    /// Deletes a file durably. Returns whether it existed.
    pub(super) fn lose(&mut self, path: &str) -> bool {
        self.durable.entries.remove(path);
        self.current.entries.remove(path).is_some()
    }

    /// Overwrites bytes of a file, durably. Requires that nothing is unsynced.
    pub(super) fn overwrite(&mut self, path: &str, offset: usize, bytes: &[u8]) {
        assert!(self.log.is_empty(), "a file is overwritten only while nothing is unsynced");
        self.current.overwrite(path, offset, bytes);
        self.durable = self.current.clone();
    }

    /// What a power loss could change about the file at `path`.
    pub(super) fn unsynced(&self, path: &str) -> Unsynced {
        let entry = self.current.entries.get(path);
        if entry != self.durable.entries.get(path) {
            return Unsynced::DirectoryEntry;
        }
        let touched = self.log.iter().filter(|operation| operation.inode().as_ref() == entry);
        let dropped = entry.filter(|inode| self.dropped.contains(inode));
        Unsynced::Bytes(merged(
            touched
                .filter_map(|operation| match operation {
                    Operation::Write { offset, bytes, .. } => Some(*offset..*offset + bytes.len() as u64),
                    Operation::Truncate { len, .. } => Some(*len..u64::MAX),
                    Operation::Create { .. } | Operation::Remove { .. } | Operation::Rename { .. } => None,
                })
                .chain(dropped.map(|inode| self.differing_range(*inode)))
                .collect(),
        ))
    }

    /// The range from the first to the last byte in which the content differs from its durable state. Empty
    /// if they are equal.
    fn differing_range(&self, inode: Inode) -> Range<u64> {
        let (current, durable) = (self.current.content(inode), self.durable.content(inode));
        let Some(start) = (0..current.len()).find(|&at| current.get(at) != durable.get(at)) else {
            return 0..0;
        };
        let end = (start..current.len()).rfind(|&at| current.get(at) != durable.get(at)).unwrap_or(start);
        start as u64..end as u64 + 1
    }

    /// The metadata version that was just renamed to `path`, with what was not durable in all files at that
    /// moment.
    pub(super) fn metadata_version(&self, path: &str, event_count: u64) -> MetadataVersion {
        let bytes = self.current.file(path).expect("the metadata was just renamed into place");
        let paths: BTreeSet<&String> =
            self.current.entries.keys().chain(self.durable.entries.keys()).collect();
        let unsynced = paths.into_iter().map(|path| (path.clone(), self.unsynced(path)));
        let durable_length = |inode: &Inode| self.durable.content(*inode).len() as u64;
        MetadataVersion {
            path: path.to_owned(),
            event_count,
            bytes: bytes.to_vec(),
            unsynced: unsynced.filter(|(_, unsynced)| !unsynced.is_empty()).collect(),
            durable_lengths: self
                .durable
                .entries
                .iter()
                .map(|(path, inode)| (path.clone(), durable_length(inode)))
                .collect(),
        }
    }
}

/// The part of `path` before its last slash.
pub(super) fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Merges ranges into ascending ranges that neither overlap nor touch. Drops empty ranges.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
