//! Draft: the database that the application works on.

use std::sync::Arc;

use turso_core::{Connection, Database};

use crate::database::{self, Capture};
use crate::error::{DatabaseContext, Error, Result};
use crate::files::Files;
use crate::metadata::{FrameStamp, Metadata};
use crate::wal::{RawSession, wal_bytes};

/// The open database, and the engine's own connections to it. None of them records changes.
pub(crate) struct Draft {
    pub(crate) database: Arc<Database>,
    /// For the rebase's raw sessions.
    pub(crate) session: Arc<Connection>,
    /// For reading the change log.
    pub(crate) reader: Arc<Connection>,
}

impl Draft {
    /// Opens Draft after making sure that it is what the metadata says. Its WAL is synced first: a transaction that a killed process
    /// had written but not synced is visible now and may be pushed, so it must not vanish any more.
    pub(crate) async fn open(files: &Files, metadata: &Metadata) -> Result<Self> {
        for path in files.databases() {
            files.open_named(path)?;
        }
        files.sync(&files.draft_wal).await?;
        let watermark = metadata.draft_wal_match_watermark;
        let damaged = |problem: String| Error::Damaged { file: files.draft_wal.clone(), problem };
        {
            let wal = files.open_named(&files.draft_wal)?;
            let (actual, expected) = (wal.length()?, wal_bytes(watermark));
            if actual < expected {
                return Err(damaged(format!("{actual} bytes where the watermark needs {expected}")));
            }
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
            let session = database::connect(&database, Capture::Off)?;
            let reader = database::connect(&database, Capture::Off)?;
            let probe = RawSession::begin(session.clone())?;
            let frames = probe.frame_count()?;
            probe.end()?;
            Ok((frames, Self { database, session, reader }))
        };
        let (frames, draft) = open().while_doing("opening the local database", &files.draft)?;
        if frames < watermark {
            return Err(damaged(format!(
                "its checksums hold for {frames} frames, the watermark is {watermark}"
            )));
        }
        Ok(draft)
    }
}
