//! First use: the remote's exported snapshot becomes both Draft and Synced.
//!
//! The identity is durable before the first file is created. So files without metadata never belong to the
//! engine, and the files of an interrupted bootstrap are known to be incomplete and are created again. The
//! bytes are in place before a database is opened on them, because the core writes its own first page into an
//! empty file.

use bytes::Bytes;
use http_body::Body;
use turso_core::IO;

use crate::error::{Error, Result};
use crate::events::event;
use crate::files::{Files, OpenFile};
use crate::main_file::{DATABASE_HEADER_BYTES, DatabaseHeader};
use crate::metadata::Phase;
use crate::progress::{Progress, ProgressListener};
use crate::remote::{Remote, RemoteError};
use crate::state::State;
use crate::wire::{BodyStream, Wire};

/// Creates the identity of a new client, with random bytes from `io`.
pub(crate) fn new_identity(client_name: &str, io: &dyn IO) -> String {
    let mut bytes = [0; 16];
    io.fill_bytes(&mut bytes);
    format!("{client_name}-{}", uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated())
}

/// Refuses to overwrite files without metadata.
pub(crate) fn refuse_foreign_files(files: &Files) -> Result<()> {
    for path in files.databases().into_iter().chain([&files.synced_next]) {
        if files.open_existing(path)?.is_some() {
            return Err(Error::ForeignFile { file: path.clone() });
        }
    }
    Ok(())
}

pub(crate) async fn bootstrap<R: Remote>(
    files: &Files,
    wire: &Wire<R>,
    state: &mut State,
    progress: &ProgressListener,
) -> Result<()> {
    assert_eq!(state.metadata.phase, Phase::Bootstrapping, "only an unfinished bootstrap is restarted");
    let [draft, draft_wal, synced, synced_wal] = files.databases();
    for wal in [draft_wal, synced_wal] {
        files.create_empty(wal)?;
    }
    let (info, export) = wire.newest_export().await?;
    let generation = info.current_generation;
    let predecessor = export.origin().predecessor;
    event!(BootstrapBegins, generation = generation);
    {
        let copies = [files.create_empty(draft)?, files.create_empty(synced)?];
        let bytes = download(export, &copies, progress).await?;
        event!(BootstrapEnds, bytes = bytes);
    }
    for path in files.databases() {
        files.sync(path).await?;
    }
    files.sync_directory().await?;
    state
        .store(files, |metadata| {
            metadata.phase = Phase::FirstPull;
            metadata.synced_generation = generation;
            metadata.history_id = info.history_id;
            metadata.anchor = predecessor;
        })
        .await
}

/// Writes an export into empty files and checks that it is a database of the length in its header. Returns
/// that length in bytes. After an error the files are empty again: what a server has sent by mistake or by
/// intention must not fill the disk.
pub(crate) async fn download<B>(
    body: BodyStream<B>,
    copies: &[OpenFile],
    progress: &ProgressListener,
) -> Result<u64>
where
    B: Body<Data = Bytes, Error = RemoteError> + Unpin,
{
    let written = write_export(body, copies, progress).await;
    if written.is_err() {
        for copy in copies {
            if let Err(error) = copy.truncate(0) {
                tracing::warn!(%error, "a part of an export stays on the disk until the next attempt");
            }
        }
    }
    written
}

async fn write_export<B>(
    mut body: BodyStream<B>,
    copies: &[OpenFile],
    progress: &ProgressListener,
) -> Result<u64>
where
    B: Body<Data = Bytes, Error = RemoteError> + Unpin,
{
    let mut offset = 0;
    let mut header: Option<DatabaseHeader> = None;
    while let Some(chunk) = body.chunk().await? {
        for copy in copies {
            copy.write(offset, &chunk)?;
        }
        offset += chunk.len() as u64;
        if header.is_none() && offset >= DATABASE_HEADER_BYTES as u64 {
            let read = DatabaseHeader::read(&copies[0])?;
            read.check().map_err(|problem| body.bad(problem))?;
            header = Some(read);
        }
        let expected = header.as_ref().map(DatabaseHeader::database_bytes);
        if let Some(expected) = expected.filter(|&expected| offset > expected) {
            return Err(body.bad(format!("more than the {expected} bytes that its header promises")));
        }
        progress
            .report(Progress::Bootstrap { bytes: offset, bytes_total: body.announced_bytes().or(expected) });
    }
    match header.map(|header| header.database_bytes()) {
        Some(expected) if expected == offset => Ok(offset),
        Some(expected) => Err(body.bad(format!("{offset} bytes where its header promises {expected}"))),
        None => Err(body.bad(format!("a database of {offset} bytes"))),
    }
}
