//! Runs planned statements on Synced's local tail.
//!
//! What the target refuses for what it is (a constraint, a column that is not there, a name that is taken) is left out and handed
//! back, so that nobody is stuck with it; every other error ends the replay.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;

use turso_core::{Connection, LimboError};

use super::plan::{Refusal, Step};
use super::statements::Statement;

/// How many prepared statements are kept.
const PREPARED_MAX: usize = 64;

/// Runs steps on one connection, and keeps their statements prepared as long as the schema stays.
pub(crate) struct Replayer<'a> {
    connection: &'a Arc<Connection>,
    prepared: BTreeMap<String, turso_core::Statement>,
}

impl<'a> Replayer<'a> {
    pub(crate) fn new(connection: &'a Arc<Connection>) -> Self {
        Self { connection, prepared: BTreeMap::new() }
    }

    /// Runs the steps, with their notes, in the transaction that is open.
    pub(crate) fn run(&mut self, steps: &[Step]) -> turso_core::Result<Vec<Refusal>> {
        let mut refusals = Vec::new();
        for step in steps {
            match self.execute(&step.statement) {
                Ok(()) => {
                    if let Some(note) = &step.note {
                        self.execute(note)?;
                    }
                }
                Err(error) if is_refusal(&error) => {
                    let (statement, message) = (step.statement.clone(), error.to_string());
                    refusals.push(Refusal { statement, message });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(refusals)
    }

    fn execute(&mut self, statement: &Statement) -> turso_core::Result<()> {
        // A statement without arguments may change the schema, and is seldom one of many.
        if statement.args.is_empty() {
            self.prepared.clear();
            return self.connection.prepare(&statement.sql)?.run_ignore_rows();
        }
        if self.prepared.len() >= PREPARED_MAX {
            self.prepared.clear();
        }
        if !self.prepared.contains_key(&statement.sql) {
            self.prepared.insert(statement.sql.clone(), self.connection.prepare(&statement.sql)?);
        }
        let Some(prepared) = self.prepared.get_mut(&statement.sql) else { return Ok(()) };
        prepared.reset()?;
        for (index, value) in (1..).zip(&statement.args) {
            let index =
                NonZero::new(index).ok_or_else(|| LimboError::InvalidArgument("parameter 0".into()))?;
            prepared.bind_at(index, value.clone())?;
        }
        let outcome = prepared.run_ignore_rows();
        if outcome.is_err() {
            self.prepared.remove(&statement.sql);
        }
        outcome
    }
}

/// Whether an error says something about the statement and not about the machine.
fn is_refusal(error: &LimboError) -> bool {
    matches!(
        error,
        LimboError::Constraint(_)
            | LimboError::ForeignKeyConstraint(_)
            | LimboError::Raise(..)
            | LimboError::ParseError(_)
            | LimboError::LexerError(_)
            | LimboError::SqlError(_)
            | LimboError::PlanningError(_)
            | LimboError::TooBig
            | LimboError::IntegerOverflow
    )
}
