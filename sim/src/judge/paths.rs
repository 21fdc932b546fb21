//! Where a client's files are.

use crate::fault::FileClass;

/// Paths of one client's files.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The application's path.
    pub base: String,
    /// Draft's main file.
    pub draft: String,
    /// Draft's WAL.
    pub draft_wal: String,
    /// Synced's main file.
    pub synced: String,
    /// Synced's WAL.
    pub synced_wal: String,
    /// A new export on its way to Synced's place.
    pub synced_next: String,
    /// The metadata.
    pub metadata: String,
}

impl Paths {
    /// The files of the application path `base`.
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

    /// The file of a role; `None` for a role that no one file has.
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
