//! `POST /v2/pipeline`: SQL over HTTP.
//!
//! The requests run in order. A failing request does not stop the requests after it; only the conditions of a
//! `batch` can skip a step. A transaction that is still open at the end is rolled back.

use std::sync::Arc;

use turso_core::{Connection, LimboError};

use super::store::{self, Store};
use super::wire::{
    Batch, BatchResult, Condition, ExecuteResult, Pipeline, PipelineAnswer, Stmt, StreamAnswer,
    StreamRequest, StreamResult,
};

pub(super) enum Failure {
    /// The request is malformed. Nothing was run.
    BadRequest(String),
    /// The rollback at the end failed.
    Database(LimboError),
}

impl From<LimboError> for Failure {
    fn from(error: LimboError) -> Failure {
        Failure::Database(error)
    }
}

pub(super) fn run(store: &Store, body: &[u8]) -> Result<PipelineAnswer, Failure> {
    let pipeline: Pipeline =
        serde_json::from_slice(body).map_err(|error| Failure::BadRequest(error.to_string()))?;
    check(&pipeline)?;
    let connection = store.shared();
    let results = pipeline.requests.iter().map(|request| answer(connection, request)).collect();
    store::roll_back(connection)?;
    Ok(PipelineAnswer { baton: None, base_url: None, results })
}

/// Checks that conditions refer only to earlier steps.
fn check(pipeline: &Pipeline) -> Result<(), Failure> {
    for request in &pipeline.requests {
        let StreamRequest::Batch { batch } = request else {
            continue;
        };
        for (index, step) in batch.steps.iter().enumerate() {
            if step.condition.as_ref().is_some_and(|condition| !condition.is_about_steps_before(index)) {
                return Err(Failure::BadRequest(format!(
                    "the condition of step {index} refers to a later step"
                )));
            }
        }
    }
    Ok(())
}

fn answer(connection: &Arc<Connection>, request: &StreamRequest) -> StreamResult {
    let response = match request {
        StreamRequest::Execute { stmt } => match execute(connection, stmt) {
            Ok(result) => StreamAnswer::Execute { result },
            Err(error) => {
                return StreamResult::Error { error: error.into() };
            }
        },
        StreamRequest::Batch { batch } => StreamAnswer::Batch { result: run_batch(connection, batch) },
        StreamRequest::Close => StreamAnswer::Close,
    };
    StreamResult::Ok { response }
}

fn run_batch(connection: &Arc<Connection>, batch: &Batch) -> BatchResult {
    let mut so_far = BatchResult::default();
    for step in &batch.steps {
        let runs = step.condition.as_ref().is_none_or(|condition| condition.holds(&so_far, connection));
        let (result, error) = match runs.then(|| execute(connection, &step.stmt)) {
            None => (None, None),
            Some(Ok(result)) => (Some(result), None),
            Some(Err(error)) => (None, Some(error.into())),
        };
        so_far.step_results.push(result);
        so_far.step_errors.push(error);
    }
    so_far
}

fn execute(connection: &Arc<Connection>, stmt: &Stmt) -> Result<ExecuteResult, LimboError> {
    let executed = store::execute(connection, &stmt.statement())?;
    Ok(ExecuteResult::new(executed, stmt.want_rows))
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
