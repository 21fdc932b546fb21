//! The push as frames: the pending transactions run on Synced, in one transaction after its end. The
//! resulting frames of Synced's WAL are sent to the remote under the numbers that follow the remote's last
//! frame.
//!
//! Frame numbers protect the push: the remote appends a frame only directly after its last one. So frames
//! take effect on exactly the state on which they were built, or not at all, and a frame that arrives twice
//! equals the existing one. The range starts with the last frame that both sides know. A remote with the same
//! numbers and a different log therefore answers with a conflict. If Synced's WAL has no such frame, the push
//! does not use this form.
//!
//! If a transaction is longer than a request, a baton identifies the transaction that the remote holds open.
//! Synced is dirty while the frames are being sent. Once the remote has accepted the last frame, the frames
//! are remote frames and no local tail. They become part of the replica as if they had been pulled: synced
//! first, then named in the metadata. In every other case the tail is cut off, and the next walk finds out
//! the outcome.
//!
//! The statements run without capture on a database without a change log, so neither the log nor the marks
//! can leave the client.

use turso_core::SyncMode;

use super::batch::{Batch, Stop, acknowledge, create_acknowledgement_table};
use crate::conflict::Conflicts;
use crate::database::{self, Capture, Transaction as SqlTransaction};
use crate::error::{DatabaseContext, Error, Result};
use crate::files::Files;
use crate::history;
use crate::pause::pause;
use crate::remote::Remote;
use crate::report::PushReport;
use crate::state::State;
use crate::synced::Synced;
use crate::tape::{Replayer, Step};
use crate::wal::{FRAME_BYTES, Frame, RawSession};
use crate::wire::{FramePush, Wire};

pub(super) struct FramesPush<'a, R> {
    pub(super) files: &'a Files,
    pub(super) wire: &'a Wire<R>,
    pub(super) state: &'a mut State,
    pub(super) batch_frames: u64,
    pub(super) report: &'a mut PushReport,
}

impl<R: Remote> FramesPush<'_, R> {
    /// Sends one batch. If the remote has changed, Synced stays dirty, because the caller may still have it
    /// open.
    pub(super) async fn send(
        mut self,
        acknowledged: Option<u64>,
        batch: &Batch,
        conflicts: &mut Conflicts,
    ) -> Result<(), Stop> {
        pause().await;
        let synced = self.state.synced(self.files)?.clone();
        self.state.synced_is_dirty = true;
        write_tail(&synced, &self.state.metadata.client_unique_id, acknowledged, batch, conflicts)
            .while_doing("replaying local transactions", &self.files.synced)?;
        pause().await;
        let tail =
            RawSession::begin(synced.connection.clone()).while_doing("reading frames", &self.files.synced)?;
        let frames = self.send_tail(&tail).await?;
        tail.end().while_doing("ending the push", &self.files.synced)?;
        let Some(frames) = frames else { return Err(Stop::Stale) };
        let metadata = &self.state.metadata;
        let stamp = if metadata.history_id.is_some() {
            None
        } else {
            // The server sends no `history_id`, so this frame later identifies its log. The frame's page
            // alone could belong to another log.
            history::stamp_of(self.wire, metadata.synced_generation, metadata.synced_frame() + frames).await
        };
        self.state.adopt_frames(self.files, frames, false, stamp).await?;
        self.state.synced_is_dirty = false;
        Ok(())
    }

    /// Sends the tail in requests of bounded length. Returns its number of frames; `None` if the remote's end
    /// is not Synced's end.
    async fn send_tail(&mut self, tail: &RawSession) -> Result<Option<u64>> {
        let replicated = self.state.metadata.synced_wal_frames;
        let end = tail.frame_count().while_doing("counting frames", &self.files.synced)?;
        assert!(self.state.metadata.has_newest_frame(), "no frame would tie the push to the remote's log");
        let generation = self.state.metadata.synced_generation;
        let mut next = replicated;
        let mut baton = None;
        while next <= end {
            let last = end.min(next + self.batch_frames - 1);
            let mut body = Vec::with_capacity((last + 1 - next) as usize * FRAME_BYTES);
            for frame_no in next..=last {
                let frame = Frame::read(tail.connection(), frame_no)
                    .while_doing("reading frames", &self.files.synced)?;
                if frame_no > replicated && frame.is_commit() != (frame_no == end) {
                    return Err(Error::Damaged {
                        file: self.files.synced_wal.clone(),
                        problem: format!("frames {} to {end} are not one transaction", replicated + 1),
                    });
                }
                body.extend_from_slice(frame.bytes());
            }
            let remote_no = |frame_no: u64| self.state.metadata.synced_frame() + frame_no - replicated;
            let range = remote_no(next)..remote_no(last + 1);
            self.report.requests += 1;
            self.report.sent_bytes += body.len() as u64;
            match self.wire.push_frames(generation, range, baton.as_deref(), body, last == end).await? {
                FramePush::Taken { baton: open } => baton = open,
                FramePush::Stale => return Ok(None),
            }
            self.report.frames_sent += last + 1 - next.max(replicated + 1);
            next = last + 1;
        }
        Ok(Some(end - replicated))
    }
}

/// Runs the batch and the acknowledgement as one transaction after Synced's end. It is synced only after the
/// remote has accepted it. Statements that Synced's state refuses are skipped and reported, as in a rebase.
fn write_tail(
    synced: &Synced,
    client: &str,
    acknowledged: Option<u64>,
    batch: &Batch,
    conflicts: &mut Conflicts,
) -> turso_core::Result<()> {
    let connection = database::connect(&synced.database, Capture::Off)?;
    connection.set_sync_mode(SyncMode::Off);
    let transaction = SqlTransaction::begin(&connection)?;
    if acknowledged.is_none() {
        let statement = create_acknowledgement_table();
        database::run(&connection, &statement.sql, &statement.args)?;
    }
    let mut replayer = Replayer::new(&connection);
    for (no, statement) in &batch.replayed {
        let step = Step { statement: statement.clone(), note: None };
        for refusal in replayer.run(&[step])? {
            conflicts.add(refusal.conflict(*no));
        }
    }
    drop(replayer);
    let statement = acknowledge(client, batch.last_no);
    database::run(&connection, &statement.sql, &statement.args)?;
    transaction.commit()
}
