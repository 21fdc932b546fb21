//! Rows by their keys: in SQL, and by name.

use std::fmt;

use super::{Effect, Key, Table, Writer};

/// The name of a row in effects and contents.
pub(super) fn row_name(table: &str, key: impl fmt::Display) -> String {
    format!("{table}/{key}")
}

/// A row, identified by its key.
pub(super) struct Row {
    pub(super) table: Table,
    /// The parts of the key: a unique text, and a unique number.
    text: String,
    pub(super) number: u64,
}

impl Row {
    pub(super) fn new(table: Table, writer: Writer, key: Key) -> Self {
        let base = match writer {
            Writer::Client(client) => 100 * (u64::from(client) + 2),
            Writer::Remote => 100,
        };
        match key {
            Key::Shared(number) => Self { table, text: format!("s{number}"), number: u64::from(number) },
            Key::Own(number) => {
                Self { table, text: format!("{writer}-{number}"), number: base + u64::from(number % 100) }
            }
        }
    }

    /// The same row under a key that is derived from the token. So no other write uses this key.
    pub(super) fn with_fresh_key(&self, token: &str) -> Self {
        let number =
            token.bytes().fold(7u64, |number, byte| number.wrapping_mul(131).wrapping_add(u64::from(byte)));
        Self { table: self.table, text: format!("k{token}"), number: 1_000_000 + number % (1 << 50) }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self.table {
            Table::Item => vec![("k", self.number.to_string())],
            Table::Note => vec![("id", format!("'{}'", self.text))],
            Table::Pair => vec![("a", format!("'{}'", self.text)), ("b", self.number.to_string())],
            Table::Odd => vec![("\"select\"", format!("'{}'", self.text))],
            Table::Tag => vec![("name", format!("'{}'", self.text))],
        }
    }

    fn joined(&self, separator: &str, one: impl Fn(&str, &str) -> String) -> String {
        let parts: Vec<String> = self.fields().iter().map(|(column, value)| one(column, value)).collect();
        parts.join(separator)
    }

    pub(super) fn values(&self) -> String {
        self.joined(", ", |_, value| value.to_owned())
    }

    pub(super) fn columns(&self) -> String {
        self.joined(", ", |column, _| column.to_owned())
    }

    pub(super) fn assignments(&self) -> String {
        self.joined(", ", |column, value| format!("{column} = {value}"))
    }

    pub(super) fn condition(&self) -> String {
        self.joined(" AND ", |column, value| match self.table {
            Table::Tag => format!("{column} = {}", value.to_ascii_uppercase()),
            _ => format!("{column} = {value}"),
        })
    }

    pub(super) fn name(&self) -> String {
        match self.table {
            Table::Item => row_name("item", self.number),
            Table::Note => row_name("note", &self.text),
            Table::Pair => row_name("pair", format!("{}/{}", self.text, self.number)),
            Table::Odd => row_name("odd", &self.text),
            Table::Tag => row_name("tag", &self.text),
        }
    }

    pub(super) fn set(&self, token: &str) -> Effect {
        Effect::Set(self.name(), token.to_owned())
    }

    pub(super) fn gone(&self) -> Effect {
        Effect::Gone(self.name())
    }
}
