//! The push as frames: the pending transactions run on Synced, in one transaction after its end. The
//! resulting frames of Synced's WAL are sent to the remote under the numbers that follow the remote's last
//! frame.
//!
//! Frame numbers protect the push: the remote appends a frame only directly after its last one. So frames
//! take effect on exactly the state on which they were built, or not at all, and a frame that arrives twice
//! equals the existing one. The range starts with the last frame that both sides know. A remote with the same
//! numbers and a different log therefore answers with a conflict. If Synced's WAL has no such frame, the push
//! does not use this form. The request also names the server's run that has shown that it has Synced's log.
//!
//! The accepted frames continue the chain of the server's checksums (`chain`), so their last stamp is computed.
//! If the byte order of the sums is not known yet, the stamp is requested, and must be one of the two possible
//! ones.
//!
//! If a transaction is longer than a request, a baton identifies the transaction that the remote holds open. If the
//! remote takes no request of that length, the following ones have half as many frames.
//! Synced is dirty while the frames are being sent. Once the remote has accepted the last frame, the frames
//! are remote frames and no local tail. They become part of the replica as if they had been pulled: synced
//! first, then named in the metadata. In every other case the tail is cut off, and the next walk finds out
//! the outcome.
//!
//! The statements run without capture on a database without a change log, so neither the log nor the marks
//! can leave the client.

use std::ops::RangeInclusive;

use turso_core::SyncMode;

use super::batch::{Batch, Stop, acknowledge, create_acknowledgement_table};
use crate::chain::Checksums;
use crate::conflict::Conflicts;
use crate::database::{self, Capture, Transaction as SqlTransaction};
use crate::error::{DatabaseContext, Error, Result};
use crate::files::Files;
use crate::history;
use crate::metadata::FrameStamp;
use crate::pause::pause;
use crate::remote::Remote;
use crate::report::PushReport;
use crate::state::State;
use crate::synced::Synced;
use crate::tape::{Replayer, Step};
use crate::wal::{ByteOrder, FRAME_BYTES, Frame, RawSession};
use crate::wire::{FramePush, FrameRange, Wire};

pub(super) struct FramesPush<'a, R> {
    pub(super) files: &'a Files,
    pub(super) wire: &'a Wire<R>,
    pub(super) state: &'a mut State,
    /// The number of frames in a request.
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
        let replicated = self.state.metadata.synced_wal_frames;
        let end = tail.frame_count().while_doing("counting frames", &self.files.synced)?;
        let is_taken = self.send_tail(&tail, end).await?;
        let stamps = self.possible_stamps(&tail, replicated + 1..=end);
        tail.end().while_doing("ending the push", &self.files.synced)?;
        let stamps = stamps.while_doing("reading frames", &self.files.synced)?;
        if !is_taken {
            return Err(Stop::Stale);
        }
        let stamp = self.stamp_of_last(end - replicated, &stamps).await?;
        self.state.adopt_frames(self.files, end - replicated, false, stamp).await?;
        self.state.synced_is_dirty = false;
        Ok(())
    }

    /// The stamps that the last of these frames can have in the server's log: one, or one for each byte order.
    /// Empty if the server's checksums say nothing.
    fn possible_stamps(
        &self,
        tail: &RawSession,
        frames: RangeInclusive<u64>,
    ) -> turso_core::Result<Vec<FrameStamp>> {
        let metadata = &self.state.metadata;
        let orders = match self.state.checksums(metadata.synced_generation) {
            Checksums::Chained(order) => vec![order],
            Checksums::Undecided => vec![ByteOrder::Little, ByteOrder::Big],
            Checksums::Unusable => Vec::new(),
        };
        let Some(before) = metadata.anchor.and_then(|anchor| anchor.stamp) else { return Ok(Vec::new()) };
        let mut stamps = vec![before; orders.len()];
        for frame_no in frames {
            let frame = Frame::read(tail.connection(), frame_no)?;
            for (stamp, order) in stamps.iter_mut().zip(&orders) {
                *stamp = frame.stamp_after(*stamp, *order);
            }
        }
        Ok(stamps)
    }

    /// The stamp in the server's log of the last of `frames` pushed frames, of which `possible` are possible.
    async fn stamp_of_last(&self, frames: u64, possible: &[FrameStamp]) -> Result<Option<FrameStamp>, Stop> {
        if let [stamp] = possible {
            return Ok(Some(*stamp));
        }
        let metadata = &self.state.metadata;
        let frame_no = metadata.synced_frame() + frames;
        match history::stamp_of(self.wire, metadata.synced_generation, frame_no).await {
            // The next walk finds out whether the frames are in the log that Synced replicates.
            Some(stamp) if !possible.is_empty() && !possible.contains(&stamp) => Err(Stop::Stale),
            stamp => Ok(stamp),
        }
    }

    /// Sends the tail, up to the frame `end`, in requests of bounded length. Returns `false` if the remote's end
    /// is not Synced's end.
    async fn send_tail(&mut self, tail: &RawSession, end: u64) -> Result<bool> {
        let replicated = self.state.metadata.synced_wal_frames;
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
                // The server's own stamp of the frame that both sides have: the server can see whether the frames
                // before it are the same.
                let frame = match self.state.metadata.anchor.and_then(|anchor| anchor.stamp) {
                    Some(stamp) if frame_no == replicated => frame.with_stamp(stamp),
                    _ => frame,
                };
                body.extend_from_slice(frame.bytes());
            }
            let remote_no = |frame_no: u64| self.state.metadata.synced_frame() + frame_no - replicated;
            let range = remote_no(next)..remote_no(last + 1);
            self.report.requests += 1;
            self.report.sent_bytes += body.len() as u64;
            let push =
                FrameRange { generation, range, baton: baton.as_deref(), ends_transaction: last == end };
            match self.wire.push_frames(push, body, self.state.proved_instance.as_ref()).await {
                Ok(FramePush::Taken { baton: open }) => baton = open,
                Ok(FramePush::Stale) => return Ok(false),
                Err(Error::RequestTooLarge { .. }) if last > next => {
                    self.batch_frames = (last + 1 - next) / 2;
                    continue;
                }
                Err(error) => return Err(error),
            }
            self.report.frames_sent += last + 1 - next.max(replicated + 1);
            next = last + 1;
        }
        Ok(true)
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
