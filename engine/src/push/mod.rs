//! The push: the unacknowledged local transactions go to the remote, whole and once.
//!
//! First Synced is walked to the end of the remote's history, and the acknowledgement that stands there says what is pending. Then the
//! pending transactions go out in bounded batches, each of them one transaction on the remote together with the new
//! acknowledgement row. What a batch looks like is the [`PushMode`]'s affair (`statements`, `frames`); both make it conditional on the
//! very state that was read, so that a request that arrives late or twice changes nothing. Before a request leaves, the
//! highest number in it is durable in the metadata.

mod frames;
mod statements;

use turso_core::{LimboError, SyncMode, Value};

use crate::database::{self, Capture, Transaction as SqlTransaction};
use crate::draft::Draft;
use crate::error::{DatabaseContext, Error, Result};
use crate::events::event;
use crate::files::Files;
use crate::metadata::Attachment;
use crate::options::{Options, PushMode};
use crate::rebase::{acknowledged_no, check_acknowledgement, rebase};
use crate::rebootstrap::follow;
use crate::remote::Remote;
use crate::report::PushReport;
use crate::reset::cut_local_tail;
use crate::state::State;
use crate::tape::{
    ACKNOWLEDGEMENT_TABLE, Planner, Refusal, Replayer, SchemaChange, Statement, Step, Tape, Transaction,
};
use crate::wire::Wire;
use frames::FramesPush;

/// How often a push starts over without having got anything through: because the remote moved under it, or refused a statement.
const ATTEMPTS_MAX: u32 = 4;

/// Pushes everything that is unacknowledged. What was done stands in the report after an error, too.
pub(crate) async fn push<R: Remote>(
    files: &Files,
    wire: &Wire<R>,
    draft: &Draft,
    options: &Options,
    state: &mut State,
    report: &mut PushReport,
) -> Result<()> {
    let mut refusals = Vec::new();
    let mut refused = None;
    let mut attempts = 0;
    while attempts < ATTEMPTS_MAX {
        attempts += 1;
        let walked = follow(files, wire, state, options).await?;
        report.frames += walked.frames;
        report.body_bytes += walked.body_bytes;
        report.generations_crossed += walked.generations_crossed;
        report.rebootstrapped = report.rebootstrapped.or(walked.rebootstrapped);
        if state.metadata.attachment == Attachment::Detached {
            // Only a rebase knows which tables have to be made again before the transactions that need them.
            let rebased = rebase(files, draft, state).await?;
            report.rebased = true;
            report.transactions_forgotten += rebased.transactions_forgotten;
            report.conflicts.append(rebased.conflicts);
        }
        let synced = state.synced(files)?.connection.clone();
        let row = acknowledged_no(&synced, &state.metadata.client_unique_id)
            .while_doing("reading the acknowledgement", &files.synced)?;
        let tape = read_recorded(files, draft, state, row.unwrap_or(0), report)?;
        let acknowledged = check_acknowledgement(files, &state.metadata, &tape, row)?;
        state.acknowledged_no = state.acknowledged_no.max(row.unwrap_or(0));
        let pending = tape.after(acknowledged);
        if let Some(error) = refused.take() {
            // What the replica of this very state refuses as well cannot get through by trying again. Where there is news, the refused
            // plan was one for an older state.
            drop(synced);
            let found = try_out(state, files, pending, &refusals).await?;
            let has_news =
                walked.frames > 0 || walked.generations_crossed > 0 || walked.rebootstrapped.is_some();
            if found.is_empty() && !has_news {
                return Err(error);
            }
            refusals.extend(found);
            continue;
        }
        let may_conflict = state.metadata.synced_wal_frames > state.metadata.synced_wal_match_watermark;
        let planner =
            Planner::new(&synced, may_conflict, &refusals).while_doing("planning the push", &files.synced)?;
        let transactions_before = report.transactions;
        let sent = send_all(files, wire, options, state, row, pending, planner, report).await;
        drop(synced);
        if report.transactions > transactions_before {
            attempts = 0;
        }
        match sent {
            Ok(Sent::All) => {
                if report.requests == 0 {
                    event!("nothing to send");
                }
                return Ok(());
            }
            Ok(Sent::Stale) => {
                event!("guard stale");
                if state.synced_is_dirty {
                    cut_local_tail(files, state).await?;
                }
            }
            Err(error @ Error::PushRefused { transaction_no: Some(_), .. }) => {
                event!("push refused", cause = tracing::field::display(&error));
                refused = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or(Error::PushOvertaken { attempts: ATTEMPTS_MAX }))
}

/// Reads the tape. What nobody has written down of the schema's changes, because they were not made by way of the engine's connections, is
/// written down first: only what is recorded has a number. While an application has begun to write, that has to wait for the next push;
/// what is recorded does not.
fn read_recorded(
    files: &Files,
    draft: &Draft,
    state: &mut State,
    acknowledged: u64,
    report: &mut PushReport,
) -> Result<Tape> {
    report.schema_changes_deferred = 0;
    loop {
        let tape = Tape::read(files, &draft.connect(files)?, &state.bookmarks, acknowledged)?;
        state.bookmarks = tape.bookmarks.clone();
        report.change_records_read += tape.records_read;
        let changes = tape.unrecorded.len() as u64;
        if changes == 0 {
            return Ok(tape);
        }
        match record(draft, &tape.unrecorded) {
            Ok(()) => tracing::debug!(changes, "schema changes were found by difference and written down"),
            Err(LimboError::Busy) => {
                tracing::debug!(changes, "schema changes were found by difference and have to wait");
                report.schema_changes_deferred = changes;
                return Ok(tape);
            }
            Err(error) => return Err(error).while_doing("writing down schema changes", &files.draft),
        }
    }
}

fn record(draft: &Draft, changes: &[SchemaChange]) -> turso_core::Result<()> {
    let connection = database::connect(&draft.database, Capture::On)?;
    let transaction = SqlTransaction::begin(&connection)?;
    for note in changes.iter().filter_map(SchemaChange::note) {
        database::run(&connection, &note.sql, &note.args)?;
    }
    transaction.commit()
}

/// Replays the pending transactions on the replica, to find the statements that its state does not allow, and takes it all back.
async fn try_out(
    state: &mut State,
    files: &Files,
    pending: &[Transaction],
    known: &[Refusal],
) -> Result<Vec<Refusal>> {
    let synced = state.synced(files)?.clone();
    state.synced_is_dirty = true;
    let replay = || {
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
    };
    let refusals = replay().while_doing("trying out what the remote refuses", &files.synced)?;
    drop(synced);
    cut_local_tail(files, state).await?;
    Ok(refusals)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    All,
    /// The remote is not in the state that the request was built on.
    Stale,
}

/// Sends the pending transactions in as few requests as the batch size allows.
#[expect(clippy::too_many_arguments, reason = "it is the body of one loop")]
async fn send_all<R: Remote>(
    files: &Files,
    wire: &Wire<R>,
    options: &Options,
    state: &mut State,
    mut acknowledged: Option<u64>,
    mut pending: &[Transaction],
    mut planner: Planner<'_>,
    report: &mut PushReport,
) -> Result<Sent> {
    let mode = if state.metadata.has_newest_frame() { options.push_mode } else { PushMode::Statements };
    while let Some((transactions, rest)) = split_batch(pending, options.push_batch_statements_max) {
        let batch =
            Batch::plan(&mut planner, transactions).while_doing("planning the push", &files.synced)?;
        if state.metadata.attempted_transaction_no < batch.last_no {
            // Whatever the application has made of its connection's settings: what is sent must not vanish here.
            state.poison.on_error(files.sync(&files.draft_wal).await)?;
            state.store(files, |metadata| metadata.attempted_transaction_no = batch.last_no).await?;
        }
        let last_no = batch.last_no;
        let statement_count = batch.replayed.len() as u64;
        let mut conflicts = planner.take_conflicts();
        event!(
            "batch sent",
            transactions = transactions.len(),
            statements = statement_count,
            last_no = last_no
        );
        let sent = match mode {
            PushMode::Statements => {
                let client = &state.metadata.client_unique_id;
                statements::send(wire, client, acknowledged, batch, report).await?
            }
            PushMode::Frames => {
                let push = FramesPush { files, wire, state, batch_frames: options.push_batch_frames, report };
                push.send(acknowledged, &batch, &mut conflicts).await?
            }
        };
        if sent == Sent::Stale {
            return Ok(Sent::Stale);
        }
        event!("batch acknowledged", last_no = last_no);
        state.acknowledged_no = state.acknowledged_no.max(last_no);
        report.transactions += transactions.len() as u64;
        report.statements += statement_count;
        report.conflicts.append(conflicts);
        acknowledged = Some(last_no);
        pending = rest;
        if mode == PushMode::Frames && !pending.is_empty() {
            planner.reread_target().while_doing("planning the push", &files.synced)?;
        }
    }
    Ok(Sent::All)
}

/// Splits off as many whole transactions as fit, at least one.
fn split_batch(pending: &[Transaction], statements_max: usize) -> Option<(&[Transaction], &[Transaction])> {
    let first = pending.first()?;
    let mut statements = first.statements_max();
    let mut count = 1;
    while let Some(next) = pending.get(count)
        && statements + next.statements_max() <= statements_max
    {
        statements += next.statements_max();
        count += 1;
    }
    Some(pending.split_at(count))
}

/// Transactions that become one on the remote, planned.
struct Batch {
    /// The remote's triggers before it.
    triggers: Option<String>,
    replayed: Vec<(u64, Statement)>,
    last_no: u64,
}

impl Batch {
    fn plan(planner: &mut Planner<'_>, transactions: &[Transaction]) -> turso_core::Result<Self> {
        let mut batch = Self { triggers: planner.triggers(), replayed: Vec::new(), last_no: 0 };
        for transaction in transactions {
            batch.last_no = transaction.no;
            let steps = planner.plan(transaction)?;
            batch.add(steps);
        }
        batch.add(planner.resume());
        Ok(batch)
    }

    fn add(&mut self, steps: Vec<Step>) {
        let no = self.last_no;
        self.replayed.extend(steps.into_iter().map(|step| (no, step.statement)));
    }
}

fn create_acknowledgement_table() -> Statement {
    Statement::bare(format!(
        "CREATE TABLE IF NOT EXISTS {ACKNOWLEDGEMENT_TABLE} (client_id TEXT PRIMARY KEY, pull_gen INTEGER, change_id INTEGER)"
    ))
}

fn acknowledge(client: &str, no: u64) -> Statement {
    Statement {
        sql: format!(
            "INSERT OR REPLACE INTO {ACKNOWLEDGEMENT_TABLE} (client_id, pull_gen, change_id) VALUES (?, 0, ?)"
        ),
        args: vec![Value::build_text(client.to_owned()), Value::from_i64(no.cast_signed())],
    }
}
