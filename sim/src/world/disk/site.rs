//! An operation that is about to happen, and the states that each crash at it would leave. The pilot uses it
//! to decide whether to inject a crash.

use std::hash::{Hash as _, Hasher};

use xxhash_rust::xxh3::Xxh3;

use super::file_system::FileSystem;
use super::image::Operation;
use super::machine::Mutation;
use crate::fault::{CrashKind, FileClass, Moment, OperationKind, OperationPlace, Survival};

/// An operation that is about to happen.
pub struct Site<'a> {
    nth: u32,
    path: &'a str,
    files: &'a FileSystem,
    mutation: &'a Mutation,
}

impl<'a> Site<'a> {
    pub(super) fn new(nth: u32, path: &'a str, files: &'a FileSystem, mutation: &'a Mutation) -> Self {
        Self { nth, path, files, mutation }
    }

    /// The operation's place: its number among all operations of the step.
    #[must_use]
    pub fn place(&self) -> OperationPlace {
        OperationPlace { file: FileClass::Any, operation: OperationKind::AnyMutation, nth: self.nth }
    }

    /// Hashes the operation's kind and file.
    pub fn hash_into(&self, hasher: &mut Xxh3) {
        hasher.write_u8(self.mutation.kind() as u8);
        hasher.write(self.path.as_bytes());
    }

    /// The number of bytes that it writes. `None` if it is not a write.
    #[must_use]
    pub fn write_bytes(&self) -> Option<u32> {
        match self.mutation {
            Mutation::Apply(Operation::Write { bytes, .. }) => Some(bytes.len() as u32),
            _ => None,
        }
    }

    /// The disk at the moment of a crash before, inside or after the operation.
    #[must_use]
    pub fn at(&self, moment: Moment) -> Aftermath {
        let mut files = self.files.clone();
        match (moment, self.mutation) {
            (Moment::After, mutation) => mutation.clone().perform(&mut files, self.path),
            (
                Moment::Inside { bytes: written },
                Mutation::Apply(Operation::Write { inode, offset, bytes }),
            ) => {
                let bytes = bytes.slice(..bytes.len().min(written as usize));
                files.apply(Operation::Write { inode: *inode, offset: *offset, bytes });
            }
            (Moment::Before | Moment::Inside { .. }, _) => {}
        }
        Aftermath { prefixes: files.hashes_of_prefixes(), files }
    }
}

/// The disk at the moment of a crash.
pub struct Aftermath {
    files: FileSystem,
    /// At index `n`, the hash of the durable state followed by the `n` oldest unsynced operations.
    prefixes: Vec<u64>,
}

impl Aftermath {
    /// For each unsynced operation, oldest first, the number of bytes that it writes. `None` for an operation
    /// that is not a write.
    #[must_use]
    pub fn unsynced(&self) -> Vec<Option<u32>> {
        self.files.unsynced_write_bytes()
    }

    /// A hash of the durable state and of the operations that survive a power loss. `None` if the survivors
    /// are not simply the oldest operations. Equal hashes mean equal disks after the crash. Much cheaper than
    /// [`hash_after`](Self::hash_after), because no operation is applied.
    #[must_use]
    pub fn hash_of_survivors(&self, kind: &CrashKind) -> Option<u64> {
        let CrashKind::PowerLoss { survival, torn } = kind else { return None };
        let count = match survival {
            Survival::Nothing => 0,
            Survival::Everything => self.prefixes.len() - 1,
            Survival::Prefix { operations } => (*operations as usize).min(self.prefixes.len() - 1),
            Survival::Subset { .. } | Survival::List { .. } | Survival::Files { .. } => return None,
        };
        let mut hasher = Xxh3::new();
        hasher.write_u64(self.prefixes[count]);
        torn.hash(&mut hasher);
        Some(hasher.finish())
    }

    /// A hash of everything that the crash would leave. A process that starts from disks with equal hashes
    /// cannot distinguish them.
    #[must_use]
    pub fn hash_after(&self, kind: &CrashKind) -> u64 {
        let mut hasher = Xxh3::new();
        self.files.after_crash(kind).hash_into(&mut hasher);
        hasher.finish()
    }
}
