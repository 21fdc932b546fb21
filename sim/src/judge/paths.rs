//! The paths of a client's files.

use crate::fault::FileClass;

#[derive(Debug, Clone)]
pub struct Paths {
    /// The path that the application passes to the engine.
    pub base: String,
    pub draft: String,
    pub draft_wal: String,
    pub synced: String,
    pub synced_wal: String,
    /// A new export that is about to replace Synced.
    pub synced_next: String,
    pub metadata: String,
}

impl Paths {
    /// The files that belong to the application path `base`.
    pub fn new(base: &str) -> Self {
        let with = |ending: &str| format!("{base}-{ending}");
        Self {
            base: base.to_owned(),
            draft: with("draft"),
            draft_wal: with("draft-wal"),
            synced: with("synced"),
            synced_wal: with("synced-wal"),
            synced_next: with("synced-next"),
            metadata: with("info"),
        }
    }

    /// The path of a file role; `None` for a role that covers several files.
    pub fn of(&self, file: FileClass) -> Option<&str> {
        Some(match file {
            FileClass::Draft => &self.draft,
            FileClass::DraftWal => &self.draft_wal,
            FileClass::Synced => &self.synced,
            FileClass::SyncedWal => &self.synced_wal,
            FileClass::SyncedNext => &self.synced_next,
            FileClass::Metadata => &self.metadata,
            FileClass::MetadataTemporary | FileClass::Any => return None,
        })
    }
}
