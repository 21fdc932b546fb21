//! One interface for running SQL on the remote and on a client.

use std::sync::Arc;

use plimsoll_engine::LocalConnection;
use turso_core::{Connection, LimboError, Value};

/// A connection that runs statements.
pub trait Sql {
    type Error: std::error::Error + 'static;

    /// Runs statements and discards their rows.
    ///
    /// # Errors
    /// The error of the first statement that fails.
    fn execute(&self, sql: &str) -> Result<(), Self::Error>;

    /// Runs one statement and returns its rows.
    ///
    /// # Errors
    /// The statement's error.
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
