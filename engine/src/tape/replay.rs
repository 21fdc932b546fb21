//! Runs planned statements on Synced's local tail.
//!
//! If the target refuses a statement because of its content (a constraint, a missing column, a name in use),
//! the replay skips and returns it, so that no client is blocked. Every other error ends the replay.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;

use turso_core::{Connection, LimboError};

use super::plan::{Refusal, Step};
use super::statements::Statement;

/// The maximum number of cached prepared statements.
const PREPARED_MAX: usize = 64;

/// Runs steps on one connection, and caches their prepared statements until the schema changes.
pub(crate) struct Replayer<'a> {
    connection: &'a Arc<Connection>,
    prepared: BTreeMap<String, turso_core::Statement>,
}

impl<'a> Replayer<'a> {
    pub(crate) fn new(connection: &'a Arc<Connection>) -> Self {
        Self { connection, prepared: BTreeMap::new() }
    }

    /// Runs the steps, with their notes, in the open transaction.
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
        // A statement without arguments may change the schema, and rarely repeats.
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

/// Whether an error concerns the statement, not the machine.
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
