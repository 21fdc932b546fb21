//! Runs a transaction's writes on a connection.

use crate::schedule::workload::own::{self, OwnState};
use crate::schedule::workload::write::{Planned, alter, plan, rule};
use std::collections::BTreeSet;

use crate::schedule::workload::shapes::{RanStatement, shapes_of};
use crate::schedule::workload::{Effect, Write, Writer};
use crate::world::sql::Sql;

/// The result of running a transaction's body.
#[derive(Debug, Clone, Default)]
pub struct Ran {
    /// The effects on the rows, in order.
    pub effects: Vec<Effect>,
    /// The shapes of its statements, by name.
    pub shapes: BTreeSet<&'static str>,
}

/// Runs the writes of a transaction's body on a connection. Inserts a row into `log` first, unless the first
/// write is of a kind that leaves `log` alone.
///
/// # Errors
/// The error of the first statement that fails.
pub fn run_writes<S: Sql>(
    connection: &S,
    writer: Writer,
    step: u32,
    writes: &[Write],
) -> Result<Ran, S::Error> {
    let mut query = |sql: &str| connection.rows(sql);
    let mut ran = Ran::default();
    let leaves_log_alone = matches!(writes.first(), Some(Write::Quiet | Write::Void { .. }));
    let first = (!leaves_log_alone).then_some(Write::Append { payload_bytes: 0 });
    for (index, write) in first.iter().chain(writes).enumerate() {
        if leaves_log_alone && matches!(write, Write::Append { .. }) {
            continue;
        }
        let token = format!("{writer}.{step}.{index}");
        let planned = match write {
            Write::Own(change) => {
                let state = OwnState::read(writer, &mut query)?;
                let statements = change.statements(writer, &token, &state).into_iter();
                statements.map(|sql| Planned::always(sql, Vec::new())).collect()
            }
            Write::Widen { .. } | Write::Narrow { .. } => alter(writer, *write, &token, &mut query)?,
            Write::Rule => rule(&mut query)?.into_iter().collect(),
            write => plan(writer, *write, &token),
        };
        for planned in planned {
            let finds_row = match &planned.finds {
                None => true,
                Some(sql) => !query(sql)?.is_empty(),
            };
            connection.execute(&planned.sql)?;
            if finds_row {
                let statement = RanStatement { write, sql: &planned.sql };
                ran.shapes.extend(shapes_of(writer.into(), statement).map(|shape| shape.name));
                ran.effects.extend(planned.effects);
            }
        }
        if matches!(write, Write::Own(_)) {
            let prefix = own::prefix(writer);
            let rows = own::contents(&prefix, &mut query)?;
            ran.effects.push(Effect::Replaced { prefix, rows });
        }
    }
    Ok(ran)
}
