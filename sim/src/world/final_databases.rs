//! What a history has left in each database, for a second opinion: the bytes of its files, and its rows as the core reads them.
//!
//! It is taken when everything has been judged, so no fault strikes any more. Nothing here says whether it is right.

use std::collections::BTreeMap;

use turso_core::Value;

/// One database at a history's end.
#[derive(Debug)]
pub struct FinalDatabase {
    /// Whose it is, in words.
    pub whose: String,
    /// The main file.
    pub main: Vec<u8>,
    /// The log.
    pub wal: Vec<u8>,
    /// The rows of each table and view, the core's and the engine's own ones too, in no order.
    pub tables: BTreeMap<String, Vec<Vec<Value>>>,
}

/// All rows of all tables and views.
///
/// # Errors
/// What `query` says.
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
