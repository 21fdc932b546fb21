//! What the metadata names, guarded while it could still be needed.
//!
//! A version of the metadata that has been renamed into place can be what a crash at this moment leaves, and so can every version
//! before it until the directory was synced. What any of them names must not be written to or cut: that would be a damaged
//! database after the wrong crash, however well the process goes on. The disk notices at the moment it happens.
//!
//! Guarantees: no crash has to strike for a finding. Left out: what the bytes are, which the page-level checks judge.

use std::ops::Range;
use std::sync::Arc;

use crate::fault::FileClass;
use crate::judge::Named;

/// Tells what a metadata file's content names; nothing if it names nothing yet.
pub type NameReader = fn(&[u8]) -> Vec<Named>;

/// The versions of the metadata that a crash could leave, by what they name.
#[derive(Default)]
pub(super) struct Names {
    reader: Option<NameReader>,
    versions: Vec<Vec<Named>>,
    /// Whether Draft's WAL was emptied since a version announced it, and none since has said that it is over.
    draft_wal_is_emptied: bool,
    findings: Vec<String>,
}

impl Names {
    pub(super) fn set_reader(&mut self, reader: NameReader) {
        self.reader = Some(reader);
    }

    /// A version was renamed into place; those before it may come back.
    pub(super) fn add(&mut self, content: &[u8]) {
        let Some(reader) = self.reader else { return };
        let mut version = reader(content);
        self.draft_wal_is_emptied &= version.iter().any(is_void_once_emptied);
        if self.draft_wal_is_emptied {
            version.retain(|named| !is_void_once_emptied(named));
        }
        self.versions.push(version);
    }

    /// The directory was synced: only the last version is left.
    pub(super) fn settle(&mut self) {
        self.versions.drain(..self.versions.len().saturating_sub(1));
    }

    /// A power loss has left this version, or none.
    pub(super) fn replace(&mut self, content: Option<Arc<Vec<u8>>>) {
        self.versions.clear();
        self.draft_wal_is_emptied = false;
        if let Some(content) = content {
            self.add(&content);
        }
    }

    /// Bytes of a file of role `file` are about to be changed. `empties` when the file is cut to nothing and its main file, if it
    /// has one, is durable.
    pub(super) fn touch(&mut self, file: FileClass, touched: &Range<u64>, empties: bool, path: &str) {
        let is_touched = |named: &&Named| {
            named.file == file
                && named.range.start < touched.end
                && touched.start < named.range.end
                && !(empties && named.may_be_emptied)
        };
        let Some(named) = self.versions.iter().flatten().find(is_touched) else {
            if empties && file == FileClass::DraftWal {
                self.draft_wal_is_emptied |= self.versions.iter().flatten().any(is_void_once_emptied);
                for version in &mut self.versions {
                    version.retain(|named| !is_void_once_emptied(named));
                }
            }
            return;
        };
        let named = if named.range.end == u64::MAX {
            "all of it".into()
        } else {
            format!("{}..{} of it", named.range.start, named.range.end)
        };
        self.findings.push(format!(
            "bytes {}..{} of {path} were changed while a version of the metadata that a crash could leave names {named}",
            touched.start, touched.end
        ));
    }

    pub(super) fn take_findings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.findings)
    }
}

/// Draft's WAL goes on under other salts at once, and by them whoever finds the announcement knows that it was emptied.
fn is_void_once_emptied(named: &Named) -> bool {
    named.file == FileClass::DraftWal && named.may_be_emptied
}
