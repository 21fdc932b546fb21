//! The push as frames: the pending transactions run on Synced, in one transaction behind its end, and the frames that this leaves in
//! Synced's WAL go to the remote under the numbers that follow the remote's last.
//!
//! Frame numbers are the fence: the remote appends a frame only right behind the last one it has, so frames take effect on
//! the very state that they were built on or not at all, and one that arrives twice is equal to what is there. The range begins with
//! the last frame that is known to both sides, so that a remote with the same numbers and another history answers with a conflict
//! instead of mixing the two. Where Synced's WAL has no such frame, nothing is pushed in this way.
//!
//! A transaction may be longer than a request; a baton then names the one that the remote holds open. Synced is dirty while the
//! frames are under way. Once the remote has taken the last of them they are no local tail any more but frames of the remote's, and
//! become part of the replica as if they had been pulled: synced first, then named in the metadata. In every other case the tail
//! is cut off, and the next walk finds out.
//!
//! The statements run without capture on a database without a change log: neither it nor the marks can leave the client.

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

/// What a push of frames works with.
pub(super) struct FramesPush<'a, R> {
    pub(super) files: &'a Files,
    pub(super) wire: &'a Wire<R>,
    pub(super) state: &'a mut State,
    pub(super) batch_frames: u64,
    pub(super) report: &'a mut PushReport,
}

impl<R: Remote> FramesPush<'_, R> {
    /// Sends one batch. If the remote has moved on, Synced is left dirty: the caller may still have it open.
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
            // By this frame the history of a server that does not name it is known again; its page alone may be another's as well.
            history::stamp_of(self.wire, metadata.synced_generation, metadata.synced_frame() + frames).await
        };
        self.state.adopt_frames(self.files, frames, false, stamp).await?;
        self.state.synced_is_dirty = false;
        Ok(())
    }

    /// Sends the tail in requests of bounded length. Returns how many frames it has, `None` if the remote is not where Synced is.
    async fn send_tail(&mut self, tail: &RawSession) -> Result<Option<u64>> {
        let replicated = self.state.metadata.synced_wal_frames;
        let end = tail.frame_count().while_doing("counting frames", &self.files.synced)?;
        assert!(
            self.state.metadata.has_newest_frame(),
            "nothing would tie the frames to the remote's history"
        );
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

/// Runs the batch and the acknowledgement as one transaction behind Synced's end. It is synced only once it is known to be the
/// remote's. What that state refuses is left out and reported, as in a rebase.
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
