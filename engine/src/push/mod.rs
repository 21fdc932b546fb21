//! The push: sends each unacknowledged local transaction to the remote, whole and once.
//!
//! First the engine walks Synced to the end of the remote's log. The acknowledgement row there determines
//! which transactions are pending. Then it sends the pending transactions in bounded batches. Each batch is
//! one transaction on the remote, together with the new acknowledgement row. The [`PushMode`] decides the
//! form of a batch (`statements`, `frames`). Both forms are conditional on the state that was read, so a
//! request that arrives late or twice changes nothing. Before a request is sent, the highest number in it is
//! durable in the metadata. If the remote does not take a request because of its length, the push starts over with
//! smaller batches, down to single transactions.
//!
//! | module | responsibility |
//! |---|---|
//! | `sending` | sends the batches in order |
//! | `batch` | the content of a batch |
//! | `statements` | a batch as SQL |
//! | `frames` | a batch as frames of Synced's WAL |

mod batch;
mod frames;
mod sending;
mod statements;

use std::mem;

use turso_core::{LimboError, SyncMode};

use crate::database::{self, Capture, Transaction as SqlTransaction};
use crate::draft::Draft;
use crate::error::{DatabaseContext, Error, Result};
use crate::events::event;
use crate::files::Files;
use crate::metadata::Attachment;
use crate::options::{Options, PushMode};
use crate::rebase::{check_acknowledgement, rebase};
use crate::rebootstrap::follow;
use crate::remote::Remote;
use crate::report::PushReport;
use crate::reset::cut_local_tail;
use crate::state::State;
use crate::synced::Synced;
use crate::tape::{Planner, Refusal, Replayer, SchemaChange, Step, Tape, Transaction, acknowledged_no};
use crate::wire::Wire;

use batch::Stop;
use sending::Sending;

/// How often a push starts over without progress, because the remote changed or refused a statement.
const ATTEMPTS_MAX: u32 = 4;

/// Pushes every unacknowledged transaction. After an error the report still lists the work that was done.
pub(crate) async fn push<R: Remote>(
    files: &Files,
    wire: &Wire<R>,
    draft: &Draft,
    options: &Options,
    state: &mut State,
    report: &mut PushReport,
) -> Result<()> {
    let position = Position::Sending;
    let transactions_max = usize::MAX;
    let refusals = Vec::new();
    Push { files, wire, draft, options, state, report, refusals, position, transactions_max }.run().await
}

/// The state of a push between two attempts.
enum Position {
    /// The next attempt sends the pending transactions.
    Sending,
    /// The remote has refused a statement. The next attempt replays the pending transactions on the replica,
    /// to find the statements that the remote's state does not allow.
    TryingOut { refused: Error },
}

/// The result of an attempt that was not stopped.
enum Attempt {
    /// Every transaction is sent.
    Complete,
    /// The statements that cannot succeed are known. Nothing was sent.
    TriedOut,
}

struct Push<'a, R> {
    files: &'a Files,
    wire: &'a Wire<R>,
    draft: &'a Draft,
    options: &'a Options,
    state: &'a mut State,
    report: &'a mut PushReport,
    /// Statements that the push skips, because the remote's state does not allow them.
    refusals: Vec<Refusal>,
    position: Position,
    /// The maximum number of transactions in a request.
    transactions_max: usize,
}

impl<R: Remote> Push<'_, R> {
    async fn run(mut self) -> Result<()> {
        let mut attempts = 0;
        while attempts < ATTEMPTS_MAX {
            attempts += 1;
            let transactions_before = self.report.transactions;
            let outcome = self.attempt().await;
            if self.report.transactions > transactions_before {
                attempts = 0;
            }
            match outcome {
                Ok(Attempt::Complete) => return Ok(()),
                Ok(Attempt::TriedOut) => {}
                Err(Stop::Stale) => self.start_over().await?,
                Err(Stop::Refused(error)) => self.note_refusal(error),
                Err(Stop::TooLarge { transactions }) => {
                    // Smaller batches are progress: they end at single transactions.
                    attempts = 0;
                    self.send_less(transactions).await?;
                }
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        match self.position {
            Position::Sending => Err(Error::PushOvertaken { attempts: ATTEMPTS_MAX }),
            Position::TryingOut { refused } => Err(refused),
        }
    }

    async fn attempt(&mut self) -> Result<Attempt, Stop> {
        let has_news = self.catch_up().await?;
        let row = self.remote_no()?;
        let tape = self.record_and_read(row.unwrap_or(0))?;
        let acknowledged = check_acknowledgement(self.files, &self.state.metadata, tape.last_no, row)?;
        // A restored server may have lost transactions that it had acknowledged.
        self.state.acknowledged_no = row.unwrap_or(0);
        let pending = tape.after(acknowledged);
        match mem::replace(&mut self.position, Position::Sending) {
            Position::Sending => self.send(row, pending).await,
            Position::TryingOut { refused } => self.try_out(refused, pending, has_news).await,
        }
    }

    /// Prepares another attempt after the remote has changed. The attempt will start at the remote's new end.
    async fn start_over(&mut self) -> Result<()> {
        event!(GuardStale);
        self.cut_tail().await
    }

    /// Prepares another attempt after the remote did not take a request with this many transactions: with at most half
    /// as many in a request.
    async fn send_less(&mut self, transactions: usize) -> Result<()> {
        tracing::debug!(transactions, "the remote takes no request of this size");
        self.transactions_max = transactions / 2;
        self.cut_tail().await
    }

    async fn cut_tail(&mut self) -> Result<()> {
        if self.state.synced_is_dirty {
            cut_local_tail(self.files, self.state).await?;
        }
        Ok(())
    }

    /// Notes that the remote has refused a statement. The next attempt tries the statements out on the
    /// replica.
    fn note_refusal(&mut self, refused: Error) {
        event!(PushRefused, cause = tracing::field::display(&refused));
        self.position = Position::TryingOut { refused };
    }

    /// Brings Synced to the remote's end, and rebases Draft if the push cannot be planned otherwise. Returns
    /// whether Synced has changed.
    async fn catch_up(&mut self) -> Result<bool> {
        let walked = follow(self.files, self.wire, self.draft, self.state, self.options).await?;
        self.report.frames += walked.frames;
        self.report.body_bytes += walked.body_bytes;
        self.report.generations_crossed += walked.generations_crossed;
        self.report.rebootstrapped = self.report.rebootstrapped.or(walked.rebootstrapped);
        if self.state.metadata.attachment == Attachment::Detached {
            // Only a rebase knows which tables must be created again before the transactions that need them.
            let rebased = rebase(self.files, self.draft, self.state).await?;
            self.report.rebased = true;
            self.report.conflicts.append(rebased.conflicts);
        }
        Ok(walked.has_news())
    }

    /// Returns the number in the remote's acknowledgement row of this client, as of Synced's end; `None` if
    /// there is no such row.
    fn remote_no(&mut self) -> Result<Option<u64>> {
        let synced = self.state.synced(self.files)?.connection.clone();
        acknowledged_no(&synced, &self.state.metadata.client_unique_id)
            .while_doing("reading the acknowledgement", &self.files.synced)
    }

    async fn send(&mut self, row: Option<u64>, pending: &[Transaction]) -> Result<Attempt, Stop> {
        let synced = self.state.synced(self.files)?.connection.clone();
        let metadata = &self.state.metadata;
        let may_conflict = metadata.synced_wal_frames > metadata.synced_wal_match_watermark;
        let planner = Planner::new(&synced, may_conflict, &self.refusals)
            .while_doing("planning the push", &self.files.synced)?;
        let mode = if metadata.has_newest_frame() { self.options.push_mode } else { PushMode::Statements };
        let sending = Sending {
            files: self.files,
            wire: self.wire,
            options: self.options,
            state: self.state,
            report: self.report,
            mode,
            transactions_max: self.transactions_max,
            acknowledged: row,
            planner,
        };
        sending.send_all(pending).await?;
        if self.report.requests == 0 {
            event!(NothingToSend);
        }
        Ok(Attempt::Complete)
    }

    /// Handles a refused statement. The statements that the replica refuses too cannot succeed, and the next
    /// attempt skips them. If the replica refuses none, and the walk has changed Synced, the refused plan was
    /// made for an older state, and the next attempt makes a new one. If the replica refuses none, and Synced
    /// has not changed, the push fails with the remote's error.
    async fn try_out(
        &mut self,
        refused: Error,
        pending: &[Transaction],
        has_news: bool,
    ) -> Result<Attempt, Stop> {
        let found = self.refusals_on_replica(pending).await?;
        if found.is_empty() && !has_news {
            return Err(Stop::Failed(refused));
        }
        self.refusals.extend(found);
        Ok(Attempt::TriedOut)
    }

    /// Replays the pending transactions on the replica, to find the statements that its state does not allow.
    /// Rolls the replay back.
    async fn refusals_on_replica(&mut self, pending: &[Transaction]) -> Result<Vec<Refusal>> {
        let synced = self.state.synced(self.files)?.clone();
        self.state.synced_is_dirty = true;
        let refusals = refused_on(&synced, pending, &self.refusals)
            .while_doing("finding the statement that the remote refuses", &self.files.synced)?;
        drop(synced);
        cut_local_tail(self.files, self.state).await?;
        Ok(refusals)
    }

    /// Records the schema changes that were not made through the engine's connections, because only recorded
    /// changes have a number, and reads the tape. Recording is not possible while an application's transaction
    /// holds the write lock. Then these changes wait for the next push, and only the recorded ones are sent.
    fn record_and_read(&mut self, acknowledged: u64) -> Result<Tape> {
        let (files, draft) = (self.files, self.draft);
        self.report.schema_changes_deferred = 0;
        loop {
            let tape = Tape::read(files, &draft.connect(files)?, &self.state.bookmarks, acknowledged)?;
            self.state.bookmarks = tape.bookmarks.clone();
            self.report.change_records_read += tape.records_read;
            let changes = tape.unrecorded.len() as u64;
            if changes == 0 {
                return Ok(tape);
            }
            match record(draft, &tape.unrecorded) {
                Ok(()) => {
                    tracing::debug!(changes, "recorded schema changes that were found by comparison")
                }
                Err(LimboError::Busy) => {
                    tracing::debug!(changes, "deferred schema changes that were found by comparison");
                    self.report.schema_changes_deferred = changes;
                    return Ok(tape);
                }
                Err(error) => return Err(error).while_doing("recording schema changes", &files.draft),
            }
        }
    }
}

/// Records schema changes as a separate transaction.
fn record(draft: &Draft, changes: &[SchemaChange]) -> turso_core::Result<()> {
    let connection = database::connect(&draft.database, Capture::On)?;
    let transaction = SqlTransaction::begin(&connection)?;
    for note in changes.iter().filter_map(SchemaChange::note) {
        database::run(&connection, &note.sql, &note.args)?;
    }
    transaction.commit()
}

/// Replays transactions on the replica and returns the statements that it refuses. Rolls everything back.
fn refused_on(
    synced: &Synced,
    pending: &[Transaction],
    known: &[Refusal],
) -> turso_core::Result<Vec<Refusal>> {
    let mut planner = Planner::new(&synced.connection, false, known)?;
    let mut plans: Vec<Vec<Step>> = Vec::with_capacity(pending.len() + 1);
    for transaction in pending {
        plans.push(planner.plan(transaction)?);
    }
    plans.push(planner.resume());
    let connection = database::connect(&synced.database, Capture::Off)?;
    connection.set_sync_mode(SyncMode::Off);
    let transaction = SqlTransaction::begin(&connection)?;
    connection.execute(SchemaChange::create_table())?;
    let mut replayer = Replayer::new(&connection);
    let mut refusals = Vec::new();
    for steps in &plans {
        refusals.extend(replayer.run(steps)?);
    }
    drop(replayer);
    drop(transaction);
    Ok(refusals)
}
