//! Turns the changes of local transactions into the statements that replay them on the remote's state, for
//! both rebase and push.
//!
//! The *target* is Synced as of its end. The planner keeps a model of the target's schema and applies every
//! planned change to it, so that each statement fits the tables at its place in the plan. The planner reads
//! rows of the target only to find conflicts. That costs a few queries per changed row, and none if the
//! remote is unchanged.
//!
//! Triggers do not fire for replayed rows, because their effects are already on the tape. The planner drops
//! the triggers of a changed table first. [`Planner::resume`] creates them again, within the same transaction
//! on the remote.

use std::collections::BTreeSet;
use std::sync::Arc;

use turso_core::{Connection, Value};

use super::change::{Change, RowChange, SchemaChange};
use super::record::Images;
use super::schema::{Object, ObjectKind, Schema, Table, folded, is_same_definition};
use super::statements::{Statement, TargetTable, drop_statement, quoted, tolerant_of_existing};
use super::{SCHEMA_TABLE, Transaction};
use crate::conflict::{Conflict, ConflictKind, Conflicts};
use crate::database;

/// A statement that the target refuses, and the reason.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) statement: Statement,
    pub(crate) message: String,
}

/// One statement of a plan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) statement: Statement,
    /// The note to record beside it on a database with a change log, because the core does not record the
    /// change.
    pub(crate) note: Option<Statement>,
}

/// Plans transactions in order.
pub(crate) struct Planner<'a> {
    connection: &'a Arc<Connection>,
    target: Schema,
    /// Whether the target may differ from the state on which the local changes were made.
    may_conflict: bool,
    /// Whether the plan creates a table that changed rows need and that the target does not have. If not,
    /// such a table counts as dropped by the remote, and its rows are skipped.
    makes_missing_tables: bool,
    /// Rows that were already compared with the target, or that a local transaction has already changed.
    seen: BTreeSet<String>,
    /// Triggers that are dropped and not created again yet.
    suspended: BTreeSet<String>,
    refusals: &'a [Refusal],
    transaction_no: u64,
    conflicts: Conflicts,
}

impl<'a> Planner<'a> {
    /// Starts with the target as `connection` sees it. Statements among `refusals` are skipped and reported.
    pub(crate) fn new(
        connection: &'a Arc<Connection>,
        may_conflict: bool,
        refusals: &'a [Refusal],
    ) -> turso_core::Result<Self> {
        Ok(Self {
            connection,
            target: Schema::read(connection, SCHEMA_TABLE)?,
            may_conflict,
            makes_missing_tables: false,
            seen: BTreeSet::new(),
            suspended: BTreeSet::new(),
            refusals,
            transaction_no: 0,
            conflicts: Conflicts::default(),
        })
    }

    /// Reads the target's schema again, after the planned statements have run on it.
    pub(crate) fn reread_target(&mut self) -> turso_core::Result<()> {
        self.target = Schema::read(self.connection, SCHEMA_TABLE)?;
        Ok(())
    }

    /// Makes the planner create tables that changed rows need and that the target does not have. This is
    /// right if the target has lost the transactions that created them.
    pub(crate) fn set_makes_missing_tables(&mut self) {
        self.makes_missing_tables = true;
    }

    /// Returns the statements that replay a transaction.
    pub(crate) fn plan(&mut self, transaction: &Transaction) -> turso_core::Result<Vec<Step>> {
        self.transaction_no = transaction.no;
        let mut steps = Vec::new();
        for change in &transaction.changes {
            match change {
                Change::Row(change) => self.plan_row(change, &mut steps)?,
                Change::Schema(change) => self.plan_schema(change, &mut steps),
            }
        }
        Ok(steps)
    }

    /// Returns the statements that create the suspended triggers again. They must run after all statements
    /// that change rows.
    pub(crate) fn resume(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for name in std::mem::take(&mut self.suspended) {
            let Some(trigger) = self.target.object(ObjectKind::Trigger, &name).cloned() else { continue };
            if self.target.has_table_or_view(&trigger.table) {
                self.step(&mut steps, Statement::bare(trigger.sql), None);
            } else {
                self.target.remove_object(&name);
                self.report(&trigger.name, Vec::new(), ConflictKind::TableGone);
            }
        }
        steps
    }

    /// Returns the target's planned triggers, for the guard of a request; `None` if there are none.
    pub(crate) fn triggers(&self) -> Option<String> {
        let triggers: Vec<String> = self
            .target
            .objects(ObjectKind::Trigger)
            .map(|trigger| format!("{}{}", trigger.name, trigger.sql))
            .collect();
        (!triggers.is_empty()).then(|| triggers.join("\n"))
    }

    /// Whether the target will have a table or a view of this name.
    pub(crate) fn has_table_or_view(&self, name: &str) -> bool {
        self.target.has_table_or_view(name)
    }

    /// Takes the conflicts found since the last call.
    pub(crate) fn take_conflicts(&mut self) -> Conflicts {
        std::mem::take(&mut self.conflicts)
    }

    /// Appends a statement to the plan, unless the target is known to refuse it.
    fn step(&mut self, steps: &mut Vec<Step>, statement: Statement, note: Option<Statement>) {
        match self.refusals.iter().find(|refusal| refusal.statement == statement) {
            None => steps.push(Step { statement, note }),
            Some(refusal) => self.report_refusal(refusal),
        }
    }

    fn report_refusal(&mut self, refusal: &Refusal) {
        self.conflicts.add(refusal.conflict(self.transaction_no));
    }

    fn report(&mut self, table: &str, row: Vec<(String, Value)>, kind: ConflictKind) {
        let (transaction_no, table) = (self.transaction_no, table.to_owned());
        self.conflicts.add(Conflict { transaction_no, table, row, kind });
    }

    // --- rows --------------------------------------------------------------------------------------------------------

    fn plan_row(&mut self, change: &RowChange, steps: &mut Vec<Step>) -> turso_core::Result<()> {
        if self.makes_missing_tables && self.target.table(&change.table.name).is_none() {
            let (name, sql) = (change.table.name.clone(), change.table.sql.clone());
            self.plan_schema(&SchemaChange::CreateTable { name, sql }, steps);
        }
        let Some(table) = self.target.table(&change.table.name).cloned() else {
            self.report(&change.table.name, row_key(&change.table, &change.images), ConflictKind::TableGone);
            return Ok(());
        };
        self.suspend_triggers(&table, steps);
        let target = TargetTable::new(&change.table, &table);
        self.report_missing_columns(&target, change);
        if self.may_conflict
            && let Some(as_read) = table.as_read()
        {
            let uniques = self.target.unique_keys(&table);
            self.report_conflicts(&target.as_read(&as_read), &uniques, change)?;
        }
        for statement in target.replay(change) {
            self.step(steps, statement, None);
        }
        Ok(())
    }

    fn suspend_triggers(&mut self, table: &Table, steps: &mut Vec<Step>) {
        let is_active = |trigger: &&Object| !self.suspended.contains(&folded(&trigger.name));
        let triggers: Vec<String> = self
            .target
            .objects_of(ObjectKind::Trigger, &table.name)
            .filter(is_active)
            .map(|trigger| trigger.name.clone())
            .collect();
        for trigger in triggers {
            self.step(steps, drop_statement("TRIGGER", &trigger), None);
            self.suspended.insert(folded(&trigger));
        }
    }

    fn report_missing_columns(&mut self, target: &TargetTable<'_>, change: &RowChange) {
        for index in target.missing() {
            let column = &change.table.columns[index].name;
            let is_set = match &change.images {
                Images::Insert { after } | Images::Update { after, new_values: None, .. } => {
                    !matches!(after[index], Value::Null)
                }
                Images::Update { new_values: Some(values), .. } => {
                    values.get(index).is_some_and(Option::is_some)
                }
                Images::Delete { .. } => false,
            };
            if is_set && !target.table.has_column(column) {
                let kind = ConflictKind::ColumnGone { column: column.clone() };
                self.report(&change.table.name, row_key(&change.table, &change.images), kind);
            }
        }
    }

    /// Compares the state on which a change was made with the target's state, and reports the differences as
    /// conflicts.
    fn report_conflicts(
        &mut self,
        target: &TargetTable<'_>,
        uniques: &[Vec<usize>],
        change: &RowChange,
    ) -> turso_core::Result<()> {
        match &change.images {
            Images::Insert { after } => {
                self.report_taken_key(target, change, after, None)?;
                self.report_taken_unique(target, uniques, change, after, |_| true)
            }
            // The row's previous content is not recorded.
            Images::Update { after, new_values: None, .. } => {
                self.note_seen(target, change, after);
                Ok(())
            }
            Images::Update { before, after, new_values: Some(values) } => {
                let mut own = None;
                if self.note_seen(target, change, before) {
                    own = self.find(&target.select(before, change.rowid))?;
                    let kind = match &own {
                        None => Some(ConflictKind::RowGone),
                        Some(found) => is_other(target, before, found).then_some(ConflictKind::RowChanged),
                    };
                    if let Some(kind) = kind {
                        self.report(&change.table.name, row_key(&change.table, &change.images), kind);
                    }
                }
                self.report_taken_key(target, change, after, own)?;
                let is_set = |column| {
                    target
                        .recorded(column)
                        .is_some_and(|index| values.get(index).is_some_and(Option::is_some))
                };
                self.report_taken_unique(target, uniques, change, after, is_set)
            }
            Images::Delete { before } => {
                if self.note_seen(target, change, before)
                    && let Some(found) = self.find(&target.select(before, change.rowid))?
                    && is_other(target, before, &found)
                {
                    let row = row_key(&change.table, &change.images);
                    self.report(&change.table.name, row, ConflictKind::RowChanged);
                }
                Ok(())
            }
        }
    }

    /// Notes that a local transaction changes a row, and returns whether this is the row's first change. Only
    /// the first change is compared with the target, because the later ones were made on its result.
    fn note_seen(&mut self, target: &TargetTable<'_>, change: &RowChange, image: &[Value]) -> bool {
        let table = &change.table.name;
        self.seen.insert(match target.key(image) {
            Some(key) => row_id(table, key.into_iter().map(|(_, value)| value)),
            None => format!("{table} #{}", change.rowid),
        })
    }

    /// Reports a conflict if the target already has a row under the new key, with other content. Under some
    /// collations the query for the new key finds the changed row itself, which still has its earlier key.
    /// `own` is that row, and it is no conflict.
    fn report_taken_key(
        &mut self,
        target: &TargetTable<'_>,
        change: &RowChange,
        after: &[Value],
        own: Option<Vec<Value>>,
    ) -> turso_core::Result<()> {
        let is_new = self.note_seen(target, change, after);
        if is_new
            && target.key(after).is_some()
            && let Some(found) = self.find(&target.select(after, change.rowid))?
            && is_other(target, after, &found)
            && own.is_none_or(|own| own != found)
        {
            self.report(&change.table.name, row_key(&change.table, &change.images), ConflictKind::RowExists);
        }
        Ok(())
    }

    /// Reports a conflict if another row of the target holds a value that must be unique.
    fn report_taken_unique(
        &mut self,
        target: &TargetTable<'_>,
        uniques: &[Vec<usize>],
        change: &RowChange,
        after: &[Value],
        is_set: impl Fn(usize) -> bool,
    ) -> turso_core::Result<()> {
        for unique in uniques {
            if !unique.iter().any(|column| is_set(*column)) {
                continue;
            }
            let Some(query) = target.select_holder(unique, after) else { continue };
            let Some(holder) = self.find(&query)? else { continue };
            let is_seen = match target.key(after) {
                Some(_) => self.seen.contains(&row_id(&change.table.name, holder.iter())),
                None => true,
            };
            if !is_seen {
                let columns =
                    unique.iter().map(|column| target.table.columns[*column].name.clone()).collect();
                let row = row_key(&change.table, &change.images);
                self.report(&change.table.name, row, ConflictKind::UniqueTaken { columns });
            }
        }
        Ok(())
    }

    fn find(&self, query: &Statement) -> turso_core::Result<Option<Vec<Value>>> {
        let rows = database::run(self.connection, &query.sql, &query.args)?;
        Ok(rows.into_iter().next())
    }

    // --- the schema --------------------------------------------------------------------------------------------------

    fn plan_schema(&mut self, change: &SchemaChange, steps: &mut Vec<Step>) {
        match change {
            SchemaChange::CreateTable { name, sql } => {
                match self.target.table(name).map(|table| is_same_definition(&table.sql, sql)) {
                    None => self.plan_change(change, tolerant_of_existing(sql), steps),
                    Some(true) => {}
                    Some(false) => self.report(name, Vec::new(), ConflictKind::OtherDefinition),
                }
            }
            SchemaChange::DropTable { name } => {
                if self.target.table(name).is_some() {
                    self.plan_change(change, drop_statement("TABLE", name).sql, steps);
                }
            }
            SchemaChange::CreateIndex { name, table, sql } => {
                let existing = self.target.object(ObjectKind::Index, name);
                match existing.map(|index| is_same_definition(&index.sql, sql)) {
                    None if self.target.table(table).is_none() => {
                        self.report(name, Vec::new(), ConflictKind::TableGone);
                    }
                    None => self.plan_change(change, tolerant_of_existing(sql), steps),
                    Some(true) => {}
                    Some(false) => self.report(name, Vec::new(), ConflictKind::OtherDefinition),
                }
            }
            SchemaChange::DropIndex { name } => {
                if self.target.object(ObjectKind::Index, name).is_some() {
                    self.plan_change(change, drop_statement("INDEX", name).sql, steps);
                }
            }
            SchemaChange::AddColumn { table, .. }
            | SchemaChange::DropColumn { table, .. }
            | SchemaChange::RenameColumn { table, .. }
            | SchemaChange::RedefineColumn { table, .. }
            | SchemaChange::Other { table, .. } => match self.target.table(table).cloned() {
                None => self.report(table, Vec::new(), ConflictKind::TableGone),
                Some(table) => self.plan_alteration(change, &table, steps),
            },
            SchemaChange::RenameTable { from, to } => self.plan_rename(change, from, to, steps),
            SchemaChange::CreateView { name, sql } => {
                if self.make_room(ObjectKind::View, name, sql, steps) {
                    self.plan_change(change, sql.clone(), steps);
                }
            }
            SchemaChange::DropView { name } => {
                if self.target.object(ObjectKind::View, name).is_some() {
                    self.plan_change(change, drop_statement("VIEW", name).sql, steps);
                }
            }
            SchemaChange::CreateTrigger { name, sql, .. } => {
                if self.make_room(ObjectKind::Trigger, name, sql, steps) {
                    // Here the plan only drops an existing trigger of this name. The new trigger must not
                    // fire for replayed rows, so `resume` creates it after all rows.
                    self.plan_change(change, drop_statement("TRIGGER", name).sql, steps);
                    self.suspended.insert(folded(name));
                }
            }
            SchemaChange::DropTrigger { name } => {
                if self.target.object(ObjectKind::Trigger, name).is_some() {
                    self.plan_change(change, drop_statement("TRIGGER", name).sql, steps);
                }
            }
        }
    }

    /// Plans a schema change that the target needs, and applies it to the model of the target.
    fn plan_change(&mut self, change: &SchemaChange, sql: String, steps: &mut Vec<Step>) {
        let before = steps.len();
        self.step(steps, Statement::bare(sql), change.note());
        if steps.len() > before {
            self.target.apply(change);
        }
    }

    fn plan_alteration(&mut self, change: &SchemaChange, table: &Table, steps: &mut Vec<Step>) {
        let name = quoted(&table.name);
        let has = |column: &str| table.has_column(column);
        match change {
            SchemaChange::AddColumn { column, sql, .. } if !has(column) => {
                self.plan_change(change, sql.clone(), steps);
            }
            SchemaChange::DropColumn { column, .. } if has(column) => {
                let sql = format!("ALTER TABLE {name} DROP COLUMN {}", quoted(column));
                self.plan_change(change, sql, steps);
            }
            SchemaChange::RenameColumn { from, to, .. } => match (has(from), has(to)) {
                // Names that differ only in case are equal.
                (true, there) if !there || from.eq_ignore_ascii_case(to) => {
                    let sql = format!("ALTER TABLE {name} RENAME COLUMN {} TO {}", quoted(from), quoted(to));
                    self.plan_change(change, sql, steps);
                }
                (true, _) => self.report(&table.name, Vec::new(), ConflictKind::OtherDefinition),
                (false, true) => {}
                (false, false) => {
                    let kind = ConflictKind::ColumnGone { column: from.clone() };
                    self.report(&table.name, Vec::new(), kind);
                }
            },
            SchemaChange::RedefineColumn { column, definition, .. } if has(column) => {
                let sql = format!("ALTER TABLE {name} ALTER COLUMN {} TO {definition}", quoted(column));
                self.plan_change(change, sql, steps);
            }
            SchemaChange::Other { sql, .. } => self.plan_change(change, sql.clone(), steps),
            // The target already has this state.
            _ => {}
        }
    }

    fn plan_rename(&mut self, change: &SchemaChange, from: &str, to: &str, steps: &mut Vec<Step>) {
        match (self.target.table(from).is_some(), self.target.table(to).is_some()) {
            (true, there) if !there || from.eq_ignore_ascii_case(to) => {
                self.plan_change(
                    change,
                    format!("ALTER TABLE {} RENAME TO {}", quoted(from), quoted(to)),
                    steps,
                );
            }
            (true, _) => self.report(to, Vec::new(), ConflictKind::OtherDefinition),
            (false, true) => {}
            (false, false) => self.report(from, Vec::new(), ConflictKind::TableGone),
        }
    }

    /// Drops an existing view or trigger of this name. Returns whether the new one must be created: `false`
    /// if the existing one is identical.
    fn make_room(&mut self, kind: ObjectKind, name: &str, sql: &str, steps: &mut Vec<Step>) -> bool {
        let Some(existing) = self.target.object(kind, name) else { return true };
        if is_same_definition(&existing.sql, sql) {
            return false;
        }
        let kind = if kind == ObjectKind::View { "VIEW" } else { "TRIGGER" };
        self.step(steps, drop_statement(kind, name), None);
        self.report(name, Vec::new(), ConflictKind::OtherDefinition);
        true
    }
}

impl Refusal {
    /// Builds the conflict report.
    pub(crate) fn conflict(&self, transaction_no: u64) -> Conflict {
        let (sql, message) = (self.statement.sql.clone(), self.message.clone());
        let kind = ConflictKind::Refused { sql, message };
        Conflict { transaction_no, table: String::new(), row: Vec::new(), kind }
    }
}

fn is_other(target: &TargetTable<'_>, image: &[Value], found: &[Value]) -> bool {
    let values: Vec<&Value> = target.columns_and_values(image).into_iter().map(|(_, value)| value).collect();
    values.len() != found.len() || values.into_iter().zip(found).any(|(value, found)| value != found)
}

fn row_id<'v>(table: &str, key: impl Iterator<Item = &'v Value>) -> String {
    let key: Vec<String> = key.map(|value| format!("{value:?}")).collect();
    format!("{table} {}", key.join(" "))
}

/// The key of a changed row for a report, as local column names with values; all values if there is no key.
fn row_key(table: &Table, images: &Images) -> Vec<(String, Value)> {
    let image = images.earlier();
    let all: Vec<usize> = (0..table.columns.len()).collect();
    let columns = if table.key.is_empty() { &all } else { &table.key };
    columns.iter().map(|&index| (table.columns[index].name.clone(), image[index].clone())).collect()
}
