//! The databases at the end of a history, for a second opinion: the bytes of their files, and their rows as
//! the core reads them.
//!
//! They are read after everything has been judged, when no more faults are injected. This module does not
//! judge them.

use std::collections::BTreeMap;

use turso_core::Value;

#[derive(Debug)]
pub struct FinalDatabase {
    /// `the remote` or `client N`.
    pub owner: String,
    pub main: Vec<u8>,
    /// The WAL.
    pub wal: Vec<u8>,
    /// The rows of each table and view, in no particular order. Includes the tables of the core and of the
    /// engine.
    pub tables: BTreeMap<String, Vec<Vec<Value>>>,
}

/// All rows of all tables and views.
///
/// # Errors
/// The error of `query`.
pub(crate) fn read_tables<E>(
    mut query: impl FnMut(&str) -> Result<Vec<Vec<Value>>, E>,
) -> Result<BTreeMap<String, Vec<Vec<Value>>>, E> {
    let names = query("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")?;
    let mut tables = BTreeMap::new();
    for name in names.iter().map(|row| row[0].to_string()) {
        let rows = query(&format!("SELECT * FROM \"{}\"", name.replace('"', "\"\"")))?;
        tables.insert(name, rows);
    }
    Ok(tables)
}
