//! Draws the tables of an application, and the objects around them.

use rand::{Rng, RngExt};

use super::super::pick;
use super::values::{Class, value};
use super::{Application, Features};

/// The key of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    None,
    /// `INTEGER PRIMARY KEY`, which is the rowid.
    Rowid,
    Autoincrement,
    /// `TEXT PRIMARY KEY`, which may be NULL.
    Text,
    /// A text key with a collation.
    Collated(&'static str),
    /// Two columns.
    Composite,
    /// `PRIMARY KEY (id)` beside another UNIQUE of the table.
    TableLevel,
}

impl Key {
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Composite => &["id", "part"],
            _ => &["id"],
        }
    }

    fn class(self) -> Class {
        if matches!(self, Self::Rowid | Self::Autoincrement) { Class::Integer } else { Class::Text }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Column {
    pub name: String,
    pub class: Class,
    /// The column's definition after its name.
    pub definition: String,
    pub is_not_null: bool,
    pub is_unique: bool,
    pub is_generated: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Table {
    pub name: String,
    pub key: Key,
    /// The columns beside those of the key.
    pub columns: Vec<Column>,
    /// What follows the columns: keys, checks and foreign keys of the table.
    pub constraints: Vec<String>,
    /// `WITHOUT ROWID`, `STRICT` or nothing.
    pub options: &'static str,
}

/// The table's or column's name in quotes.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Table {
    pub fn is_strict(&self) -> bool {
        self.options.contains("STRICT")
    }

    /// The table's name in quotes.
    pub fn quoted(&self) -> String {
        quoted(&self.name)
    }

    /// The columns that a statement can set.
    pub fn settable(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.is_generated)
    }

    /// The statement that creates the table under a name.
    pub fn create(&self, name: &str) -> String {
        let key = match self.key {
            Key::None => Vec::new(),
            Key::Rowid => vec!["id INTEGER PRIMARY KEY".to_owned()],
            Key::Autoincrement => vec!["id INTEGER PRIMARY KEY AUTOINCREMENT".to_owned()],
            Key::Text => vec!["id TEXT PRIMARY KEY".to_owned()],
            Key::Collated(collation) => vec![format!("id TEXT COLLATE {collation} PRIMARY KEY")],
            Key::Composite => vec!["id TEXT NOT NULL".to_owned(), "part INTEGER NOT NULL".to_owned()],
            Key::TableLevel => vec!["id TEXT NOT NULL".to_owned()],
        };
        let columns =
            self.columns.iter().map(|column| format!("{} {}", quoted(&column.name), column.definition));
        let parts: Vec<String> =
            key.into_iter().chain(columns).chain(self.constraints.iter().cloned()).collect();
        format!("CREATE TABLE {} ({}) {}", quoted(name), parts.join(", "), self.options).trim_end().to_owned()
    }

    /// Values for the key's columns, out of few, so that rows meet.
    pub fn key_values(&self, rng: &mut impl Rng) -> Vec<String> {
        let number = rng.random_range(1..6);
        match self.key {
            Key::None => Vec::new(),
            Key::Text if rng.random_ratio(1, 24) => vec!["NULL".to_owned()],
            Key::Collated("NOCASE") if rng.random_bool(0.5) => vec![format!("'K{number}'")],
            Key::Collated("RTRIM") if rng.random_bool(0.5) => vec![format!("'k{number} '")],
            Key::Composite => vec![format!("'k{number}'"), rng.random_range(0..2).to_string()],
            key if key.class() == Class::Integer => vec![number.to_string()],
            _ => vec![format!("'k{number}'")],
        }
    }

    /// A condition that one row meets, or a few if the table has no key.
    pub fn condition(&self, rng: &mut impl Rng, features: &Features) -> String {
        let values = self.key_values(rng);
        if values.is_empty() {
            let Some(column) = self.columns.first() else { return "1".to_owned() };
            return format!("{} IS {}", quoted(&column.name), value(rng, column.class, features));
        }
        let terms =
            self.key.columns().iter().zip(values).map(|(column, value)| format!("{column} IS {value}"));
        terms.collect::<Vec<_>>().join(" AND ")
    }
}

impl Application {
    /// Draws a table. It may refer to an earlier one.
    pub(super) fn draw_table(&mut self, rng: &mut impl Rng) -> Table {
        const KEYS: [Key; 9] = [
            Key::Rowid,
            Key::Rowid,
            Key::Autoincrement,
            Key::Text,
            Key::Text,
            Key::Composite,
            Key::TableLevel,
            Key::Collated("NOCASE"),
            Key::Collated("RTRIM"),
        ];
        let features = self.features.clone();
        let key = if rng.random_ratio(1, 8) { Key::None } else { *pick(rng, &KEYS) };
        let name = self.new_name(rng);
        let has_key = key != Key::None && key != Key::Autoincrement;
        let options = match (features.without_rowid && has_key, features.strict && rng.random_bool(0.5)) {
            // The core cannot read a database with a table that is both.
            (true, _) => "WITHOUT ROWID",
            (false, true) => "STRICT",
            (false, false) => "",
        };
        let mut table = Table { name, key, columns: Vec::new(), constraints: Vec::new(), options };
        let count = if features.wide && rng.random_ratio(1, 4) { 60 } else { rng.random_range(1..5) };
        for number in 0..count {
            let column = self.draw_column(rng, &table, &format!("c{number}"));
            table.columns.push(column);
        }
        if table.key == Key::TableLevel {
            let unique = &mut table.columns[0];
            unique.is_unique = true;
            let name = quoted(&unique.name);
            table.constraints.extend([format!("UNIQUE ({name})"), "PRIMARY KEY (id)".to_owned()]);
        }
        if table.key == Key::Composite {
            table.constraints.push("PRIMARY KEY (id, part)".to_owned());
        }
        if let Some(parent) = self.parent(rng) {
            table.columns.push(Column {
                name: "parent".to_owned(),
                class: parent.key.class(),
                definition: match parent.key.class() {
                    Class::Integer => "INTEGER".to_owned(),
                    _ => "TEXT".to_owned(),
                },
                is_not_null: false,
                is_unique: false,
                is_generated: false,
            });
            let action =
                *pick(rng, &["CASCADE", "CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION"]);
            let update = if rng.random_bool(0.5) { " ON UPDATE CASCADE" } else { "" };
            let deferred = if rng.random_ratio(1, 4) { " DEFERRABLE INITIALLY DEFERRED" } else { "" };
            let parent = parent.quoted();
            table.constraints.push(format!(
                "FOREIGN KEY (parent) REFERENCES {parent} (id) ON DELETE {action}{update}{deferred}"
            ));
        }
        table
    }

    /// A table that a new one can refer to.
    fn parent(&self, rng: &mut impl Rng) -> Option<Table> {
        let possible: Vec<&Table> =
            self.tables.iter().filter(|table| !matches!(table.key, Key::None | Key::Composite)).collect();
        if !self.features.foreign_keys || possible.is_empty() || rng.random_bool(0.5) {
            return None;
        }
        Some((*pick(rng, &possible)).clone())
    }

    /// Draws a column for a table.
    pub(super) fn draw_column(&self, rng: &mut impl Rng, table: &Table, name: &str) -> Column {
        let features = &self.features;
        let is_strict = table.is_strict();
        let class = if rng.random_ratio(1, 10) { Class::Any } else { *pick(rng, &Class::ALL) };
        let mut column = Column {
            name: if features.odd_names && rng.random_ratio(1, 4) {
                format!("odd \"{name}")
            } else {
                name.to_owned()
            },
            class,
            definition: class.declared(rng, is_strict).to_owned(),
            is_not_null: false,
            is_unique: false,
            is_generated: false,
        };
        if features.generated && rng.random_ratio(1, 6) {
            let of = table.columns.first().map_or("1".to_owned(), |first| quoted(&first.name));
            column.definition =
                format!("{} AS (coalesce({of}, '') || '+1')", Class::Text.declared(rng, is_strict));
            column.class = Class::Text;
            column.is_generated = true;
            return column;
        }
        if rng.random_ratio(1, 4) {
            column.definition += &format!(" NOT NULL DEFAULT ({})", value(rng, class, features));
            column.is_not_null = true;
        } else if features.expression_defaults && class == Class::Text && rng.random_ratio(1, 4) {
            column.definition += " DEFAULT (lower('Made1'))";
        } else if features.checks && class == Class::Integer && rng.random_ratio(1, 3) {
            column.definition += &format!(" CHECK ({} < 8)", quoted(&column.name));
        } else if rng.random_ratio(1, 10) {
            column.definition += " UNIQUE";
            column.is_unique = true;
        }
        column
    }

    /// Draws an index on a table.
    pub(super) fn draw_index(&mut self, rng: &mut impl Rng, table: &Table) -> String {
        let name = self.new_object("index");
        let column = quoted(&pick(rng, &table.columns).name);
        let unique = if rng.random_ratio(1, 3) { "UNIQUE " } else { "" };
        let (what, condition) = match rng.random_range(0..4) {
            0 => (format!("lower({column})"), String::new()),
            1 => (column.clone(), format!(" WHERE {column} IS NOT NULL")),
            _ => (column, String::new()),
        };
        format!("CREATE {unique}INDEX {name} ON {} ({what}){condition}", table.quoted())
    }

    /// Draws a view on a table.
    pub(super) fn draw_view(&mut self, rng: &mut impl Rng, table: &Table) -> String {
        let name = self.new_object("view");
        let column = quoted(&pick(rng, &table.columns).name);
        let view = format!(
            "CREATE VIEW {name} AS SELECT {column} AS shown, count(*) AS n FROM {} GROUP BY 1",
            table.quoted()
        );
        self.views.push(name);
        view
    }

    /// Draws a trigger on a table. Its effects are on another table, or on the same row.
    pub(super) fn draw_trigger(&mut self, rng: &mut impl Rng, table: &Table) -> Option<String> {
        let name = self.new_object("trigger");
        let column = table.settable().find(|column| !column.is_unique && column.class != Class::Blob)?;
        let (of, target) = (quoted(&column.name), table.quoted());
        let events =
            ["INSERT".to_owned(), "UPDATE".to_owned(), format!("UPDATE OF {of}"), "DELETE".to_owned()];
        let event = pick(rng, &events);
        let row = if event == "DELETE" { "OLD" } else { "NEW" };
        let when =
            if rng.random_ratio(1, 3) { format!(" WHEN {row}.{of} IS NOT NULL") } else { String::new() };
        let body = if row == "NEW" && table.key != Key::None && rng.random_bool(0.5) {
            let condition: Vec<String> =
                table.key.columns().iter().map(|column| format!("{column} IS NEW.{column}")).collect();
            let changed = match column.class {
                Class::Integer | Class::Real => format!("coalesce({of}, 0) % 7 + 1"),
                _ => format!("substr({of} || '!1', 1, 9)"),
            };
            format!("UPDATE {target} SET {of} = {changed} WHERE {}", condition.join(" AND "))
        } else {
            self.audit = true;
            format!("INSERT INTO audit (what, old) VALUES ('{name}1', {row}.{of})")
        };
        let moment = if row == "NEW" { "AFTER" } else { *pick(rng, &["AFTER", "BEFORE"]) };
        Some(format!("CREATE TRIGGER {name} {moment} {event} ON {target}{when} BEGIN {body}; END"))
    }
}
