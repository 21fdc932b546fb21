//! Draft: the database that the application works on.

use std::sync::Arc;

use turso_core::{Connection, Database, Value};

use crate::database::{self, CHANGE_LOG, Capture};
use crate::error::{DatabaseContext, Error, Result};
use crate::files::Files;
use crate::metadata::{FrameStamp, Metadata};
use crate::temporary::TemporaryTables;
use crate::wal::{RawSession, wal_bytes, wal_salts};

/// The open database.
pub(crate) struct Draft {
    pub(crate) database: Arc<Database>,
    /// The temporary tables of the application's connections.
    pub(crate) temporary: TemporaryTables,
}

impl Draft {
    /// Opens Draft after making sure that it is what the metadata says. What its WAL holds behind the watermark is then made durable: a
    /// transaction that a process before had written, but not synced or not with success, is visible now and may be pushed, so it must not
    /// vanish any more.
    pub(crate) async fn open(files: &Files, metadata: &Metadata) -> Result<Self> {
        for path in [&files.draft, &files.draft_wal] {
            files.open_named(path)?;
        }
        let watermark = metadata.draft_wal_match_watermark;
        let damaged = |problem: String| Error::Damaged { file: files.draft_wal.clone(), problem };
        {
            let wal = files.open_named(&files.draft_wal)?;
            let (actual, expected) = (wal.length()?, wal_bytes(watermark));
            if actual < expected {
                return Err(damaged(format!("{actual} bytes where the watermark needs {expected}")));
            }
            wal_salts(&wal)?;
            let stamp = FrameStamp::read(&wal, watermark)?;
            if stamp != metadata.draft_wal_stamp {
                return Err(damaged(format!(
                    "frame {watermark} is stamped {stamp:?}, not {:?}",
                    metadata.draft_wal_stamp
                )));
            }
        }
        let open = || {
            let database = database::open(&files.io, &files.draft)?;
            let probe = RawSession::begin(database::connect(&database, Capture::Off)?)?;
            let frames = probe.frame_count()?;
            probe.end()?;
            Ok((frames, Self { database, temporary: TemporaryTables::default() }))
        };
        let (frames, draft) = open().while_doing("opening the local database", &files.draft)?;
        if frames < watermark {
            return Err(damaged(format!(
                "its checksums hold for {frames} frames, the watermark is {watermark}"
            )));
        }
        files.sync_again(&files.draft_wal, wal_bytes(watermark)).await?;
        Ok(draft)
    }

    /// A connection of the engine's own, which records no changes. Each operation takes new ones: in this core a connection on which
    /// reading page 1 has failed reports that failure once more, to whoever reads it next.
    pub(crate) fn connect(&self, files: &Files) -> Result<Arc<Connection>> {
        database::connect(&self.database, Capture::Off).while_doing("connecting", &files.draft)
    }

    /// Records of the change log: a rebase numbers them from 1, and none is ever deleted.
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
