//! Guards the *named* bytes: the bytes of database files that a metadata version refers to.
//!
//! A crash can leave the current metadata version. Until the directory is synced, it can also leave an
//! earlier version. As long as a crash could leave a version, the bytes that it refers to must not be
//! overwritten or cut off. Otherwise the database would be damaged after that crash, even if the running
//! process never notices. The guard finds such a change at the moment when it happens, without a crash.
//!
//! Not in this module: whether the named bytes are correct. The page-level checks judge that.

use std::ops::Range;
use std::sync::Arc;

use crate::fault::FileClass;
use crate::judge::Named;

/// Parses the content of a metadata file and returns the bytes that it refers to. Empty if it refers to no
/// database yet.
pub type NameReader = fn(&[u8]) -> Vec<Named>;

/// The named bytes of each metadata version that a crash could leave.
#[derive(Default)]
pub(super) struct Names {
    reader: Option<NameReader>,
    versions: Vec<Vec<Named>>,
    /// Whether Draft's WAL was emptied after a version had announced this, and every version since then still
    /// contains the announcement.
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

    /// Checks a change to bytes of a file of role `file`. A cut changes all bytes up to `u64::MAX`. `is_safe_emptying` is set if the change empties the
    /// file while its main file is durable, or if it has no main file.
    pub(super) fn touch(
        &mut self,
        file: FileClass,
        touched: &Range<u64>,
        is_safe_emptying: bool,
        path: &str,
    ) {
        let is_touched = |named: &&Named| {
            named.file == file
                && named.range.start < touched.end
                && touched.start < named.range.end
                && !(is_safe_emptying && named.may_be_emptied)
        };
        let Some(named) = self.versions.iter().flatten().find(is_touched) else {
            if is_safe_emptying && file == FileClass::DraftWal {
                self.draft_wal_is_emptied |= self.versions.iter().flatten().any(is_void_once_emptied);
                for version in &mut self.versions {
                    version.retain(|named| !is_void_once_emptied(named));
                }
            }
            return;
        };
        let named = if named.range.end == u64::MAX {
            "the whole file".into()
        } else {
            format!("bytes {}..{}", named.range.start, named.range.end)
        };
        let change = if touched.end == u64::MAX {
            format!("{path} was cut to {} bytes", touched.start)
        } else {
            format!("bytes {}..{} of {path} were changed", touched.start, touched.end)
        };
        self.findings
            .push(format!("{change}, but a metadata version that a crash could leave refers to {named}"));
    }

    pub(super) fn take_findings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.findings)
    }
}

/// Whether nobody needs these bytes once Draft's WAL has been emptied. The emptied WAL continues with other
/// salts, so a process that reads the announcement can see that the WAL was emptied.
fn is_void_once_emptied(named: &Named) -> bool {
    named.file == FileClass::DraftWal && named.may_be_emptied
}
