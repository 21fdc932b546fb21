//! A model of a database's tables, indexes, views and triggers, to which changes are applied.
//!
//! It is built from rows of `sqlite_schema` from any source. The core's own parser parses the definitions.
//! The model leaves out objects of the engine and the core. Names are compared as in SQL, ignoring the case
//! of ASCII letters.

use std::collections::BTreeMap;
use std::sync::Arc;

use turso_core::{Connection, Value};
use turso_parser::ast::{
    Cmd, ColumnConstraint, ColumnDefinition, CreateTableBody, Expr, GeneratedColumnType, SortedColumn, Stmt,
    TableConstraint,
};
use turso_parser::parser::Parser;

use super::is_internal;
use crate::database;

/// A name in the form in which it is compared.
pub(super) fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// The objects of one database at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Schema {
    tables: BTreeMap<String, Arc<Table>>,
    objects: BTreeMap<String, Object>,
}

/// A table and the shape of its rows.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    /// The table's root page. It stays the same when the table is renamed.
    pub(super) root_page: i64,
    /// The stored columns, which the table's records hold.
    pub(super) columns: Vec<Column>,
    /// The names of the virtual generated columns. No record holds them, because their values are computed at
    /// each read.
    pub(super) computed: Vec<String>,
    /// The positions of the primary key's columns, in the key's order; empty for a table without a primary
    /// key.
    pub(super) key: Vec<usize>,
    /// The UNIQUE constraints in the definition, without the primary key: for each, the positions of its
    /// columns.
    pub(super) uniques: Vec<Vec<usize>>,
    pub(super) sql: String,
    /// The table's name when the model was read from the database. Later changes of the model do not change
    /// it. `None` if the table did not exist then.
    pub(super) name_as_read: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// The declared type, if any.
    pub(super) declared_type: Option<String>,
    /// Whether this is a STORED generated column. Records hold its value, but a statement cannot set it.
    pub(super) is_stored_generated: bool,
    /// The column's name when the model was read from the database; `None` if it did not exist then.
    pub(super) name_as_read: Option<String>,
}

/// The kind of an object other than a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ObjectKind {
    Index,
    View,
    Trigger,
}

/// An index, a view or a trigger.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) kind: ObjectKind,
    pub(super) name: String,
    /// The object's table; the view's own name for a view.
    pub(super) table: String,
    pub(super) sql: String,
    /// The columns of a unique index. Empty for a partial index, for an index over expressions, and for all
    /// other objects.
    unique_columns: Vec<String>,
}

/// One row of `sqlite_schema`.
pub(super) struct SchemaRow {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) table: String,
    pub(super) root_page: i64,
    pub(super) sql: String,
}

impl SchemaRow {
    /// Decodes the values `type, name, tbl_name, rootpage, sql`. Returns `None` for an object without a
    /// definition and for an internal object.
    pub(super) fn decode(values: &[Value]) -> Option<Self> {
        let [kind, name, table, root_page, sql] = values else { return None };
        let text = |value: &Value| value.to_text().map(str::to_owned);
        let (name, table) = (text(name)?, text(table)?);
        if is_internal(&name) || is_internal(&table) {
            return None;
        }
        Some(Self { kind: text(kind)?, name, table, root_page: root_page.as_int()?, sql: text(sql)? })
    }
}

impl Schema {
    /// Reads a table that has the columns of `sqlite_schema`.
    pub(super) fn read(connection: &Arc<Connection>, from: &str) -> turso_core::Result<Self> {
        let sql = format!("SELECT type, name, tbl_name, rootpage, sql FROM {from}");
        let mut schema = Self::default();
        for row in database::run(connection, &sql, &[])? {
            if let Some(row) = SchemaRow::decode(&row) {
                schema.add(&row);
            }
        }
        for table in schema.tables.values_mut() {
            Arc::make_mut(table).set_names_as_read();
        }
        Ok(schema)
    }

    /// Adds the object that a row describes.
    pub(super) fn add(&mut self, row: &SchemaRow) {
        let kind = match row.kind.as_str() {
            "table" => {
                if let Some(table) = Table::parse(&row.name, row.root_page, &row.sql) {
                    self.tables.insert(folded(&row.name), Arc::new(table));
                }
                return;
            }
            "index" => ObjectKind::Index,
            "view" => ObjectKind::View,
            "trigger" => ObjectKind::Trigger,
            _ => return,
        };
        self.add_object(Object::new(kind, &row.name, &row.table, &row.sql));
    }

    pub(super) fn add_object(&mut self, object: Object) {
        self.objects.insert(folded(&object.name), object);
    }

    pub(super) fn table(&self, name: &str) -> Option<&Arc<Table>> {
        self.tables.get(&folded(name))
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values()
    }

    pub(super) fn table_at(&self, root_page: i64) -> Option<&Arc<Table>> {
        self.tables.values().find(|table| table.root_page == root_page)
    }

    /// The object of this kind and name.
    pub(super) fn object(&self, kind: ObjectKind, name: &str) -> Option<&Object> {
        self.objects.get(&folded(name)).filter(|object| object.kind == kind)
    }

    pub(super) fn objects(&self, kind: ObjectKind) -> impl Iterator<Item = &Object> {
        self.objects.values().filter(move |object| object.kind == kind)
    }

    /// The objects of a kind that belong to a table.
    pub(super) fn objects_of(&self, kind: ObjectKind, table: &str) -> impl Iterator<Item = &Object> {
        self.objects(kind).filter(move |object| object.table.eq_ignore_ascii_case(table))
    }

    /// Whether there is a table or a view of this name.
    pub(super) fn has_table_or_view(&self, name: &str) -> bool {
        self.table(name).is_some() || self.object(ObjectKind::View, name).is_some()
    }

    pub(super) fn remove_object(&mut self, name: &str) {
        self.objects.remove(&folded(name));
    }

    /// Removes a table and the objects that belong to it.
    pub(super) fn remove_table(&mut self, name: &str) {
        self.tables.remove(&folded(name));
        self.objects
            .retain(|_, object| object.kind == ObjectKind::View || !object.table.eq_ignore_ascii_case(name));
    }

    pub(super) fn rename_table(&mut self, from: &str, to: &str) {
        if let Some(mut table) = self.tables.remove(&folded(from)) {
            to.clone_into(&mut Arc::make_mut(&mut table).name);
            self.tables.insert(folded(to), table);
        }
        for object in self.objects.values_mut() {
            if object.kind != ObjectKind::View && object.table.eq_ignore_ascii_case(from) {
                to.clone_into(&mut object.table);
            }
        }
    }

    pub(super) fn table_mut(&mut self, name: &str) -> Option<&mut Table> {
        self.tables.get_mut(&folded(name)).map(Arc::make_mut)
    }

    /// The UNIQUE constraints and unique indexes of a table, without the primary key: for each, the positions
    /// of its columns. Partial indexes and indexes over expressions are left out.
    pub(super) fn unique_keys(&self, table: &Table) -> Vec<Vec<usize>> {
        let of_index = |index: &Object| -> Option<Vec<usize>> {
            index.unique_columns.iter().map(|column| table.position(column)).collect()
        };
        let indexes = self.objects_of(ObjectKind::Index, &table.name);
        let of_indexes = indexes.filter(|index| !index.unique_columns.is_empty()).filter_map(of_index);
        table.uniques.iter().cloned().chain(of_indexes).collect()
    }
}

impl Object {
    pub(super) fn new(kind: ObjectKind, name: &str, table: &str, sql: &str) -> Self {
        let unique_columns = match (kind, parse(sql)) {
            (
                ObjectKind::Index,
                Some(Stmt::CreateIndex { unique: true, columns, where_clause: None, .. }),
            ) => columns
                .iter()
                .map(|column| column_name(&column.expr).map(str::to_owned))
                .collect::<Option<_>>()
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        let [name, table, sql] = [name, table, sql].map(str::to_owned);
        Self { kind, name, table, sql, unique_columns }
    }
}

impl Table {
    /// Builds the table from its definition; `None` for a virtual table, whose definition has no columns.
    pub(super) fn parse(name: &str, root_page: i64, sql: &str) -> Option<Self> {
        let Some(Stmt::CreateTable {
            body: CreateTableBody::ColumnsAndConstraints { columns, constraints, .. },
            ..
        }) = parse(sql)
        else {
            return None;
        };
        let (computed, columns): (Vec<&ColumnDefinition>, Vec<&ColumnDefinition>) =
            columns.iter().partition(|definition| is_computed(definition));
        let mut table = Self {
            name: name.to_owned(),
            root_page,
            columns: columns.iter().copied().map(Column::of).collect(),
            computed: computed.iter().map(|definition| definition.col_name.as_str().to_owned()).collect(),
            key: Vec::new(),
            uniques: Vec::new(),
            sql: sql.to_owned(),
            name_as_read: None,
        };
        for (index, column) in columns.iter().enumerate() {
            for constraint in &column.constraints {
                match constraint.constraint {
                    ColumnConstraint::PrimaryKey { .. } => table.key = vec![index],
                    ColumnConstraint::Unique(_) => table.uniques.push(vec![index]),
                    _ => {}
                }
            }
        }
        for constraint in &constraints {
            match &constraint.constraint {
                TableConstraint::PrimaryKey { columns, .. } => {
                    table.key = table.columns_of(columns).unwrap_or_default();
                }
                TableConstraint::Unique { columns, .. } => {
                    let columns = table.columns_of(columns);
                    table.uniques.extend(columns);
                }
                _ => {}
            }
        }
        Some(table)
    }

    /// Records the present names as those with which the table was read.
    fn set_names_as_read(&mut self) {
        self.name_as_read = Some(self.name.clone());
        for column in &mut self.columns {
            column.name_as_read = Some(column.name.clone());
        }
    }

    /// The table under the names with which it was read from the database; `None` if it did not exist then. A
    /// column that did not exist then keeps its present name, and the caller must skip it.
    pub(super) fn as_read(&self) -> Option<Self> {
        let mut table = self.clone();
        table.name.clone_from(self.name_as_read.as_ref()?);
        for column in &mut table.columns {
            if let Some(name) = &column.name_as_read {
                column.name.clone_from(name);
            }
        }
        Some(table)
    }

    pub(super) fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|own| own.name.eq_ignore_ascii_case(column))
    }

    /// Whether there is a column of this name, stored or not.
    pub(super) fn has_column(&self, column: &str) -> bool {
        self.position(column).is_some() || self.computed_position(column).is_some()
    }

    fn computed_position(&self, column: &str) -> Option<usize> {
        self.computed.iter().position(|own| own.eq_ignore_ascii_case(column))
    }

    pub(super) fn add_column(&mut self, definition: &ColumnDefinition) {
        if is_computed(definition) {
            self.computed.push(definition.col_name.as_str().to_owned());
        } else {
            self.columns.push(Column::of(definition));
        }
    }

    pub(super) fn rename_column(&mut self, from: &str, to: &str) {
        if let Some(position) = self.position(from) {
            to.clone_into(&mut self.columns[position].name);
        } else if let Some(position) = self.computed_position(from) {
            to.clone_into(&mut self.computed[position]);
        }
    }

    fn columns_of(&self, columns: &[SortedColumn]) -> Option<Vec<usize>> {
        columns.iter().map(|column| self.position(column_name(&column.expr)?)).collect()
    }

    /// Removes a column, and the UNIQUE constraints that contain it.
    pub(super) fn remove_column(&mut self, column: &str) {
        self.computed.retain(|own| !own.eq_ignore_ascii_case(column));
        let Some(removed) = self.position(column) else { return };
        self.columns.remove(removed);
        self.uniques.retain(|columns| !columns.contains(&removed));
        for index in self.key.iter_mut().chain(self.uniques.iter_mut().flatten()) {
            if *index > removed {
                *index -= 1;
            }
        }
    }

    /// The column's definition as SQL.
    pub(super) fn definition_of(&self, column: &str) -> Option<String> {
        let Some(Stmt::CreateTable { body: CreateTableBody::ColumnsAndConstraints { columns, .. }, .. }) =
            parse(&self.sql)
        else {
            return None;
        };
        let is_it = |own: &&ColumnDefinition| own.col_name.as_str().eq_ignore_ascii_case(column);
        columns.iter().find(is_it).map(ToString::to_string)
    }

    /// The name that reads the hidden rowid; `None` if columns hide all three names.
    pub(super) fn rowid_name(&self) -> Option<&'static str> {
        ["rowid", "_rowid_", "oid"].into_iter().find(|name| self.position(name).is_none())
    }
}

impl Column {
    pub(super) fn of(definition: &ColumnDefinition) -> Self {
        let is_stored_generated = definition
            .constraints
            .iter()
            .any(|constraint| matches!(constraint.constraint, ColumnConstraint::Generated { .. }));
        Self {
            name: definition.col_name.as_str().to_owned(),
            declared_type: definition.col_type.as_ref().map(|declared| declared.name.clone()),
            is_stored_generated,
            name_as_read: None,
        }
    }
}

/// Whether a column is a virtual generated column: its value is computed at each read, and not stored.
fn is_computed(definition: &ColumnDefinition) -> bool {
    definition.constraints.iter().any(|constraint| {
        matches!(
            constraint.constraint,
            ColumnConstraint::Generated { typ: None | Some(GeneratedColumnType::Virtual), .. }
        )
    })
}

/// Parses one statement.
pub(super) fn parse(sql: &str) -> Option<Stmt> {
    match Parser::new(sql.as_bytes()).next_cmd() {
        Ok(Some(Cmd::Stmt(statement))) => Some(statement),
        _ => None,
    }
}

/// Whether two definitions are equal apart from their notation.
pub(super) fn is_same_definition(one: &str, other: &str) -> bool {
    one == other || matches!((parse(one), parse(other)), (Some(one), Some(other)) if one == other)
}

fn column_name(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Id(name) | Expr::Name(name) => Some(name.as_str()),
        Expr::Collate(inner, _) => column_name(inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(sql: &str) -> Table {
        Table::parse("t", 2, sql).unwrap()
    }

    #[test]
    fn keys_and_uniques_are_found_wherever_they_are_written() {
        let inline = table("CREATE TABLE t (a TEXT UNIQUE, \"b c\" INTEGER PRIMARY KEY)");
        assert_eq!((inline.key, inline.uniques), (vec![1], vec![vec![0]]));
        let apart = table("CREATE TABLE t (a, b, c, PRIMARY KEY (c, a), UNIQUE (\"b\" COLLATE NOCASE, a))");
        assert_eq!((apart.key, apart.uniques), (vec![2, 0], vec![vec![1, 0]]));
    }

    #[test]
    fn columns_that_are_only_worked_out_are_in_no_record() {
        let mut table =
            table("CREATE TABLE t (a, b AS (a * 2), c GENERATED ALWAYS AS (a) VIRTUAL, d PRIMARY KEY)");
        assert_eq!((table.columns.len(), &table.key, table.position("d")), (2, &vec![1], Some(1)));
        assert!(table.has_column("B") && table.position("b").is_none());
        table.rename_column("b", "e");
        table.remove_column("c");
        assert_eq!(table.computed, ["e"]);
    }

    #[test]
    fn a_column_that_goes_moves_the_ones_behind_it() {
        let mut table = table("CREATE TABLE t (a, b UNIQUE, c PRIMARY KEY)");
        table.remove_column("B");
        assert_eq!((table.position("c"), &table.key, table.uniques.len()), (Some(1), &vec![1], 0));
    }

    #[test]
    fn the_way_in_which_a_definition_is_written_does_not_matter() {
        assert!(is_same_definition(
            "create view v as select a,b from t",
            "CREATE VIEW v AS SELECT a, b FROM t"
        ));
        assert!(!is_same_definition("CREATE VIEW v AS SELECT a FROM t", "CREATE VIEW v AS SELECT b FROM t"));
    }
}
