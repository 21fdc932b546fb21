//! SQL as applications speak it, on the remote and on a client alike.

use std::sync::Arc;

use plimsoll_engine::LocalConnection;
use turso_core::{Connection, LimboError, Value};

/// Something that statements can be run on.
pub trait Sql {
    /// What it says when it fails.
    type Error: std::error::Error + 'static;

    /// Runs statements for their effect.
    ///
    /// # Errors
    /// The first failing statement's.
    fn execute(&self, sql: &str) -> Result<(), Self::Error>;

    /// Runs one statement for its rows.
    ///
    /// # Errors
    /// The statement's.
    fn rows(&self, sql: &str) -> Result<Vec<Vec<Value>>, Self::Error>;
}

impl Sql for Arc<Connection> {
    type Error = LimboError;

    fn execute(&self, sql: &str) -> Result<(), LimboError> {
        Connection::execute(self, sql)
    }

    fn rows(&self, sql: &str) -> Result<Vec<Vec<Value>>, LimboError> {
        self.prepare(sql)?.run_collect_rows()
    }
}

impl Sql for LocalConnection {
    type Error = plimsoll_engine::Error;

    fn execute(&self, sql: &str) -> Result<(), Self::Error> {
        Self::execute(self, sql)
    }

    fn rows(&self, sql: &str) -> Result<Vec<Vec<Value>>, Self::Error> {
        self.query(sql, &[])
    }
}
