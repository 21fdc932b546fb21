//! The file system of one boot: what it answers now, what is durable, and the log of the operations in between.
//!
//! Guarantees: the current state is the durable one plus the whole log, in order, plus writes that a failed sync has dropped. A sync of a file makes the file's
//! logged writes and truncates durable and nothing else; a sync of a directory does so with the creations, renames and
//! removals in it. So a file can be durable while its name is not, and the other way round.
//!
//! Left out: who may call, when the machine goes down, and the trace.
//!
//! Cost: an operation copies its own bytes only; a sync passes over the log once and finds it short, because the
//! engine and the core sync after a handful of writes.

use std::collections::BTreeSet;
use std::hash::Hash as _;
use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::image::{DiskImage, Inode, Operation};
use crate::fault::{CrashKind, FileClass, Survival, Tear};
use crate::judge::MetadataVersion;

/// The unsynced range of a file whose very name is at stake.
const WHOLE_FILE: Range<u64> = 0..u64::MAX;

#[derive(Clone, Default)]
pub(super) struct FileSystem {
    current: DiskImage,
    durable: DiskImage,
    /// Every unsynced operation of the machine, oldest first.
    log: Vec<Operation>,
    next_inode: Inode,
    /// Contents of which writes were dropped: unsynced, and yet not in the log any more.
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
        u32::try_from(self.log.len()).expect("a history has fewer than 2^32 operations")
    }

    /// For each unsynced operation, oldest first, the bytes that it writes; `None` for everything but writes.
    pub(super) fn unsynced_write_bytes(&self) -> Vec<Option<u32>> {
        let write_bytes = |operation: &Operation| match operation {
            Operation::Write { bytes, .. } => Some(bytes.len() as u32),
            _ => None,
        };
        self.log.iter().map(write_bytes).collect()
    }

    /// Hashes of what is durable and of the first 0, 1, 2 … unsynced operations.
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

    /// Feeds everything that a process could ever see of this disk, also after a later crash.
    pub(super) fn hash_into(&self, hasher: &mut Xxh3) {
        self.current.hash_into(hasher);
        if !self.log.is_empty() {
            self.durable.hash_into(hasher);
        }
    }

    /// An inode for a file about to be created.
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

    /// A sync of the file has failed, and what was written to it counts as clean from here on: it is read, no sync makes it durable.
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

    /// Positions in the log of what a crash leaves.
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

    /// What a crash leaves.
    pub(super) fn after_crash(&self, kind: &CrashKind) -> Self {
        match kind {
            CrashKind::Kill => self.clone(),
            CrashKind::PowerLoss { torn, .. } => self.after_power_loss(&self.survivors(kind), *torn),
        }
    }

    /// The role of the file that an operation is done to, by the name it goes by now.
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

    /// The metadata's content, if there is metadata.
    pub(super) fn metadata(&self) -> Option<Arc<Vec<u8>>> {
        let path = self.current.entries.keys().find(|path| FileClass::of(path) == FileClass::Metadata)?;
        self.current.file(path)
    }

    /// What is left after a power loss, everything of it durable. `survivors` are positions in the log.
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

    /// The same files, all of them durable.
    pub(super) fn settled(&self) -> Self {
        let mut left = self.current.clone();
        left.drop_unnamed();
        Self { current: left.clone(), durable: left, next_inode: self.next_inode, ..Self::default() }
    }

    /// No files.
    pub(super) fn emptied(&self) -> Self {
        Self { next_inode: self.next_inode, ..Self::default() }
    }

    /// Drops a file, durably; whether it was there.
    pub(super) fn lose(&mut self, path: &str) -> bool {
        self.durable.entries.remove(path);
        self.current.entries.remove(path).is_some()
    }

    /// Puts other bytes into settled files.
    pub(super) fn overwrite(&mut self, path: &str, offset: usize, bytes: &[u8]) {
        assert!(self.log.is_empty(), "only settled files are overwritten");
        self.current.overwrite(path, offset, bytes);
        self.durable = self.current.clone();
    }

    /// The byte ranges of `path` that a power loss could change, ascending and disjoint. A truncate is at stake up to
    /// `u64::MAX`; so is the whole of a file whose directory entry is not durable.
    pub(super) fn unsynced_ranges(&self, path: &str) -> Vec<Range<u64>> {
        let entry = self.current.entries.get(path);
        if entry != self.durable.entries.get(path) {
            return vec![WHOLE_FILE];
        }
        let touched = self.log.iter().filter(|operation| operation.inode().as_ref() == entry);
        let dropped = entry.filter(|inode| self.dropped.contains(inode));
        merged(
            touched
                .filter_map(|operation| match operation {
                    Operation::Write { offset, bytes, .. } => Some(*offset..*offset + bytes.len() as u64),
                    Operation::Truncate { len, .. } => Some(*len..u64::MAX),
                    Operation::Create { .. } | Operation::Remove { .. } | Operation::Rename { .. } => None,
                })
                .chain(dropped.map(|inode| self.differing_range(*inode)))
                .collect(),
        )
    }

    /// The bytes from the first to the last in which the content differs from its durable state; empty if it does not.
    fn differing_range(&self, inode: Inode) -> Range<u64> {
        let (current, durable) = (self.current.content(inode), self.durable.content(inode));
        let Some(start) = (0..current.len()).find(|&at| current.get(at) != durable.get(at)) else {
            return 0..0;
        };
        let end = (start..current.len()).rfind(|&at| current.get(at) != durable.get(at)).unwrap_or(start);
        start as u64..end as u64 + 1
    }

    /// The metadata at `path`, just renamed into place, and what is unsynced beside it.
    pub(super) fn metadata_version(&self, path: &str, event_count: u64) -> MetadataVersion {
        let bytes = self.current.file(path).expect("the metadata was just renamed into place");
        let paths: BTreeSet<&String> =
            self.current.entries.keys().chain(self.durable.entries.keys()).collect();
        let unsynced = paths.into_iter().map(|path| (path.clone(), self.unsynced_ranges(path)));
        let durable_length = |inode: &Inode| self.durable.content(*inode).len() as u64;
        MetadataVersion {
            path: path.to_owned(),
            event_count,
            bytes: bytes.to_vec(),
            unsynced: unsynced.filter(|(_, ranges)| !ranges.is_empty()).collect(),
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

/// The same bytes as ascending ranges that neither overlap nor touch; empty ones vanish.
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
