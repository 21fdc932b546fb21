//! Sends the pending transactions in as few requests as the batch size allows, in the form of the
//! [`PushMode`].

use super::batch::{Batch, Stop, split_batch};
use super::frames::FramesPush;
use super::statements;
use crate::conflict::Conflicts;
use crate::error::{DatabaseContext, Result};
use crate::events::event;
use crate::files::Files;
use crate::options::{Options, PushMode};
use crate::remote::Remote;
use crate::report::PushReport;
use crate::state::State;
use crate::tape::{Planner, Transaction};
use crate::wire::Wire;

pub(super) struct Sending<'a, 'p, R> {
    pub(super) files: &'a Files,
    pub(super) wire: &'a Wire<R>,
    pub(super) options: &'a Options,
    pub(super) state: &'a mut State,
    pub(super) report: &'a mut PushReport,
    pub(super) mode: PushMode,
    /// The maximum number of transactions in a request.
    pub(super) transactions_max: usize,
    /// The number in the remote's acknowledgement row; `None` if the row does not exist yet.
    pub(super) acknowledged: Option<u64>,
    pub(super) planner: Planner<'p>,
}

impl<R: Remote> Sending<'_, '_, R> {
    pub(super) async fn send_all(mut self, mut pending: &[Transaction]) -> Result<(), Stop> {
        let statements_max = self.options.push_batch_statements_max;
        while let Some((transactions, rest)) = split_batch(pending, statements_max, self.transactions_max) {
            self.send_batch(transactions).await.map_err(|stop| stop.of_batch(transactions.len()))?;
            pending = rest;
            if self.mode == PushMode::Frames && !pending.is_empty() {
                self.planner.reread_target().while_doing("planning the push", &self.files.synced)?;
            }
        }
        Ok(())
    }

    async fn send_batch(&mut self, transactions: &[Transaction]) -> Result<(), Stop> {
        let batch = Batch::plan(&mut self.planner, transactions)
            .while_doing("planning the push", &self.files.synced)?;
        let last_no = batch.last_no;
        self.note_attempt(last_no).await?;
        let statements = batch.replayed.len() as u64;
        let mut conflicts = self.planner.take_conflicts();
        event!(BatchSent, transactions = transactions.len(), statements = statements, last_no = last_no);
        self.send_request(batch, &mut conflicts).await?;
        event!(BatchAcknowledged, last_no = last_no);
        self.state.acknowledged_no = self.state.acknowledged_no.max(last_no);
        self.report.transactions += transactions.len() as u64;
        self.report.statements += statements;
        self.report.conflicts.append(conflicts);
        self.acknowledged = Some(last_no);
        Ok(())
    }

    /// Records in the metadata that the transactions up to `last_no` may be on the remote from now on.
    async fn note_attempt(&mut self, last_no: u64) -> Result<()> {
        if self.state.metadata.attempted_transaction_no < last_no {
            // A sent transaction must survive a crash here, even if the application has weakened its syncs.
            self.state.poison.on_error(self.files.sync(&self.files.draft_wal).await)?;
            self.state.store(self.files, |metadata| metadata.attempted_transaction_no = last_no).await?;
        }
        Ok(())
    }

    async fn send_request(&mut self, batch: Batch, conflicts: &mut Conflicts) -> Result<(), Stop> {
        match self.mode {
            PushMode::Statements => {
                statements::send(self.wire, self.state, self.acknowledged, batch, self.report).await
            }
            PushMode::Frames => {
                let push = FramesPush {
                    files: self.files,
                    wire: self.wire,
                    state: self.state,
                    batch_frames: self.options.push_batch_frames,
                    report: self.report,
                };
                push.send(self.acknowledged, &batch, conflicts).await
            }
        }
    }
}
