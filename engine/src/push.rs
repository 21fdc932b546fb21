//! The push: the unacknowledged local transactions go to the remote, whole and once.
//!
//! Each request is one conditional batch: `BEGIN IMMEDIATE`, a guard that fails unless the remote's acknowledgement row is the
//! one that was read, the statements, the new acknowledgement row, `COMMIT`. A request that arrives late or twice meets another
//! row and changes nothing; a half-failed one is rolled back. Before a request leaves, the highest number in it is durable
//! in the metadata.

use turso_core::{SyncMode, Value};

use crate::database::{self, Capture, Transaction as SqlTransaction};
use crate::draft::Draft;
use crate::engine::Options;
use crate::error::{DatabaseContext, Error, Result};
use crate::files::Files;
use crate::protocol::{BatchResult, PipelineRequest, RequestResult, StatementError};
use crate::rebase::{acknowledged_no, check_acknowledgement};
use crate::remote::Remote;
use crate::report::PushReport;
use crate::synced::State;
use crate::tape::{
    ACKNOWLEDGEMENT_TABLE, Planner, Refusal, Replayer, SchemaChange, Statement, Step, Tape, Transaction,
};
use crate::walk::walk;
use crate::wire::Wire;

/// How often a push starts over without having got anything through: because the remote moved under it, or refused a statement.
const ATTEMPTS_MAX: u32 = 4;

/// Pushes everything that is unacknowledged.
pub(crate) async fn push<R: Remote>(
    files: &Files,
    wire: &Wire<R>,
    draft: &Draft,
    options: &Options,
    state: &mut State,
) -> Result<PushReport> {
    let mut report = PushReport::default();
    let mut refusals = Vec::new();
    let mut refused = None;
    let mut attempts = 0;
    while attempts < ATTEMPTS_MAX {
        attempts += 1;
        let walked = walk(files, wire, state, options.pull_batch_frames).await?;
        report.frames += walked.frames;
        report.generations_crossed += walked.generations_crossed;
        let synced = state.synced(files)?.connection.clone();
        let acknowledged = acknowledged_no(&synced, &state.metadata.client_unique_id)
            .while_doing("reading the acknowledgement", &files.synced)?;
        let tape = read_recorded(files, draft)?;
        check_acknowledgement(files, &state.metadata, &tape, acknowledged.unwrap_or(0))?;
        let pending = tape.after(acknowledged.unwrap_or(0));
        if let Some(error) = refused.take() {
            // What the replica of this very state refuses as well cannot get through by trying again.
            drop(synced);
            let found = try_out(state, files, pending, &refusals).await?;
            if found.is_empty() {
                return Err(error);
            }
            refusals.extend(found);
            continue;
        }
        let may_conflict = state.metadata.synced_wal_frames > state.metadata.synced_wal_match_watermark;
        let planner =
            Planner::new(&synced, may_conflict, &refusals).while_doing("planning the push", &files.synced)?;
        let transactions_before = report.transactions;
        let sent = send_all(files, wire, options, state, acknowledged, pending, planner, &mut report).await;
        if report.transactions > transactions_before {
            attempts = 0;
        }
        match sent {
            Ok(Sent::All) => return Ok(report),
            Ok(Sent::Stale) => tracing::info!("the remote moved, starting over"),
            Err(error @ Error::PushRefused { transaction_no: Some(_), .. }) => {
                tracing::info!(%error, "trying out what the remote refuses");
                refused = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| Error::BadAnswer {
        request: "POST /v2/pipeline".into(),
        problem: format!("the remote was never as it had just been read, {ATTEMPTS_MAX} times in a row"),
    }))
}

/// Reads the tape, after what the core does not record was written down: only what is recorded has a number.
fn read_recorded(files: &Files, draft: &Draft) -> Result<Tape> {
    loop {
        let tape = Tape::read(files, &draft.reader)?;
        if tape.unrecorded.is_empty() {
            return Ok(tape);
        }
        tracing::debug!(changes = tape.unrecorded.len(), "writing down schema changes");
        record(draft, &tape.unrecorded).while_doing("writing down schema changes", &files.draft)?;
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
    state.cut_local_tail(files).await?;
    Ok(refusals)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    All,
    /// The remote's acknowledgement row or its triggers are not the expected ones.
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
    while let Some((transactions, rest)) = split_batch(pending, options.push_batch_statements_max) {
        let batch =
            Batch::plan(&mut planner, transactions).while_doing("planning the push", &files.synced)?;
        if state.metadata.attempted_transaction_no < batch.last_no {
            // Whatever the application has made of its connection's settings: what is sent must not vanish here.
            files.sync(&files.draft_wal).await?;
            state.store(files, |metadata| metadata.attempted_transaction_no = batch.last_no).await?;
        }
        let last_no = batch.last_no;
        let statements = batch.replayed.len() as u64;
        let conflicts = planner.take_conflicts();
        let request = BatchRequest::new(&state.metadata.client_unique_id, acknowledged, batch);
        report.requests += 1;
        if request.send(wire).await? == Sent::Stale {
            return Ok(Sent::Stale);
        }
        report.transactions += transactions.len() as u64;
        report.statements += statements;
        report.conflicts.append(conflicts);
        acknowledged = Some(last_no);
        pending = rest;
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

/// The transactions of one request, planned.
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

/// One request, and which of its statements stands for what.
struct BatchRequest {
    statements: Vec<(Role, Statement)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Frame,
    Guard,
    Replay { transaction_no: u64 },
}

impl BatchRequest {
    fn new(client: &str, acknowledged: Option<u64>, batch: Batch) -> Self {
        let mut statements = vec![(Role::Frame, Statement::bare("BEGIN IMMEDIATE"))];
        if acknowledged.is_none() {
            statements.push((Role::Frame, create_acknowledgement_table()));
        }
        statements.push((Role::Guard, guard(client, acknowledged, batch.triggers)));
        let last_no = batch.last_no;
        let replay = |(transaction_no, statement)| (Role::Replay { transaction_no }, statement);
        statements.extend(batch.replayed.into_iter().map(replay));
        statements.push((Role::Frame, acknowledge(client, last_no)));
        statements.push((Role::Frame, Statement::bare("COMMIT")));
        Self { statements }
    }

    async fn send<R: Remote>(&self, wire: &Wire<R>) -> Result<Sent> {
        let chain =
            self.statements.iter().map(|(_, statement)| (statement.sql.as_str(), statement.args.as_slice()));
        let (answer, body) = wire.pipeline(&PipelineRequest::chained(chain)).await?;
        let result = match <[RequestResult; 1]>::try_from(answer.results) {
            Ok([RequestResult::Ok { response }]) => response.result,
            Ok([RequestResult::Error { error }]) => {
                return Err(body.bad(format!("the batch as a whole failed: {}", error.message)));
            }
            Err(results) => return Err(body.bad(format!("{} results for one request", results.len()))),
        };
        self.judge(result).map_err(|problem| match problem {
            Problem::Refused(error) => error,
            Problem::Contradiction(problem) => body.bad(problem),
        })
    }

    fn judge(&self, result: BatchResult) -> std::result::Result<Sent, Problem> {
        // The last step is the rollback that cleans up after a failure.
        let steps = self.statements.len() + 1;
        if result.step_results.len() != steps || result.step_errors.len() != steps {
            return Err(Problem::Contradiction(format!(
                "{} results and {} errors for {steps} steps",
                result.step_results.len(),
                result.step_errors.len()
            )));
        }
        let first_error = result
            .step_errors
            .into_iter()
            .zip(&self.statements)
            .find_map(|(error, statement)| Some((error?, statement)));
        if let Some((error, (role, statement))) = first_error {
            let transaction_no = match role {
                Role::Guard if is_constraint(&error) => return Ok(Sent::Stale),
                Role::Guard | Role::Frame => None,
                Role::Replay { transaction_no } => Some(*transaction_no),
            };
            return Err(Problem::Refused(Error::PushRefused {
                transaction_no,
                sql: statement.sql.clone(),
                message: error.message,
            }));
        }
        if let Some(skipped) = result.step_results[..steps - 1].iter().position(Option::is_none) {
            return Err(Problem::Contradiction(format!("step {skipped} has neither a result nor an error")));
        }
        Ok(Sent::All)
    }
}

enum Problem {
    Refused(Error),
    Contradiction(String),
}

fn create_acknowledgement_table() -> Statement {
    Statement::bare(format!(
        "CREATE TABLE IF NOT EXISTS {ACKNOWLEDGEMENT_TABLE} (client_id TEXT PRIMARY KEY, pull_gen INTEGER, change_id INTEGER)"
    ))
}

/// Whether a statement failed because of a constraint. Every SQLite says so in its message.
fn is_constraint(error: &StatementError) -> bool {
    error.message.to_ascii_lowercase().contains("constraint")
}

/// A statement that does nothing if the acknowledgement row and the triggers are the expected ones and fails otherwise, because it
/// then inserts one key twice: a batch condition cannot test a row. What fails it is a constraint, and of its own nothing else can be.
fn guard(client: &str, acknowledged: Option<u64>, triggers: Option<String>) -> Statement {
    let row = format!("SELECT 1 FROM {ACKNOWLEDGEMENT_TABLE} WHERE client_id = ?1");
    let mut args =
        vec![Value::build_text(client.to_owned()), triggers.map_or(Value::Null, Value::build_text)];
    let is_other = match acknowledged {
        None => format!("EXISTS ({row})"),
        Some(no) => {
            args.push(Value::from_i64(no.cast_signed()));
            format!("NOT EXISTS ({row} AND change_id = ?3)")
        }
    };
    let remote_triggers = "SELECT group_concat(name || sql, char(10)) \
         FROM (SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY lower(name))";
    let sql = format!(
        "INSERT INTO {ACKNOWLEDGEMENT_TABLE} (client_id, pull_gen, change_id) \
         SELECT ?1, 0, 0 FROM (SELECT 1 UNION ALL SELECT 1) WHERE {is_other} OR ({remote_triggers}) IS NOT ?2"
    );
    Statement { sql, args }
}

fn acknowledge(client: &str, no: u64) -> Statement {
    Statement {
        sql: format!(
            "INSERT OR REPLACE INTO {ACKNOWLEDGEMENT_TABLE} (client_id, pull_gen, change_id) VALUES (?, 0, ?)"
        ),
        args: vec![Value::build_text(client.to_owned()), Value::from_i64(no.cast_signed())],
    }
}
