//! The content of a database as an application sees it: the schema, and the rows of each table by value and
//! type.
//!
//! Nothing here knows a statement, a change log or a page. Two databases are equal if an application could
//! not tell one from the other: the same objects with the same definitions, and the same rows. Rows have no
//! order and no hidden rowid.
//!
//! `merge` is the conflict policy as a model of contents.

mod merge;

use std::collections::BTreeMap;
use std::fmt;

use turso_core::{Numeric, Value};

use crate::text::shortened;

/// The names of the objects that belong to SQLite or to the engine begin so.
const RESERVED: [&str; 4] = ["sqlite_", "turso_", "__turso_", "plimsoll_"];
/// The number of characters of a value that a message shows.
const SHOWN_CHARS: usize = 40;

/// The content of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    /// The objects of the schema, by type and name.
    objects: BTreeMap<(String, String), Object>,
    /// The rows of each table, sorted.
    rows: BTreeMap<String, Vec<Row>>,
    /// The positions of the key's columns in the rows of each table.
    keys: BTreeMap<String, Vec<usize>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    /// The table that it is, or that it belongs to.
    table: String,
    /// The definition, with the least white space.
    sql: String,
}

/// The values of a row, in the order of the table's columns.
pub type Row = Vec<Cell>;

/// A value with its type. Reals are compared by their bits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    Null,
    Integer(i64),
    Real(u64),
    Text(String),
    Blob(Vec<u8>),
}

impl From<&Value> for Cell {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Numeric(Numeric::Integer(integer)) => Self::Integer(*integer),
            Value::Numeric(Numeric::Float(real)) => Self::Real(f64::from(*real).to_bits()),
            Value::Text(text) => Self::Text(text.value.to_string()),
            Value::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }
}

/// As a literal of SQL.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Real(bits) => write!(f, "{:?}", f64::from_bits(*bits)),
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''").replace('\0', "\u{2400}")),
            Self::Blob(bytes) => {
                f.write_str("x'")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("'")
            }
        }
    }
}

/// A row in one line: its values, separated by bars.
pub fn show_row(row: &[Value]) -> String {
    let cells: Vec<String> = row.iter().map(|value| Cell::from(value).to_string()).collect();
    cells.join(" | ")
}

impl Tables {
    /// Reads the schema and all rows through a query.
    ///
    /// # Errors
    /// The error of `query`.
    pub fn read<E>(mut query: impl FnMut(&str) -> Result<Vec<Vec<Value>>, E>) -> Result<Self, E> {
        let (mut objects, mut rows, mut keys) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for object in query("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")? {
            let [kind, name, table, sql] = [0, 1, 2, 3].map(|column| object[column].to_string());
            if RESERVED.iter().any(|prefix| name.to_ascii_lowercase().starts_with(prefix)) {
                continue;
            }
            if kind == "table" {
                let mut found: Vec<Row> = query(&format!("SELECT * FROM {}", quoted(&name)))?
                    .iter()
                    .map(|row| row.iter().map(Cell::from).collect())
                    .collect();
                found.sort();
                let columns = query(&format!("PRAGMA table_info({})", quoted(&name)))?;
                let is_key = |column: &Vec<Value>| column[5].as_int().is_some_and(|position| position > 0);
                let key = (0..).zip(&columns).filter(|(_, column)| is_key(column)).map(|(number, _)| number);
                keys.insert(name.clone(), key.collect());
                rows.insert(name.clone(), found);
            }
            objects.insert((kind, name), Object { table, sql: normalized(&sql) });
        }
        Ok(Self { objects, rows, keys })
    }

    /// The first difference from `other` in words, with the names of both sides. `None` if there is none.
    pub fn difference(&self, here: &str, other: &Self, there: &str) -> Option<String> {
        self.difference_of_schema(here, other, there).or_else(|| {
            self.rows.iter().find_map(|(table, rows)| {
                let found = difference_of_rows(here, rows, other.rows.get(table)?, there)?;
                Some(format!("table {}: {found}", quoted(table)))
            })
        })
    }

    fn difference_of_schema(&self, here: &str, other: &Self, there: &str) -> Option<String> {
        let only = |left: &Self, right: &Self, owner: &str| {
            let object = left.objects.keys().find(|object| !right.objects.contains_key(*object));
            object.map(|(kind, name)| format!("only {owner} has the {kind} {}", quoted(name)))
        };
        only(self, other, here).or_else(|| only(other, self, there)).or_else(|| {
            let mut pairs = self.objects.iter().map(|(named, ours)| (named, ours, &other.objects[named]));
            let ((kind, name), ours, theirs) = pairs.find(|(_, ours, theirs)| ours != theirs)?;
            let (name, ours, theirs) = (quoted(name), &ours.sql, &theirs.sql);
            Some(format!("the {kind} {name} is {ours} for {here}, but {theirs} for {there}"))
        })
    }
}

/// The first row that one side has more often than the other.
fn difference_of_rows(here: &str, rows: &[Row], others: &[Row], there: &str) -> Option<String> {
    if rows == others {
        return None;
    }
    let count = |rows: &[Row], row: &Row| rows.iter().filter(|other| *other == row).count();
    let more =
        |left: &[Row], right: &[Row]| left.iter().find(|row| count(left, row) > count(right, row)).cloned();
    let cell_in_words = |cell: &Cell| shortened(&cell.to_string(), SHOWN_CHARS);
    let in_words = |row: &Row| row.iter().map(cell_in_words).collect::<Vec<_>>().join(", ");
    let found = match (more(rows, others), more(others, rows)) {
        (Some(ours), Some(theirs)) => {
            format!("{here} has ({}) and {there} has ({})", in_words(&ours), in_words(&theirs))
        }
        (Some(ours), None) => format!("only {here} has ({})", in_words(&ours)),
        (None, Some(theirs)) => format!("only {there} has ({})", in_words(&theirs)),
        (None, None) => return None,
    };
    Some(found)
}

/// A definition without the parts that mean nothing: white space that separates nothing, and `IF NOT EXISTS`.
fn normalized(sql: &str) -> String {
    let mut text = String::new();
    let mut quote = None;
    for letter in sql.chars() {
        match quote {
            Some(end) if letter == end => quote = None,
            Some(_) => {}
            None if matches!(letter, '\'' | '"' | '`') => quote = Some(letter),
            None if letter == '[' => quote = Some(']'),
            None if letter.is_whitespace() => {
                if !text.is_empty() && !text.ends_with([' ', '(', ',', ')']) {
                    text.push(' ');
                }
                continue;
            }
            None if matches!(letter, '(' | ')' | ',') && text.ends_with(' ') => {
                text.pop();
            }
            None => {}
        }
        text.push(letter);
    }
    const IF_NOT_EXISTS: &str = " IF NOT EXISTS";
    let text = text.trim_end();
    match text.to_ascii_uppercase().find(IF_NOT_EXISTS) {
        Some(start) => format!("{}{}", &text[..start], &text[start + IF_NOT_EXISTS.len()..]),
        None => text.to_owned(),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(schema: &[[&'static str; 4]], rows: &[Vec<Value>]) -> Tables {
        let read = Tables::read(|sql| {
            Ok::<_, std::convert::Infallible>(if sql.contains("sqlite_schema") {
                schema.iter().map(|object| object.map(Value::build_text).to_vec()).collect()
            } else if sql.starts_with("SELECT") {
                rows.to_vec()
            } else {
                Vec::new()
            })
        });
        let Ok(tables) = read;
        tables
    }

    const SCHEMA: [[&str; 4]; 2] = [
        ["table", "t", "t", "CREATE TABLE t (v)"],
        ["table", "turso_cdc", "turso_cdc", "CREATE TABLE turso_cdc (x)"],
    ];

    #[test]
    fn the_order_of_rows_and_the_engines_tables_make_no_difference() {
        let [one, two] = [1, 2].map(|integer| vec![Value::from_i64(integer)]);
        let first = tables(&SCHEMA, &[one.clone(), two.clone()]);
        assert_eq!(first.difference("a", &tables(&SCHEMA[..1], &[two, one]), "b"), None);
    }

    #[test]
    fn values_of_another_type_are_other_values() {
        let first = tables(&SCHEMA, &[vec![Value::from_i64(1)]]);
        let second = tables(&SCHEMA, &[vec![Value::from_f64(1.0)]]);
        let difference = first.difference("a", &second, "b").unwrap();
        assert_eq!(difference, "table \"t\": a has (1) and b has (1.0)");
        let none = tables(&SCHEMA, &[]);
        assert_eq!(first.difference("a", &none, "b").unwrap(), "table \"t\": only a has (1)");
        let twice = tables(&SCHEMA, &[vec![Value::from_i64(1)], vec![Value::from_i64(1)]]);
        assert_eq!(first.difference("a", &twice, "b").unwrap(), "table \"t\": only b has (1)");
    }

    #[test]
    fn white_space_means_nothing_except_in_quotes() {
        assert_eq!(
            normalized("CREATE TABLE  t\n( a TEXT ,b )  STRICT"),
            normalized("CREATE TABLE t(a TEXT, b)STRICT")
        );
        assert_ne!(normalized("CREATE TABLE \"a b\" (c)"), normalized("CREATE TABLE \"a  b\" (c)"));
        assert_eq!(normalized("CREATE INDEX if not exists i ON t(a)"), normalized("CREATE INDEX i ON t (a)"));
    }

    #[test]
    fn another_definition_is_a_difference() {
        let first = tables(&[["table", "t", "t", "CREATE TABLE t (v)"]], &[]);
        let second = tables(&[["table", "t", "t", "CREATE TABLE t (w)"]], &[]);
        assert!(
            first
                .difference("a", &second, "b")
                .unwrap()
                .starts_with("the table \"t\" is CREATE TABLE t(v) for a")
        );
        assert_eq!(tables(&[], &[]).difference("a", &first, "b").unwrap(), "only b has the table \"t\"");
    }
}
