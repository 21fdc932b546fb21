//! Draft: the database that the application works on.

use std::sync::Arc;

use turso_core::{Connection, Database, Value};

use crate::database::{self, CHANGE_LOG, Capture};
use crate::error::{DatabaseContext, Result};
use crate::files::Files;
use crate::metadata::{FrameStamp, Metadata};
use crate::temporary::TemporaryTables;
use crate::wal::{verify_frames, wal_bytes, wal_salts};

/// Checks that Draft's WAL is the one that the metadata names, and that it is complete up to the named
/// frames: the watermark, and the frame up to which a compaction started to move it.
///
/// # Errors
/// [`Error::MissingFile`] and [`Error::Damaged`].
pub(crate) fn verify_wal(files: &Files, metadata: &Metadata) -> Result<()> {
    let wal = files.open_named(&files.draft_wal)?;
    wal_salts(&wal)?;
    for (frames, stamp) in [
        (metadata.draft_wal_match_watermark, metadata.draft_wal_stamp),
        (metadata.draft_wal_moving_frames, metadata.draft_wal_moving_stamp),
    ] {
        let (actual, expected) = (wal.length()?, wal_bytes(frames));
        if actual < expected {
            return Err(wal.damaged(format!("{actual} bytes, but frame {frames} ends at {expected}")));
        }
        let found = FrameStamp::read(&wal, frames)?;
        if found != stamp {
            return Err(wal.damaged(format!(
                "frame {frames} has the stamp {found:?}, but the metadata names {stamp:?}"
            )));
        }
    }
    verify_frames(&wal, metadata.draft_wal_frames())
}

/// The open database.
pub(crate) struct Draft {
    pub(crate) database: Arc<Database>,
    /// The temporary tables of the application's connections.
    pub(crate) temporary: TemporaryTables,
}

impl Draft {
    /// Checks Draft against the metadata and opens it. Then makes the frames after the named ones durable. An
    /// earlier process may have written a transaction there without a successful sync. That transaction is
    /// visible now and may be pushed, so it must not vanish.
    pub(crate) async fn open(files: &Files, metadata: &Metadata) -> Result<Self> {
        files.open_named(&files.draft)?;
        verify_wal(files, metadata)?;
        let database = database::open(&files.io, &files.draft)
            .while_doing("opening the local database", &files.draft)?;
        files.sync_again(&files.draft_wal, wal_bytes(metadata.draft_wal_frames())).await?;
        Ok(Self { database, temporary: TemporaryTables::default() })
    }

    /// Opens a connection for the engine, which records no changes. Each operation opens new ones: in this
    /// core, a connection on which reading page 1 has failed reports that failure once more at its next read.
    pub(crate) fn connect(&self, files: &Files) -> Result<Arc<Connection>> {
        database::connect(&self.database, Capture::Off).while_doing("connecting", &files.draft)
    }

    /// Counts the records of the change log. A rebase numbers them from 1, and no record is ever deleted.
    pub(crate) fn change_log_records(&self, files: &Files) -> Result<u64> {
        let reader = self.connect(files)?;
        let rows = database::run(
            &reader,
            &format!("SELECT change_id FROM {CHANGE_LOG} ORDER BY change_id DESC LIMIT 1"),
            &[],
        )
        .while_doing("counting changes", &files.draft)?;
        let count = rows.first().and_then(|row| row.first()).and_then(Value::as_int);
        Ok(count.unwrap_or(0).cast_unsigned())
    }
}
