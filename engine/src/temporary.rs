//! The temporary tables of an application's connections.
//!
//! The core's capture records the rows of a temporary table under the table's bare name, like rows of the
//! database. So no temporary table, on any connection, may have the name of a table or a view of the
//! database. Then a name in the change log identifies one table. Names are checked under the database's write
//! lock, because both kinds are created only under it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use turso_core::{Connection, Value};

use crate::database;

/// The temporary tables of all connections of one process.
#[derive(Clone, Default)]
pub(crate) struct TemporaryTables(Arc<Mutex<Registry>>);

#[derive(Default)]
struct Registry {
    connections_ever: u64,
    /// Lower-case names, by connection. A connection without temporary tables has no entry.
    names: BTreeMap<u64, BTreeSet<String>>,
}

impl TemporaryTables {
    /// Registers a new connection.
    pub(crate) fn of_new_connection(&self) -> TemporaryTablesOfOne {
        let mut registry = self.lock();
        registry.connections_ever += 1;
        TemporaryTablesOfOne(Arc::new(Membership { all: self.clone(), number: registry.connections_ever }))
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // No code under this lock can leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether any connection has a temporary table of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.lock().names.values().any(|names| names.contains(&name))
    }

    /// The names of all temporary tables, in lower case.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.lock().names.values().flatten().cloned().collect()
    }
}

/// The temporary tables of one connection. They are removed with its last clone.
#[derive(Clone)]
pub(crate) struct TemporaryTablesOfOne(Arc<Membership>);

struct Membership {
    all: TemporaryTables,
    number: u64,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.all.lock().names.remove(&self.number);
    }
}

impl TemporaryTablesOfOne {
    /// The temporary tables of all connections.
    pub(crate) fn all(&self) -> &TemporaryTables {
        &self.0.all
    }

    /// Whether this connection has a temporary table of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        let registry = self.all().lock();
        registry.names.get(&self.0.number).is_some_and(|names| names.contains(&name.to_ascii_lowercase()))
    }

    /// Whether this connection has any temporary table.
    pub(crate) fn is_empty(&self) -> bool {
        !self.all().lock().names.contains_key(&self.0.number)
    }

    /// Adds a table that is about to be created.
    pub(crate) fn expect(&self, name: &str) {
        let mut registry = self.all().lock();
        registry.names.entry(self.0.number).or_default().insert(name.to_ascii_lowercase());
    }

    /// Reads which temporary tables exist. Only for a connection that has had one, because the query makes
    /// the core create its temporary database.
    pub(crate) fn refresh(&self, connection: &Arc<Connection>) -> turso_core::Result<()> {
        let sql = "SELECT name FROM sqlite_temp_schema WHERE type = 'table'";
        let rows = database::run(connection, sql, &[])?;
        let name = |row: &Vec<Value>| Some(row.first()?.to_text()?.to_ascii_lowercase());
        let names: BTreeSet<String> = rows.iter().filter_map(name).collect();
        let mut registry = self.all().lock();
        if names.is_empty() {
            registry.names.remove(&self.0.number);
        } else {
            registry.names.insert(self.0.number, names);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_as_long_as_somebody_holds_the_connection() {
        let all = TemporaryTables::default();
        let (one, other) = (all.of_new_connection(), all.of_new_connection());
        let clone = one.clone();
        one.expect("Scratch");
        assert!(all.has("sCRATCH") && one.has("scratch") && !other.has("scratch"));
        assert!(!clone.is_empty() && other.is_empty());
        drop(one);
        assert_eq!(all.names(), BTreeSet::from(["scratch".to_owned()]));
        drop(clone);
        assert!(all.names().is_empty());
    }
}
