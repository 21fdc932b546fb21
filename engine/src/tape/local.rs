//! Follows Draft's schema along the tape, from the base of the last rebase to the present.
//!
//! The core records the creation and removal of tables and indexes, and added and dropped columns. The
//! engine's connections record the other changes beside them (`note`). Changes made in another way are not
//! recorded and are found by comparison: a renamed table keeps its root page, and a renamed column keeps its
//! position. The rename is placed on the tape before the first record that uses the new name. A change that
//! no record shows is placed at the tape's end.
//!
//! The core records a temporary table like a table of the database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use turso_core::{Connection, Value};
use turso_parser::ast::{AlterTableBody, Stmt};

use super::bookmark::Bookmark;
use super::change::{Change, RowChange, SCHEMA_CHANGE_TABLE, SchemaChange};
use super::record::{Images, RecordedChange, corrupt};
use super::schema::{Object, ObjectKind, Schema, SchemaRow, Table, folded, is_same_definition, parse};
use super::statements::quoted;
use super::{SCHEMA_TABLE, is_internal};
use crate::database;

/// The reason why a tape cannot be read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// The error of the core.
    Core(turso_core::LimboError),
    /// The tape holds rows of a table under a name that differs from both its earlier and its present name.
    UnknownTable(String),
}

impl From<turso_core::LimboError> for Unreadable {
    fn from(error: turso_core::LimboError) -> Self {
        Self::Core(error)
    }
}

/// One sighting of a table under a name: in the `record`-th record, or in the present schema.
struct Sighting {
    record: usize,
    name: String,
    is_creation: bool,
}

/// The local schema as of a place on the tape.
pub(super) struct LocalSchema {
    schema: Arc<Schema>,
    current: Schema,
    /// The sightings by root page, in the order of records; the present schema comes last.
    sightings: BTreeMap<i64, Vec<Sighting>>,
    /// The names of temporary tables. A temporary table that outlives a rebase has records without a recorded
    /// creation.
    temporary: BTreeSet<String>,
    /// The current record.
    record: usize,
}

impl LocalSchema {
    /// Starts at `start`. `records` are all following records of the change log.
    pub(super) fn new<'a>(
        start: &Bookmark,
        current: Schema,
        records: impl Iterator<Item = Option<&'a RecordedChange>>,
    ) -> Self {
        let mut sightings: BTreeMap<i64, Vec<Sighting>> = BTreeMap::new();
        let mut see = |root_page, sighting| sightings.entry(root_page).or_default().push(sighting);
        for (record, change) in records.enumerate() {
            let Some(change) = change.filter(|change| change.table == SCHEMA_TABLE) else { continue };
            if let Some(row) = SchemaRow::decode(change.images.earlier()).filter(|row| row.kind == "table") {
                let is_creation = matches!(change.images, Images::Insert { .. });
                see(row.root_page, Sighting { record, name: row.name, is_creation });
            }
        }
        for table in current.tables() {
            let sighting = Sighting { record: usize::MAX, name: table.name.clone(), is_creation: false };
            see(table.root_page, sighting);
        }
        let Bookmark { schema, temporary, .. } = start.clone();
        Self { schema, current, sightings, temporary, record: 0 }
    }

    /// Processes the next record and appends the resulting changes.
    pub(super) fn take(
        &mut self,
        change: &RecordedChange,
        changes: &mut Vec<Change>,
    ) -> Result<(), Unreadable> {
        self.record = change.record;
        if change.table == SCHEMA_TABLE {
            self.take_schema_record(&change.images, changes)
        } else if change.table == SCHEMA_CHANGE_TABLE {
            if let Images::Insert { after } = &change.images {
                self.take_note(SchemaChange::from_note(after)?, changes);
            }
            Ok(())
        } else if is_internal(&change.table) {
            Ok(())
        } else {
            self.take_row(change, changes)
        }
    }

    fn take_row(&mut self, change: &RecordedChange, changes: &mut Vec<Change>) -> Result<(), Unreadable> {
        let values = change.images.earlier().len();
        if !self.knows(&change.table, Some(values), changes)? {
            return Ok(());
        }
        let Some(table) = self.schema.table(&change.table) else { return Ok(()) };
        if table.columns.len() != values {
            let columns = table.columns.len();
            let problem = format!("a row of {values} values for {}, which has {columns} columns", table.name);
            return Err(corrupt(&problem).into());
        }
        changes.push(Change::Row(RowChange {
            table: table.clone(),
            rowid: change.rowid,
            images: change.images.clone(),
        }));
        Ok(())
    }

    /// Whether Draft holds the row of a record now, under its table's present name. The result does not
    /// matter for a table that no longer exists.
    pub(super) fn has_row_now(
        &self,
        connection: &Arc<Connection>,
        change: &RecordedChange,
    ) -> turso_core::Result<bool> {
        let now = match self.schema.table(&change.table) {
            Some(then) => self.current.table_at(then.root_page),
            // The transaction that created the table is the current one.
            None => self.current.table(&change.table),
        };
        let Some((table, row_number)) = now.and_then(|table| Some((table, table.rowid_name()?))) else {
            return Ok(true);
        };
        let sql = format!("SELECT 1 FROM {} WHERE {row_number} = ?", quoted(&table.name));
        Ok(!database::run(connection, &sql, &[Value::from_i64(change.rowid)])?.is_empty())
    }

    /// Whether there is a table or a temporary table of this name. A rename may have to be recorded first.
    fn knows(
        &mut self,
        name: &str,
        values: Option<usize>,
        changes: &mut Vec<Change>,
    ) -> Result<bool, Unreadable> {
        if self.temporary.contains(&folded(name)) {
            return Ok(false);
        }
        if self.schema.table(name).is_some() {
            return Ok(true);
        }
        let renamed: Vec<(String, String)> = self
            .schema
            .tables()
            .filter_map(|table| {
                let next = self.next_name(table.root_page)?;
                (!next.eq_ignore_ascii_case(&table.name)).then(|| (table.name.clone(), next.to_owned()))
            })
            .collect();
        let by_name = renamed.iter().find(|(_, next)| next.eq_ignore_ascii_case(name));
        // A name that a table had only between two renames is in no sighting. It belongs to the only renamed
        // table that fits.
        let by_elimination = || {
            let fits = |(from, _): &&(String, String)| {
                let columns = self.schema.table(from).map(|table| table.columns.len());
                values.is_none() || columns == values
            };
            let mut fitting = renamed.iter().filter(fits);
            let only = fitting.next()?;
            fitting.next().is_none().then_some(only)
        };
        match by_name.or_else(by_elimination) {
            Some((from, _)) => {
                self.apply(SchemaChange::RenameTable { from: from.clone(), to: name.to_owned() }, changes);
                Ok(true)
            }
            None => Err(Unreadable::UnknownTable(name.to_owned())),
        }
    }

    /// The next name under which a table occurs; `None` if there is none.
    fn next_name(&self, root_page: i64) -> Option<&str> {
        let sightings = self.sightings.get(&root_page)?;
        let next = sightings.iter().find(|sighting| sighting.record > self.record)?;
        (!next.is_creation).then_some(next.name.as_str())
    }

    fn take_schema_record(&mut self, images: &Images, changes: &mut Vec<Change>) -> Result<(), Unreadable> {
        let Some(row) = SchemaRow::decode(images.earlier()) else { return Ok(()) };
        let temporary = folded(&row.table);
        match (row.kind.as_str(), images) {
            ("table", Images::Insert { .. }) => self.create_table(row, changes),
            // The root page of a temporary table is unrelated to the pages of the database.
            ("table", Images::Delete { .. }) if self.temporary.remove(&temporary) => {}
            _ if self.temporary.contains(&temporary) => {}
            ("table", Images::Update { after, new_values, .. }) => {
                let Some(after) = SchemaRow::decode(after) else { return Ok(()) };
                let sql = new_values.as_ref().and_then(|values| values.last()?.as_ref()?.to_text());
                self.alter_table(&row, &after, sql.unwrap_or_default(), changes);
            }
            ("table", Images::Delete { .. }) => self.drop_table(&row, changes),
            ("index", Images::Insert { .. }) => self.create_index(row, changes)?,
            ("index", Images::Delete { .. }) => self.drop_index(row, changes),
            _ => {}
        }
        Ok(())
    }

    fn create_table(&mut self, row: SchemaRow, changes: &mut Vec<Change>) {
        let is_seen_again = self.next_name(row.root_page).is_some();
        if self.schema.table_at(row.root_page).is_some() || !is_seen_again {
            // Two tables of one database do not share a page, and a table does not vanish.
            self.temporary.insert(folded(&row.name));
            return;
        }
        self.temporary.remove(&folded(&row.name));
        let renamed_away = self.schema.table(&row.name).and_then(|table| {
            self.next_name(table.root_page).filter(|next| !next.eq_ignore_ascii_case(&row.name))
        });
        if let Some(to) = renamed_away.map(str::to_owned) {
            self.apply(SchemaChange::RenameTable { from: row.name.clone(), to }, changes);
        }
        let schema = Arc::make_mut(&mut self.schema);
        schema.remove_table(&row.name);
        schema.add(&row);
        changes.push(Change::Schema(SchemaChange::CreateTable { name: row.name, sql: row.sql }));
    }

    fn create_index(&mut self, row: SchemaRow, changes: &mut Vec<Change>) -> Result<(), Unreadable> {
        if self.knows(&row.table, None, changes)? {
            let (name, table, sql) = (row.name, row.table, row.sql);
            self.apply(SchemaChange::CreateIndex { name, table, sql }, changes);
        }
        Ok(())
    }

    fn drop_index(&mut self, row: SchemaRow, changes: &mut Vec<Change>) {
        if self.schema.object(ObjectKind::Index, &row.name).is_some() {
            self.apply(SchemaChange::DropIndex { name: row.name }, changes);
        }
    }

    /// Records new names of a table and its columns before the record that shows them. Returns `false` for a
    /// temporary table.
    fn catch_up(&mut self, row: &SchemaRow, changes: &mut Vec<Change>) -> bool {
        let Some(known) = self.schema.table_at(row.root_page) else { return false };
        if !known.name.eq_ignore_ascii_case(&row.name) {
            let from = known.name.clone();
            self.apply(SchemaChange::RenameTable { from, to: row.name.clone() }, changes);
        }
        if let Some(shown) = Table::parse(&row.name, row.root_page, &row.sql) {
            for change in self.renamed_columns(&shown) {
                self.apply(change, changes);
            }
        }
        true
    }

    /// The columns whose name or type has changed.
    fn renamed_columns(&self, shown: &Table) -> Vec<SchemaChange> {
        let Some(known) = self.schema.table(&shown.name) else { return Vec::new() };
        if known.columns.len() != shown.columns.len() {
            return Vec::new();
        }
        let table = &shown.name;
        let mut changes = Vec::new();
        for (known, shown_column) in known.columns.iter().zip(&shown.columns) {
            if known.name != shown_column.name {
                changes.push(SchemaChange::RenameColumn {
                    table: table.clone(),
                    from: known.name.clone(),
                    to: shown_column.name.clone(),
                });
            }
            if known.declared_type != shown_column.declared_type
                && let Some(definition) = shown.definition_of(&shown_column.name)
            {
                changes.push(SchemaChange::RedefineColumn {
                    table: table.clone(),
                    column: shown_column.name.clone(),
                    definition,
                });
            }
        }
        let computed = known.computed.iter().zip(&shown.computed);
        let is_one_to_one = known.computed.len() == shown.computed.len();
        for (from, to) in computed.filter(|(from, to)| is_one_to_one && from != to) {
            let (table, from, to) = (table.clone(), from.clone(), to.clone());
            changes.push(SchemaChange::RenameColumn { table, from, to });
        }
        changes
    }

    fn alter_table(&mut self, before: &SchemaRow, after: &SchemaRow, sql: &str, changes: &mut Vec<Change>) {
        if !self.catch_up(before, changes) {
            return;
        }
        let table = before.name.clone();
        let change = match parse(sql) {
            Some(Stmt::AlterTable(alter)) => match alter.body {
                AlterTableBody::AddColumn(definition) => {
                    let column = definition.col_name.as_str().to_owned();
                    SchemaChange::AddColumn { table, column, sql: sql.to_owned() }
                }
                AlterTableBody::DropColumn(column) => {
                    SchemaChange::DropColumn { table, column: column.as_str().to_owned() }
                }
                _ => SchemaChange::Other { table, sql: sql.to_owned() },
            },
            _ => SchemaChange::Other { table, sql: sql.to_owned() },
        };
        Arc::make_mut(&mut self.schema).add(after);
        changes.push(Change::Schema(change));
    }

    fn drop_table(&mut self, row: &SchemaRow, changes: &mut Vec<Change>) {
        if self.catch_up(row, changes) {
            self.apply(SchemaChange::DropTable { name: row.name.clone() }, changes);
        }
    }

    /// Applies a recorded change, unless an earlier record has already shown it.
    fn take_note(&mut self, note: SchemaChange, changes: &mut Vec<Change>) {
        let is_known = match &note {
            SchemaChange::RenameTable { from, .. } => self.schema.table(from).is_none(),
            SchemaChange::RenameColumn { table, from, .. } => {
                self.schema.table(table).is_none_or(|table| !table.has_column(from))
            }
            _ => false,
        };
        if !is_known {
            self.apply(note, changes);
        }
    }

    /// Applies a change to the schema and appends it to the tape.
    fn apply(&mut self, change: SchemaChange, changes: &mut Vec<Change>) {
        Arc::make_mut(&mut self.schema).apply(&change);
        changes.push(Change::Schema(change));
    }

    /// The place after the processed records.
    pub(super) fn bookmark(&self, change_id: i64, no: u64) -> Bookmark {
        Bookmark { change_id, no, schema: self.schema.clone(), temporary: self.temporary.clone() }
    }

    /// Returns the differences from the present schema that no record shows.
    pub(super) fn difference_to_current(mut self) -> Vec<SchemaChange> {
        self.record = usize::MAX - 1;
        let mut changes = Vec::new();
        let current: Vec<Arc<Table>> = self.current.tables().cloned().collect();
        for table in &current {
            let row = SchemaRow {
                kind: "table".into(),
                name: table.name.clone(),
                table: table.name.clone(),
                root_page: table.root_page,
                sql: table.sql.clone(),
            };
            self.catch_up(&row, &mut changes);
        }
        let mut changes: Vec<SchemaChange> = changes
            .into_iter()
            .filter_map(|change| match change {
                Change::Schema(change) => Some(change),
                Change::Row(_) => None,
            })
            .collect();
        let is_stale = |of: &Schema, object: &Object| {
            of.object(object.kind, &object.name)
                .is_none_or(|other| !is_same_definition(&other.sql, &object.sql))
        };
        let (then, now) = (&self.schema, &self.current);
        let name = |object: &Object| object.name.clone();
        let gone = |kind| then.objects(kind).filter(|object| is_stale(now, object));
        let new = |kind| now.objects(kind).filter(|object| is_stale(then, object));
        let renames = std::mem::take(&mut changes);
        changes
            .extend(gone(ObjectKind::Trigger).map(|object| SchemaChange::DropTrigger { name: name(object) }));
        changes.extend(gone(ObjectKind::View).map(|object| SchemaChange::DropView { name: name(object) }));
        changes.extend(renames);
        changes.extend(
            new(ObjectKind::View)
                .map(|object| SchemaChange::CreateView { name: name(object), sql: object.sql.clone() }),
        );
        changes.extend(new(ObjectKind::Trigger).map(|object| SchemaChange::CreateTrigger {
            name: name(object),
            table: object.table.clone(),
            sql: object.sql.clone(),
        }));
        changes
    }
}

impl Schema {
    /// Applies a valid change. A change of a missing object does nothing.
    pub(super) fn apply(&mut self, change: &SchemaChange) {
        let mut add = |kind, name: &String, table: &String, sql: &String| {
            self.add_object(Object::new(kind, name, table, sql));
        };
        match change {
            SchemaChange::CreateTable { name, sql } => {
                let row = SchemaRow {
                    kind: "table".into(),
                    name: name.clone(),
                    table: name.clone(),
                    root_page: 0,
                    sql: sql.clone(),
                };
                self.add(&row);
            }
            SchemaChange::DropTable { name } => self.remove_table(name),
            SchemaChange::CreateIndex { name, table, sql } => add(ObjectKind::Index, name, table, sql),
            SchemaChange::CreateView { name, sql } => add(ObjectKind::View, name, name, sql),
            SchemaChange::CreateTrigger { name, table, sql } => add(ObjectKind::Trigger, name, table, sql),
            SchemaChange::DropIndex { name }
            | SchemaChange::DropView { name }
            | SchemaChange::DropTrigger { name } => self.remove_object(name),
            SchemaChange::AddColumn { table, sql, .. } => {
                if let Some(table) = self.table_mut(table)
                    && let Some(Stmt::AlterTable(alter)) = parse(sql)
                    && let AlterTableBody::AddColumn(definition) = alter.body
                {
                    table.add_column(&definition);
                }
            }
            SchemaChange::DropColumn { table, column } => {
                if let Some(table) = self.table_mut(table) {
                    table.remove_column(column);
                }
            }
            SchemaChange::RenameTable { from, to } => self.rename_table(from, to),
            SchemaChange::RenameColumn { table, from, to } => {
                if let Some(table) = self.table_mut(table) {
                    table.rename_column(from, to);
                }
            }
            SchemaChange::RedefineColumn { table, column, definition } => {
                let declared_type = Table::parse("t", 0, &format!("CREATE TABLE t ({definition})"))
                    .and_then(|parsed| parsed.columns.into_iter().next()?.declared_type);
                if let Some(table) = self.table_mut(table)
                    && let Some(position) = table.position(column)
                {
                    table.columns[position].declared_type = declared_type;
                }
            }
            SchemaChange::Other { .. } => {}
        }
    }
}
