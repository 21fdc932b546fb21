//! Guards the bytes that the metadata names, as long as a crash could make them needed.
//!
//! A crash can leave the current metadata version, and until the directory is synced also any version before
//! it. The bytes that any of these versions names must not be overwritten or cut off: after the wrong crash
//! the database would be damaged, even if the running process never notices. The disk detects such a change
//! at the moment it happens.
//!
//! Guarantees: a finding needs no crash. Absent: whether the named bytes are correct, which the page-level
//! checks judge.

use std::ops::Range;
use std::sync::Arc;

use crate::fault::FileClass;
use crate::judge::Named;

/// Parses the content of a metadata file and returns the bytes that it names. Empty if it names none yet.
pub type NameReader = fn(&[u8]) -> Vec<Named>;

/// The metadata versions that a crash could leave, by the bytes that they name.
#[derive(Default)]
pub(super) struct Names {
    reader: Option<NameReader>,
    versions: Vec<Vec<Named>>,
    /// Whether Draft's WAL was emptied after a version announced it, and every version since still announces
    /// it.
    draft_wal_is_emptied: bool,
    findings: Vec<String>,
}

impl Names {
    pub(super) fn set_reader(&mut self, reader: NameReader) {
        self.reader = Some(reader);
    }

    /// Adds a version that was renamed into place. A crash can still restore earlier versions.
    pub(super) fn add(&mut self, content: &[u8]) {
        let Some(reader) = self.reader else { return };
        let mut version = reader(content);
        self.draft_wal_is_emptied &= version.iter().any(is_void_once_emptied);
        if self.draft_wal_is_emptied {
            version.retain(|named| !is_void_once_emptied(named));
        }
        self.versions.push(version);
    }

    /// Drops all versions but the last: the directory was synced.
    pub(super) fn settle(&mut self) {
        self.versions.drain(..self.versions.len().saturating_sub(1));
    }

    /// Replaces all versions by the one that a power loss left, if any.
    pub(super) fn replace(&mut self, content: Option<Arc<Vec<u8>>>) {
        self.versions.clear();
        self.draft_wal_is_emptied = false;
        if let Some(content) = content {
            self.add(&content);
        }
    }

    /// Checks a change to bytes of a file of role `file`. `empties` is set if the file is truncated to
    /// nothing and its main file, if it has one, is durable.
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
            "bytes {}..{} of {path} were changed, but a metadata version that a crash could leave names {named}",
            touched.start, touched.end
        ));
    }

    pub(super) fn take_findings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.findings)
    }
}

/// Whether this name is void once Draft's WAL has been emptied. The WAL then continues with other salts, by
/// which a reader of the announcement sees that it was emptied.
fn is_void_once_emptied(named: &Named) -> bool {
    named.file == FileClass::DraftWal && named.may_be_emptied
}
