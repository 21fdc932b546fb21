//! The push as SQL: each request is one conditional batch.
//!
//! A batch consists of `BEGIN IMMEDIATE`, a guard, the statements, the new acknowledgement row, and `COMMIT`.
//! The guard fails unless the remote's acknowledgement row and triggers have the values that were read. A
//! request that arrives late or twice finds a different row and changes nothing. A half-failed request is
//! rolled back. The request also names the server's run that has shown that it has Synced's log, so that a
//! server on a copy of the log refuses it.

use http::HeaderValue;
use turso_core::Value;

use super::batch::{Batch, Stop, acknowledge, create_acknowledgement_table};
use crate::error::{Error, Result};
use crate::protocol::{BatchResult, PipelineRequest, RequestResult, StatementError};
use crate::remote::Remote;
use crate::report::PushReport;
use crate::state::State;
use crate::tape::{ACKNOWLEDGEMENT_TABLE, Statement};
use crate::wire::{Wire, shortened};

pub(super) async fn send<R: Remote>(
    wire: &Wire<R>,
    state: &State,
    acknowledged: Option<u64>,
    batch: Batch,
    report: &mut PushReport,
) -> Result<(), Stop> {
    let client = &state.metadata.client_unique_id;
    BatchRequest::new(client, acknowledged, batch).send(wire, state.proved_instance.as_ref(), report).await
}

/// One request, and the role of each of its statements.
struct BatchRequest {
    statements: Vec<(Role, Statement)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Belongs to the batch itself, like `BEGIN`, the acknowledgement and `COMMIT`.
    Envelope,
    /// Fails if the remote is in another state than expected.
    Guard,
    /// Replays a change of a local transaction.
    Replay { transaction_no: u64 },
}

impl BatchRequest {
    fn new(client: &str, acknowledged: Option<u64>, batch: Batch) -> Self {
        let mut statements = vec![(Role::Envelope, Statement::bare("BEGIN IMMEDIATE"))];
        if acknowledged.is_none() {
            statements.push((Role::Envelope, create_acknowledgement_table()));
        }
        statements.push((Role::Guard, guard(client, acknowledged, batch.triggers)));
        let last_no = batch.last_no;
        let replay = |(transaction_no, statement)| (Role::Replay { transaction_no }, statement);
        statements.extend(batch.replayed.into_iter().map(replay));
        statements.push((Role::Envelope, acknowledge(client, last_no)));
        statements.push((Role::Envelope, Statement::bare("COMMIT")));
        Self { statements }
    }

    async fn send<R: Remote>(
        &self,
        wire: &Wire<R>,
        instance: Option<&HeaderValue>,
        report: &mut PushReport,
    ) -> Result<(), Stop> {
        let chain =
            self.statements.iter().map(|(_, statement)| (statement.sql.as_str(), statement.args.as_slice()));
        let request = PipelineRequest::chained(chain).encode()?;
        report.requests += 1;
        report.sent_bytes += request.len() as u64;
        let (answer, body) = wire.pipeline(request, instance).await?.ok_or(Stop::Stale)?;
        let result = match <[RequestResult; 1]>::try_from(answer.results) {
            Ok([RequestResult::Ok { response }]) => response.result,
            Ok([RequestResult::Error { error }]) => {
                let problem = format!("the batch as a whole failed: {}", shortened(&error.message));
                return Err(body.bad(problem).into());
            }
            Err(results) => {
                return Err(body.bad(format!("{} results for one request", results.len())).into());
            }
        };
        self.check(result).map_err(|problem| match problem {
            Problem::Stale => Stop::Stale,
            Problem::Refused(error) => error.into(),
            Problem::Contradiction(problem) => body.bad(problem).into(),
        })
    }

    fn check(&self, result: BatchResult) -> Result<(), Problem> {
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
                Role::Guard if is_stale(&error) => return Err(Problem::Stale),
                Role::Guard | Role::Envelope => None,
                Role::Replay { transaction_no } => Some(*transaction_no),
            };
            return Err(Problem::Refused(Error::PushRefused {
                transaction_no,
                sql: statement.sql.clone(),
                message: shortened(&error.message),
            }));
        }
        if let Some(skipped) = result.step_results[..steps - 1].iter().position(Option::is_none) {
            return Err(Problem::Contradiction(format!("step {skipped} has neither a result nor an error")));
        }
        Ok(())
    }
}

enum Problem {
    Stale,
    Refused(Error),
    Contradiction(String),
}

/// Whether the guard failed because the remote is in another state. Either its constraint failed, or a
/// restored remote no longer has the acknowledgement table. Every SQLite server reports these in its message.
fn is_stale(error: &StatementError) -> bool {
    let message = error.message.to_ascii_lowercase();
    message.contains("constraint") || message.contains("no such table")
}

/// Returns the guard: a statement that does nothing if the acknowledgement row and the triggers have the
/// expected values. Otherwise it inserts one key twice and fails with a constraint error. If the table is
/// missing, it fails with the error for that. The guard is a statement, because the protocol's conditions
/// between the statements of a batch cannot test the content of a row.
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

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: usize = 1;
    const REPLAY: usize = 2;
    const COMMIT: usize = 3;
    const ROLLBACK: usize = 4;

    fn request() -> BatchRequest {
        let roles = [Role::Envelope, Role::Guard, Role::Replay { transaction_no: 7 }, Role::Envelope];
        let statement = |role| (role, Statement::bare("SELECT 1"));
        BatchRequest { statements: roles.map(statement).into() }
    }

    /// The answer after every statement before `failing` has run. The rollback is skipped if no statement has
    /// failed before it.
    fn answer(failing: usize, message: &str) -> BatchResult {
        let results = (0..5).map(|step| (step < failing).then_some(serde::de::IgnoredAny)).collect();
        let error = || StatementError { message: message.into() };
        let errors = (0..5).map(|step| (step == failing && step < ROLLBACK).then(error)).collect();
        BatchResult { step_results: results, step_errors: errors }
    }

    fn refused(failing: usize, message: &str) -> Option<u64> {
        match request().check(answer(failing, message)) {
            Err(Problem::Refused(Error::PushRefused { transaction_no, .. })) => transaction_no,
            _ => panic!("not refused"),
        }
    }

    #[test]
    fn a_batch_is_taken_when_every_statement_has_run() {
        assert!(request().check(answer(ROLLBACK, "")).is_ok());
    }

    #[test]
    fn a_batch_is_stale_when_its_guard_meets_another_row() {
        for message in ["UNIQUE constraint failed", "no such table: t"] {
            assert!(matches!(request().check(answer(GUARD, message)), Err(Problem::Stale)));
        }
        assert_eq!(refused(GUARD, "database is locked"), None);
        // Only the guard's constraint means that the guard failed.
        assert_eq!(refused(REPLAY, "NOT NULL constraint failed"), Some(7));
    }

    #[test]
    fn a_refusal_names_the_local_transaction_if_it_is_one() {
        assert_eq!(refused(REPLAY, "near \"x\": syntax error"), Some(7));
        assert_eq!(refused(COMMIT, "database is locked"), None);
    }

    #[test]
    fn an_answer_that_leaves_a_statement_out_contradicts_itself() {
        let mut skipped = answer(ROLLBACK, "");
        skipped.step_results[REPLAY] = None;
        assert!(matches!(request().check(skipped), Err(Problem::Contradiction(_))));
        let mut short = answer(ROLLBACK, "");
        short.step_errors.pop();
        assert!(matches!(request().check(short), Err(Problem::Contradiction(_))));
    }
}
