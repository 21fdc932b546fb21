//! `POST /v2/pipeline`: SQL over HTTP.
//!
//! The requests run in order. A failing request does not stop the requests after it; only the conditions of a
//! `batch` can skip a step. A transaction that is still open at the end is rolled back.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Response, StatusCode};
use turso_core::{Connection, LimboError};

use super::content::Content;
use super::routes::{error, json};
use super::session::{Guard, StatementError};
use super::store;
use super::wire::{
    Batch, BatchResult, Condition, ExecuteResult, Pipeline, PipelineAnswer, Stmt, StreamAnswer,
    StreamRequest, StreamResult,
};

/// Parses a request. The error says why it is malformed.
pub(super) fn parse(body: &[u8]) -> Result<Pipeline, String> {
    let mut pipeline: Pipeline = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    resolve(&mut pipeline)?;
    check(&pipeline)?;
    Ok(pipeline)
}

/// Runs a request on `connection`. Without a `guard`, the clients are trusted. The caller has to roll back a
/// transaction that is still open.
pub(super) fn run(
    connection: &Arc<Connection>,
    pipeline: &Pipeline,
    guard: Option<&Guard<'_>>,
) -> PipelineAnswer {
    let runner = Runner { connection, guard };
    let results = pipeline.requests.iter().map(|request| runner.answer(request)).collect();
    PipelineAnswer { baton: None, base_url: None, results }
}

pub(super) fn response(answer: Result<PipelineAnswer, LimboError>) -> Response<Content> {
    match answer {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(failure) => error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
    }
}

/// Replaces the numbers of stored texts by the texts. No text is kept beyond the request.
fn resolve(pipeline: &mut Pipeline) -> Result<(), String> {
    let mut stored = BTreeMap::new();
    for request in &mut pipeline.requests {
        match request {
            StreamRequest::StoreSql { sql_id, sql } => {
                if stored.insert(*sql_id, std::mem::take(sql)).is_some() {
                    return Err(format!("a text is already stored as {sql_id}"));
                }
            }
            StreamRequest::CloseSql { sql_id } => drop(stored.remove(sql_id)),
            StreamRequest::Execute { stmt } => stmt.resolve(&stored)?,
            StreamRequest::Batch { batch } => {
                batch.steps.iter_mut().try_for_each(|step| step.stmt.resolve(&stored))?;
            }
            StreamRequest::Close => {}
        }
    }
    Ok(())
}

/// Checks that conditions refer only to earlier steps.
fn check(pipeline: &Pipeline) -> Result<(), String> {
    for request in &pipeline.requests {
        let StreamRequest::Batch { batch } = request else {
            continue;
        };
        for (index, step) in batch.steps.iter().enumerate() {
            if step.condition.as_ref().is_some_and(|condition| !condition.is_about_steps_before(index)) {
                return Err(format!("the condition of step {index} refers to a later step"));
            }
        }
    }
    Ok(())
}

/// Runs the statements of one request.
struct Runner<'a> {
    connection: &'a Arc<Connection>,
    guard: Option<&'a Guard<'a>>,
}

impl Runner<'_> {
    fn answer(&self, request: &StreamRequest) -> StreamResult {
        let response = match request {
            StreamRequest::Execute { stmt } => match self.execute(stmt) {
                Ok(result) => StreamAnswer::Execute { result },
                Err(error) => {
                    return StreamResult::Error { error: error.into() };
                }
            },
            StreamRequest::Batch { batch } => StreamAnswer::Batch { result: self.run_batch(batch) },
            StreamRequest::StoreSql { .. } => StreamAnswer::StoreSql,
            StreamRequest::CloseSql { .. } => StreamAnswer::CloseSql,
            StreamRequest::Close => StreamAnswer::Close,
        };
        StreamResult::Ok { response }
    }

    fn run_batch(&self, batch: &Batch) -> BatchResult {
        let mut so_far = BatchResult::default();
        for step in &batch.steps {
            let runs =
                step.condition.as_ref().is_none_or(|condition| condition.holds(&so_far, self.connection));
            let (result, error) = match runs.then(|| self.execute(&step.stmt)) {
                None => (None, None),
                Some(Ok(result)) => (Some(result), None),
                Some(Err(error)) => (None, Some(error.into())),
            };
            so_far.step_results.push(result);
            so_far.step_errors.push(error);
        }
        so_far
    }

    fn execute(&self, stmt: &Stmt) -> Result<ExecuteResult, StatementError> {
        let statement = stmt.statement();
        let executed = match self.guard {
            Some(guard) => guard.execute(self.connection, &statement)?,
            None => store::execute(self.connection, &statement)?,
        };
        Ok(ExecuteResult::new(executed, stmt.want_rows))
    }
}

impl Condition {
    fn holds(&self, so_far: &BatchResult, connection: &Connection) -> bool {
        match self {
            Condition::Ok { step } => so_far.step_results[*step].is_some(),
            Condition::Error { step } => so_far.step_errors[*step].is_some(),
            Condition::Not { cond } => !cond.holds(so_far, connection),
            Condition::And { conds } => conds.iter().all(|cond| cond.holds(so_far, connection)),
            Condition::Or { conds } => conds.iter().any(|cond| cond.holds(so_far, connection)),
            Condition::IsAutocommit => connection.get_auto_commit(),
        }
    }

    fn is_about_steps_before(&self, index: usize) -> bool {
        match self {
            Condition::Ok { step } | Condition::Error { step } => *step < index,
            Condition::Not { cond } => cond.is_about_steps_before(index),
            Condition::And { conds } | Condition::Or { conds } => {
                conds.iter().all(|cond| cond.is_about_steps_before(index))
            }
            Condition::IsAutocommit => true,
        }
    }
}
