//! From a change record to the SQL that replays it, the same for a rebase and for a push.
//!
//! The conflict policy, row by row: the later writer wins, and the replayed transaction is the later one.
//! * an insert replaces whatever holds one of its unique keys;
//! * an update sets the columns that the statement set, on the row that had the key *before*; if the row is gone, the whole new
//!   row is inserted;
//! * a delete removes the row that had the key;
//! * a row of a table without a key is known by all its values.

use turso_core::{LimboError, Value};

use super::{Change, TableShape};

/// One statement with its positional arguments.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) args: Vec<Value>,
}

/// An identifier for use in SQL.
pub(super) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// The statement that replays a change of the schema; `None` for objects that come with others.
pub(super) fn replay_schema_change(change: &Change) -> Option<Statement> {
    let text = |row: &[Value], index: usize| row.get(index).and_then(Value::to_text).map(str::to_owned);
    let sql = match change {
        Change::Insert { after } => tolerant_of_existing(&text(after, 4)?),
        Change::Update { new_values, .. } => new_values.as_ref()?.last()?.as_ref()?.to_text()?.to_owned(),
        Change::Delete { before } => {
            format!("DROP {} IF EXISTS {}", text(before, 0)?.to_uppercase(), quoted(&text(before, 1)?))
        }
    };
    Some(Statement { sql, args: Vec::new() })
}

/// The statement that creates an object, made to do nothing where the other side has created it too. The core writes these
/// statements down in one normal form, but keeps an index's own `IF NOT EXISTS` and drops a table's.
fn tolerant_of_existing(sql: &str) -> String {
    const TOLERANT: &str = "IF NOT EXISTS ";
    for prefix in ["CREATE TABLE ", "CREATE INDEX ", "CREATE UNIQUE INDEX "] {
        if let Some(rest) = sql.strip_prefix(prefix) {
            let rest = rest.strip_prefix(TOLERANT).unwrap_or(rest);
            return format!("{prefix}{TOLERANT}{rest}");
        }
    }
    sql.to_owned()
}

/// Appends the statements that replay a change of one row.
pub(super) fn replay_row_change(
    table: &str,
    shape: &TableShape,
    change: &Change,
    statements: &mut Vec<Statement>,
) -> turso_core::Result<()> {
    let row = Row { table: quoted(table), shape };
    match change {
        Change::Insert { after } => statements.push(row.insert(after)?),
        Change::Update { after, new_values: None, .. } => statements.push(row.insert(after)?),
        Change::Update { before, after, new_values: Some(new_values) } => {
            statements.extend(row.update(before, new_values)?);
            statements.push(row.insert_if_gone(after)?);
        }
        Change::Delete { before } => statements.push(row.delete(before)?),
    }
    Ok(())
}

/// Writes the statements about one table's rows.
struct Row<'a> {
    table: String,
    shape: &'a TableShape,
}

impl Row<'_> {
    fn insert(&self, image: &[Value]) -> turso_core::Result<Statement> {
        let columns = self.columns(image.len())?.join(", ");
        let marks = vec!["?"; image.len()].join(", ");
        let sql = format!("INSERT OR REPLACE INTO {} ({columns}) VALUES ({marks})", self.table);
        Ok(Statement { sql, args: image.to_vec() })
    }

    fn insert_if_gone(&self, image: &[Value]) -> turso_core::Result<Statement> {
        let columns = self.columns(image.len())?.join(", ");
        let marks = vec!["?"; image.len()].join(", ");
        let (is_it, key) = self.identity(image)?;
        let sql = format!(
            "INSERT OR REPLACE INTO {table} ({columns}) SELECT {marks} WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE {is_it})",
            table = self.table
        );
        let args = image.iter().cloned().chain(key).collect();
        Ok(Statement { sql, args })
    }

    fn update(
        &self,
        before: &[Value],
        new_values: &[Option<Value>],
    ) -> turso_core::Result<Option<Statement>> {
        let columns = self.columns(new_values.len())?;
        let (assignments, mut args): (Vec<_>, Vec<_>) = columns
            .iter()
            .zip(new_values)
            .filter_map(|(column, value)| Some((format!("{column} = ?"), value.clone()?)))
            .unzip();
        if assignments.is_empty() {
            return Ok(None);
        }
        let (this_row, key) = self.this_row(before)?;
        args.extend(key);
        let sql = format!("UPDATE OR REPLACE {} SET {} WHERE {this_row}", self.table, assignments.join(", "));
        Ok(Some(Statement { sql, args }))
    }

    fn delete(&self, before: &[Value]) -> turso_core::Result<Statement> {
        let (this_row, args) = self.this_row(before)?;
        Ok(Statement { sql: format!("DELETE FROM {} WHERE {this_row}", self.table), args })
    }

    /// The condition that holds for this one row, also where rows without a key are equal.
    fn this_row(&self, image: &[Value]) -> turso_core::Result<(String, Vec<Value>)> {
        let (is_it, args) = self.identity(image)?;
        if self.shape.key.is_empty() {
            let table = &self.table;
            return Ok((format!("rowid = (SELECT rowid FROM {table} WHERE {is_it} LIMIT 1)"), args));
        }
        Ok((is_it, args))
    }

    /// The condition that holds for rows with this row's key, or with all its values where there is no key.
    fn identity(&self, image: &[Value]) -> turso_core::Result<(String, Vec<Value>)> {
        let columns = self.columns(image.len())?;
        let all: Vec<usize> = (0..image.len()).collect();
        let key = if self.shape.key.is_empty() { &all } else { &self.shape.key };
        let mut conditions = Vec::with_capacity(key.len());
        let mut args = Vec::with_capacity(key.len());
        for &index in key {
            let (Some(column), Some(value)) = (columns.get(index), image.get(index)) else {
                return Err(self.shape_mismatch(image.len()));
            };
            conditions.push(format!("{column} IS ?"));
            args.push(value.clone());
        }
        Ok((conditions.join(" AND "), args))
    }

    /// The quoted names of the first `count` columns: a row image from before an `ADD COLUMN` is shorter than the table.
    fn columns(&self, count: usize) -> turso_core::Result<Vec<String>> {
        let columns = self.shape.columns.get(..count).ok_or_else(|| self.shape_mismatch(count))?;
        Ok(columns.iter().map(|column| quoted(column)).collect())
    }

    fn shape_mismatch(&self, count: usize) -> LimboError {
        LimboError::Corrupt(format!(
            "the change log holds a row of {count} values for {}, which has {} columns",
            self.table,
            self.shape.columns.len()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql_of(shape: &TableShape, change: &Change) -> Vec<String> {
        let mut statements = Vec::new();
        replay_row_change("odd \"name\"", shape, change, &mut statements).unwrap();
        statements.into_iter().map(|statement| statement.sql).collect()
    }

    fn shape(key: &[usize]) -> TableShape {
        TableShape { columns: vec!["a".into(), "select".into()], key: key.to_vec() }
    }

    #[test]
    fn an_update_names_the_row_by_the_key_it_had_before() {
        let change = Change::Update {
            before: vec![Value::from_i64(1), Value::from_i64(2)],
            after: vec![Value::from_i64(3), Value::from_i64(2)],
            new_values: Some(vec![Some(Value::from_i64(3)), None]),
        };
        assert_eq!(
            sql_of(&shape(&[0]), &change),
            [
                r#"UPDATE OR REPLACE "odd ""name""" SET "a" = ? WHERE "a" IS ?"#,
                r#"INSERT OR REPLACE INTO "odd ""name""" ("a", "select") SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM "odd ""name""" WHERE "a" IS ?)"#,
            ]
        );
    }

    #[test]
    fn an_index_that_was_created_tolerantly_is_replayed_tolerantly() {
        let tolerant = "CREATE INDEX IF NOT EXISTS i ON t (a)";
        assert_eq!(tolerant_of_existing(tolerant), tolerant);
        assert_eq!(tolerant_of_existing("CREATE INDEX i ON t (a)"), tolerant);
    }

    #[test]
    fn one_of_several_equal_rows_is_deleted() {
        let change = Change::Delete { before: vec![Value::Null, Value::from_i64(2)] };
        assert_eq!(
            sql_of(&shape(&[]), &change),
            [
                r#"DELETE FROM "odd ""name""" WHERE rowid = (SELECT rowid FROM "odd ""name""" WHERE "a" IS ? AND "select" IS ? LIMIT 1)"#
            ]
        );
    }
}
