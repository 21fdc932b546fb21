//! The SQL that replays the change of a row, the same for a rebase and for a push.
//!
//! Every statement is conditional on the rows that it finds, so that it is correct on a remote that has
//! changed meanwhile:
//! * An insert replaces every row that holds one of its unique keys.
//! * An update sets the columns that the statement set, on the row that had the key *before* the update. If
//!   that row is gone, the whole new row is inserted first.
//! * A delete removes the row that had the key.
//! * A row without a key, or with NULL in it, is identified by all its values, and among equal rows by its
//!   row number.

use turso_core::{Numeric, Value};

use super::change::RowChange;
use super::record::Images;
use super::schema::Table;

/// One statement with its arguments, numbered from 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) args: Vec<Value>,
}

impl Statement {
    pub(crate) fn bare(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), args: Vec::new() }
    }
}

/// Quotes an identifier for SQL.
pub(super) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// Returns the statement that drops an object if it exists.
pub(super) fn drop_statement(kind: &str, name: &str) -> Statement {
    Statement::bare(format!("DROP {kind} IF EXISTS {}", quoted(name)))
}

/// Returns the statement that creates an object, changed to do nothing if another client has created it
/// meanwhile. The core stores these statements in a normal form, but keeps an index's own `IF NOT EXISTS` and
/// removes a table's.
pub(super) fn tolerant_of_existing(sql: &str) -> String {
    const TOLERANT: &str = "IF NOT EXISTS ";
    for prefix in ["CREATE TABLE ", "CREATE INDEX ", "CREATE UNIQUE INDEX "] {
        if let Some(rest) = sql.strip_prefix(prefix) {
            let rest = rest.strip_prefix(TOLERANT).unwrap_or(rest);
            return format!("{prefix}{TOLERANT}{rest}");
        }
    }
    sql.to_owned()
}

/// Collects a statement's arguments.
#[derive(Default)]
struct Args(Vec<Value>);

impl Args {
    /// The SQL text for this value. JSON has no infinities, so they are SQL literals.
    fn place(&mut self, value: &Value) -> String {
        match value {
            Value::Numeric(Numeric::Float(float)) if f64::from(*float).is_infinite() => {
                if f64::from(*float) > 0.0 { "9e999" } else { "-9e999" }.to_owned()
            }
            value => {
                self.0.push(value.clone());
                format!("?{}", self.0.len())
            }
        }
    }

    fn into_statement(self, sql: String) -> Statement {
        Statement { sql, args: self.0 }
    }
}

/// A table of the target, together with the positions in it of the columns of recorded row changes.
pub(super) struct TargetTable<'a> {
    pub(super) table: &'a Table,
    /// For each recorded column its position in the target; `None` if the target has no settable column for
    /// it.
    positions: Vec<Option<usize>>,
}

impl<'a> TargetTable<'a> {
    pub(super) fn new(recorded: &Table, table: &'a Table) -> Self {
        let is_settable = |position: &usize| !table.columns[*position].is_stored_generated;
        let positions =
            recorded.columns.iter().map(|column| table.position(&column.name).filter(is_settable)).collect();
        Self { table, positions }
    }

    /// The same table under the names with which it was read from the database. `table` is the result of
    /// [`Table::as_read`].
    pub(super) fn as_read<'b>(&self, table: &'b Table) -> TargetTable<'b> {
        let was_there = |position: &usize| table.columns[*position].name_as_read.is_some();
        let positions = self.positions.iter().map(|position| position.filter(was_there)).collect();
        TargetTable { table, positions }
    }

    /// The position of the target's column in a recorded image.
    pub(super) fn recorded(&self, column: usize) -> Option<usize> {
        self.positions.iter().position(|position| *position == Some(column))
    }

    /// The recorded positions for which the target has no column.
    pub(super) fn missing(&self) -> impl Iterator<Item = usize> {
        (0..self.positions.len()).filter(|index| self.positions[*index].is_none())
    }

    fn name(&self) -> String {
        quoted(&self.table.name)
    }

    fn column(&self, position: usize) -> String {
        quoted(&self.table.columns[position].name)
    }

    /// The quoted columns and the values of an image, for the columns that the target has.
    pub(super) fn columns_and_values<'v>(&self, image: &'v [Value]) -> Vec<(String, &'v Value)> {
        self.positions
            .iter()
            .zip(image)
            .filter_map(|(position, value)| Some((self.column((*position)?), value)))
            .collect()
    }

    /// The primary key of an image; `None` if it does not identify one row, because there is no key or a part
    /// of it is missing or NULL.
    pub(super) fn key<'v>(&self, image: &'v [Value]) -> Option<Vec<(String, &'v Value)>> {
        if self.table.key.is_empty() {
            return None;
        }
        let part = |column: &usize| {
            let value = &image[self.recorded(*column)?];
            (!matches!(value, Value::Null)).then(|| (self.column(*column), value))
        };
        self.table.key.iter().map(part).collect()
    }

    /// Returns the statements that replay a change, in order.
    pub(super) fn replay(&self, change: &RowChange) -> Vec<Statement> {
        match &change.images {
            Images::Insert { after } | Images::Update { after, new_values: None, .. } => {
                vec![self.insert(after, None)]
            }
            Images::Update { before, after, new_values: Some(new_values) } => {
                match self.update(before, new_values, change.rowid) {
                    Some(update) => vec![self.insert(after, Some((before, change.rowid))), update],
                    None => Vec::new(),
                }
            }
            Images::Delete { before } => vec![self.delete(before, change.rowid)],
        }
    }

    fn insert(&self, image: &[Value], unless_there: Option<(&[Value], i64)>) -> Statement {
        let mut args = Args::default();
        let (columns, values): (Vec<_>, Vec<_>) = self
            .columns_and_values(image)
            .into_iter()
            .map(|(column, value)| (column, args.place(value)))
            .unzip();
        let table = self.name();
        let columns = columns.join(", ");
        let values = values.join(", ");
        let source = match unless_there {
            None => format!("VALUES ({values})"),
            Some((before, rowid)) => {
                let this_row = self.this_row(before, rowid, &mut args);
                format!("SELECT {values} WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE {this_row})")
            }
        };
        args.into_statement(format!("INSERT OR REPLACE INTO {table} ({columns}) {source}"))
    }

    /// Returns `None` if the target has none of the columns that were set.
    fn update(&self, before: &[Value], new_values: &[Option<Value>], rowid: i64) -> Option<Statement> {
        let mut args = Args::default();
        let assignments: Vec<String> = self
            .positions
            .iter()
            .zip(new_values)
            .filter_map(|(position, value)| {
                let column = self.column((*position)?);
                Some(format!("{column} = {}", args.place(value.as_ref()?)))
            })
            .collect();
        if assignments.is_empty() {
            return None;
        }
        let this_row = self.this_row(before, rowid, &mut args);
        let sql =
            format!("UPDATE OR REPLACE {} SET {} WHERE {this_row}", self.name(), assignments.join(", "));
        Some(args.into_statement(sql))
    }

    fn delete(&self, before: &[Value], rowid: i64) -> Statement {
        let mut args = Args::default();
        let this_row = self.this_row(before, rowid, &mut args);
        args.into_statement(format!("DELETE FROM {} WHERE {this_row}", self.name()))
    }

    /// A query for the columns of the row, in the order of [`Self::columns_and_values`].
    pub(super) fn select(&self, image: &[Value], rowid: i64) -> Statement {
        let mut args = Args::default();
        let this_row = self.this_row(image, rowid, &mut args);
        let columns: Vec<String> =
            self.columns_and_values(image).into_iter().map(|(column, _)| column).collect();
        let (columns, table) = (columns.join(", "), self.name());
        args.into_statement(format!("SELECT {columns} FROM {table} WHERE {this_row}"))
    }

    /// A query for the keys of the rows that hold these unique columns; `None` if a NULL makes the values
    /// unique.
    pub(super) fn select_holder(&self, unique: &[usize], image: &[Value]) -> Option<Statement> {
        let mut args = Args::default();
        let mut conditions = Vec::with_capacity(unique.len());
        for &column in unique {
            let value = &image[self.recorded(column)?];
            if matches!(value, Value::Null) {
                return None;
            }
            conditions.push(format!("{} = {}", self.column(column), args.place(value)));
        }
        let key: Vec<String> = self.table.key.iter().map(|&column| self.column(column)).collect();
        let key = if key.is_empty() { "NULL".to_owned() } else { key.join(", ") };
        let sql = format!("SELECT {key} FROM {} WHERE {}", self.name(), conditions.join(" AND "));
        Some(args.into_statement(sql))
    }

    /// A condition that is true for this row only.
    fn this_row(&self, image: &[Value], rowid: i64, args: &mut Args) -> String {
        if let Some(key) = self.key(image) {
            let parts: Vec<String> =
                key.into_iter().map(|(column, value)| format!("{column} = {}", args.place(value))).collect();
            return parts.join(" AND ");
        }
        let all: Vec<String> = self
            .columns_and_values(image)
            .into_iter()
            .map(|(column, value)| {
                // Rows that differ may be equal under the column's collation.
                let collation = if matches!(value, Value::Text(_)) { " COLLATE BINARY" } else { "" };
                format!("{column}{collation} IS {}", args.place(value))
            })
            .collect();
        let all = if all.is_empty() { "1".to_owned() } else { all.join(" AND ") };
        let Some(row_number) = self.table.rowid_name() else { return all };
        let table = self.name();
        let rowid = args.place(&Value::from_i64(rowid));
        format!(
            "{row_number} = COALESCE((SELECT {row_number} FROM {table} WHERE {row_number} = {rowid} AND {all}), \
             (SELECT {row_number} FROM {table} WHERE {all} LIMIT 1))"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn sql_of(recorded: &str, target: &str, images: Images) -> Vec<String> {
        let table = |sql| Table::parse("odd \"name\"", 2, sql).unwrap();
        let (recorded, target) = (table(recorded), table(target));
        let change = RowChange { table: Arc::new(recorded.clone()), rowid: 9, images };
        let statements = TargetTable::new(&recorded, &target).replay(&change);
        statements.into_iter().map(|statement| statement.sql).collect()
    }

    fn row(values: [i64; 2]) -> Vec<Value> {
        values.map(Value::from_i64).into()
    }

    const KEYED: &str = "CREATE TABLE t (a PRIMARY KEY, \"select\")";

    #[test]
    fn an_update_names_the_row_by_the_key_it_had_before() {
        let images = Images::Update {
            before: row([1, 2]),
            after: row([3, 2]),
            new_values: Some(vec![Some(Value::from_i64(3)), None]),
        };
        assert_eq!(
            sql_of(KEYED, KEYED, images),
            [
                r#"INSERT OR REPLACE INTO "odd ""name""" ("a", "select") SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM "odd ""name""" WHERE "a" = ?3)"#,
                r#"UPDATE OR REPLACE "odd ""name""" SET "a" = ?1 WHERE "a" = ?2"#,
            ]
        );
    }

    #[test]
    fn one_of_several_equal_rows_is_deleted() {
        let keyless = "CREATE TABLE t (a, rowid)";
        let images = Images::Delete { before: vec![Value::Null, Value::build_text("x")] };
        assert_eq!(
            sql_of(keyless, keyless, images),
            [
                r#"DELETE FROM "odd ""name""" WHERE _rowid_ = COALESCE((SELECT _rowid_ FROM "odd ""name""" WHERE _rowid_ = ?3 AND "a" IS ?1 AND "rowid" COLLATE BINARY IS ?2), (SELECT _rowid_ FROM "odd ""name""" WHERE "a" IS ?1 AND "rowid" COLLATE BINARY IS ?2 LIMIT 1))"#
            ]
        );
    }

    #[test]
    fn columns_are_matched_by_name_and_infinities_written_out() {
        let images = Images::Insert { after: vec![Value::from_f64(f64::NEG_INFINITY), Value::from_i64(2)] };
        assert_eq!(
            sql_of("CREATE TABLE t (A, b)", "CREATE TABLE t (c PRIMARY KEY, a)", images),
            [r#"INSERT OR REPLACE INTO "odd ""name""" ("a") VALUES (-9e999)"#]
        );
    }

    #[test]
    fn an_index_that_was_created_tolerantly_is_replayed_tolerantly() {
        let tolerant = "CREATE INDEX IF NOT EXISTS i ON t (a)";
        assert_eq!(tolerant_of_existing(tolerant), tolerant);
        assert_eq!(tolerant_of_existing("CREATE INDEX i ON t (a)"), tolerant);
    }
}
