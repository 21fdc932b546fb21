//! The push: the unacknowledged local transactions go to the remote, whole and once.
//!
//! Each request is one conditional batch: `BEGIN IMMEDIATE`, a guard that fails unless the remote's acknowledgement row is the
//! one that was read, the statements, the new acknowledgement row, `COMMIT`. A request that arrives late or twice meets another
//! row and changes nothing; a half-failed one is rolled back. Before a request leaves, the highest number in it is durable
//! in the metadata.

use turso_core::Value;

use crate::draft::Draft;
use crate::engine::Options;
use crate::error::{DatabaseContext, Error, Result};
use crate::files::Files;
use crate::protocol::{BatchResult, PipelineRequest, RequestResult};
use crate::rebase::{acknowledged_no, check_acknowledgement};
use crate::remote::Remote;
use crate::report::PushReport;
use crate::synced::State;
use crate::tape::{ACKNOWLEDGEMENT_TABLE, Statement, Tape, Transaction};
use crate::walk::walk;
use crate::wire::Wire;

/// How often a push starts over because the remote's acknowledgement row moved under it.
const ATTEMPTS_MAX: u32 = 3;

/// Pushes everything that is unacknowledged.
pub(crate) async fn push<R: Remote>(
    files: &Files,
    wire: &Wire<R>,
    draft: &Draft,
    options: &Options,
    state: &mut State,
) -> Result<PushReport> {
    let mut report = PushReport::default();
    for _ in 0..ATTEMPTS_MAX {
        let walked = walk(files, wire, state, options.pull_batch_frames).await?;
        report.frames += walked.frames;
        report.generations_crossed += walked.generations_crossed;
        let connection = state.synced(files)?.connection.clone();
        let acknowledged = acknowledged_no(&connection, &state.metadata.client_unique_id)
            .while_doing("reading the acknowledgement", &files.synced)?;
        drop(connection);
        let tape = Tape::read(&draft.reader).while_doing("reading the change log", &files.draft)?;
        check_acknowledgement(files, &state.metadata, &tape, acknowledged.unwrap_or(0))?;
        let pending = tape.after(acknowledged.unwrap_or(0));
        if send_all(files, wire, options, state, acknowledged, pending, &mut report).await? == Sent::All {
            return Ok(report);
        }
        tracing::info!("the acknowledgement moved, starting over");
    }
    Err(Error::BadAnswer {
        request: "POST /v2/pipeline".into(),
        problem: format!(
            "the acknowledgement row was never the one that had just been read, {ATTEMPTS_MAX} times in a row"
        ),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    All,
    /// The remote's acknowledgement row is not the expected one.
    Stale,
}

/// Sends the pending transactions in as few requests as the batch size allows.
async fn send_all<R: Remote>(
    files: &Files,
    wire: &Wire<R>,
    options: &Options,
    state: &mut State,
    mut acknowledged: Option<u64>,
    mut pending: &[Transaction],
    report: &mut PushReport,
) -> Result<Sent> {
    while let Some((batch, rest)) = split_batch(pending, options.push_batch_statements_max) {
        let last_no = batch[batch.len() - 1].no;
        if state.metadata.attempted_transaction_no < last_no {
            // Whatever the application has made of its connection's settings: what is sent must not vanish here.
            files.sync(&files.draft_wal).await?;
            state.store(files, |metadata| metadata.attempted_transaction_no = last_no).await?;
        }
        let request = BatchRequest::new(&state.metadata.client_unique_id, acknowledged, batch);
        report.requests += 1;
        if request.send(wire).await? == Sent::Stale {
            return Ok(Sent::Stale);
        }
        report.transactions += batch.len() as u64;
        report.statements += batch.iter().map(|transaction| transaction.statements.len() as u64).sum::<u64>();
        acknowledged = Some(last_no);
        pending = rest;
    }
    Ok(Sent::All)
}

/// Splits off as many whole transactions as fit, at least one.
fn split_batch(pending: &[Transaction], statements_max: usize) -> Option<(&[Transaction], &[Transaction])> {
    let first = pending.first()?;
    let mut statements = first.statements.len();
    let mut count = 1;
    while let Some(next) = pending.get(count)
        && statements + next.statements.len() <= statements_max
    {
        statements += next.statements.len();
        count += 1;
    }
    Some(pending.split_at(count))
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
    fn new(client: &str, acknowledged: Option<u64>, batch: &[Transaction]) -> Self {
        let mut statements = vec![(Role::Frame, bare("BEGIN IMMEDIATE"))];
        if acknowledged.is_none() {
            statements.push((Role::Frame, create_acknowledgement_table()));
        }
        statements.push((Role::Guard, guard(client, acknowledged)));
        let mut last_no = 0;
        for transaction in batch {
            let role = Role::Replay { transaction_no: transaction.no };
            statements.extend(transaction.statements.iter().map(|statement| (role, statement.clone())));
            last_no = transaction.no;
        }
        statements.push((Role::Frame, acknowledge(client, last_no)));
        statements.push((Role::Frame, bare("COMMIT")));
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
                Role::Guard => return Ok(Sent::Stale),
                Role::Frame => None,
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

fn bare(sql: &str) -> Statement {
    Statement { sql: sql.to_owned(), args: Vec::new() }
}

fn create_acknowledgement_table() -> Statement {
    bare(&format!(
        "CREATE TABLE IF NOT EXISTS {ACKNOWLEDGEMENT_TABLE} (client_id TEXT PRIMARY KEY, pull_gen INTEGER, change_id INTEGER)"
    ))
}

/// A statement that does nothing if the acknowledgement row is the expected one and fails otherwise, because it then inserts one
/// key twice: a batch condition cannot test a row.
fn guard(client: &str, acknowledged: Option<u64>) -> Statement {
    let insert = format!(
        "INSERT INTO {ACKNOWLEDGEMENT_TABLE} (client_id, pull_gen, change_id) \
         SELECT ?1, 0, 0 FROM (SELECT 1 UNION ALL SELECT 1) WHERE"
    );
    let row = format!("SELECT 1 FROM {ACKNOWLEDGEMENT_TABLE} WHERE client_id = ?1");
    let client = Value::build_text(client.to_owned());
    match acknowledged {
        None => Statement { sql: format!("{insert} EXISTS ({row})"), args: vec![client] },
        Some(no) => Statement {
            sql: format!("{insert} NOT EXISTS ({row} AND change_id = ?2)"),
            args: vec![client, Value::from_i64(no.cast_signed())],
        },
    }
}

fn acknowledge(client: &str, no: u64) -> Statement {
    Statement {
        sql: format!(
            "INSERT OR REPLACE INTO {ACKNOWLEDGEMENT_TABLE} (client_id, pull_gen, change_id) VALUES (?, 0, ?)"
        ),
        args: vec![Value::build_text(client.to_owned()), Value::from_i64(no.cast_signed())],
    }
}
