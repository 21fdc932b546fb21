//! The open replica.
//!
//! Between operations Synced's WAL ends with the last frame that the metadata names, or Synced is known to be
//! dirty and is truncated before use. No handle on Synced may exist across a truncation, because it would
//! invalidate the core's view of the WAL.

use std::sync::Arc;

use turso_core::{Connection, Database};

use crate::database::{self, Capture};
use crate::engine_file::EngineFile;
use crate::error::{DatabaseContext, Error, Result};
use crate::files::Files;
use crate::metadata::Metadata;
use crate::wal::RawSession;

/// An open replica. A clone must not outlive its step, so that none exists across a truncation.
#[derive(Clone)]
pub(crate) struct Synced {
    pub(crate) database: Arc<Database>,
    pub(crate) connection: Arc<Connection>,
    /// The main file, for errors.
    pub(crate) file: EngineFile,
}

impl Synced {
    /// Opens the replica and checks that the core finds as many frames in its WAL as the metadata names.
    pub(crate) fn open(files: &Files, metadata: &Metadata) -> Result<Self> {
        let open = || {
            let database = database::open(&files.io, &files.synced)?;
            let connection = database::connect(&database, Capture::Off)?;
            let session = RawSession::begin(connection.clone())?;
            let frames = session.frame_count()?;
            session.end()?;
            Ok((frames, Self { database, connection, file: files.synced.clone() }))
        };
        let (frames, synced) = open().while_doing("opening the replica", &files.synced)?;
        if frames != metadata.synced_wal_frames {
            return Err(Error::Damaged {
                file: files.synced_wal.clone(),
                problem: format!(
                    "its checksums are valid for {frames} frames, but the metadata names {}",
                    metadata.synced_wal_frames
                ),
            });
        }
        Ok(synced)
    }
}
