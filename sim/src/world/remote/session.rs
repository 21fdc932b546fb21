//! A session: the SQL of one request to a served remote, on a connection of its own and within limits.
//!
//! The connection is dropped at the end, and with it everything that a client could have left behind: an open
//! transaction, settings, locks. A session runs beside other requests: [`Remote::connect`] and
//! [`Remote::finish_pipeline`] need the remote, [`Session::run`] does not. The caller sees to it that at most
//! one session [writes](Script::writes), and none is open during a checkpoint.
//!
//! The core can be stopped only between two of its instructions. One instruction can build a value as large
//! as the core's own limit of 1,000,000,000 bytes, or, as `replace` does, one without a limit.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use turso_core::{Connection, LimboError, Row, Statement, Value};

use super::Remote;
use super::content::Content;
use super::expansion::{Expansion, SchemaObject};
use super::kept::KeptLog;
use super::pipeline;
use super::routes::{another_instance, error};
use super::statement_check::{self, Kind, Refusal};
use super::store::{self, BoundStatement, Executed};
use super::wire::{Pipeline, PipelineAnswer};

/// The limits of the SQL in one request.
#[derive(Debug, Clone)]
pub struct StatementLimits {
    /// Statements in a request.
    pub statements: usize,
    /// Bytes of a statement's text.
    pub sql_bytes: usize,
    /// `SELECT` and `VALUES` clauses of a statement, with what the views, triggers and cascading foreign keys
    /// that it uses add to it.
    pub selects: usize,
    /// Depth of parentheses, and of views, triggers and foreign keys that lead to each other.
    pub nesting: usize,
    /// Rows of a statement's result.
    pub rows: usize,
    /// Bytes of all results of a request.
    pub answer_bytes: usize,
}

impl Default for StatementLimits {
    fn default() -> Self {
        Self {
            statements: 100_000,
            sql_bytes: 1 << 20,
            selects: 200,
            nesting: 50,
            rows: 100_000,
            answer_bytes: 16 << 20,
        }
    }
}

/// Decides when a statement has to stop.
pub trait Watch: Send + Sync {
    /// A statement begins.
    fn begin_statement(&self);

    /// The reason why the running statement has to stop. Called often while it runs, on the thread that runs it,
    /// and once after it.
    fn stop(&self) -> Option<Stop>;
}

/// The reason why a statement was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    #[error("the statement has reached its time limit of {limit:?}")]
    Time { limit: Duration },
    #[error("the memory of the server has grown by more than {limit_bytes} bytes during the request")]
    Memory { limit_bytes: u64 },
    #[error("triggers or cascading foreign keys are nested too deep for the server's stack")]
    Depth,
    #[error("nobody waits for the answer any more")]
    Abandoned,
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// The reason why a statement has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum StatementError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Stopped(#[from] Stop),
    #[error("the result has more than {limit} rows")]
    TooManyRows { limit: usize },
    #[error("the results of the request have more than {limit} bytes")]
    TooManyBytes { limit: usize },
    /// Nothing was run: the panic happened while the statement was compiled.
    #[error("the database cannot compile this statement")]
    Panicked,
    #[error(transparent)]
    Core(#[from] LimboError),
}

/// The instructions of the core between two looks at the watch. The program of a trigger or of a foreign key's
/// action counts its own, and calls the next level of a cascade after a few of them.
const INSTRUCTIONS_PER_LOOK: u64 = 4;

/// The SQL of a request, parsed.
pub struct Script {
    pipeline: Pipeline,
    writes: bool,
}

/// The reason why a script is not run at all.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    #[error("{0}")]
    Malformed(String),
    #[error("the request has {statements} statements; the limit is {limit}")]
    TooManyStatements { statements: usize, limit: usize },
}

impl Script {
    /// Parses the body of a request to `/v2/pipeline`.
    ///
    /// # Errors
    /// [`ScriptError`]. Statements that are refused are no error of the script: each has its own answer.
    pub fn parse(body: &[u8], limits: &StatementLimits) -> Result<Script, ScriptError> {
        let pipeline = pipeline::parse(body).map_err(ScriptError::Malformed)?;
        let statements = pipeline.statements().count();
        if statements > limits.statements {
            return Err(ScriptError::TooManyStatements { statements, limit: limits.statements });
        }
        let writes = pipeline
            .statements()
            .any(|sql| matches!(statement_check::check(sql, limits), Ok(Kind::Writes | Kind::ChangesSchema)));
        Ok(Script { pipeline, writes })
    }

    /// Whether a statement may change the database.
    pub fn writes(&self) -> bool {
        self.writes
    }
}

/// A connection for one script.
pub struct Session {
    connection: Arc<Connection>,
}

/// The result of a script, to be passed to [`Remote::finish_pipeline`].
pub struct Finished(Result<PipelineAnswer, LimboError>);

impl Session {
    /// Runs a script. A transaction that is still open at its end is rolled back.
    ///
    /// # Panics
    /// If the core panics while it runs a statement. The database must then not be used any more.
    pub fn run(self, script: &Script, limits: &StatementLimits, watch: &Arc<dyn Watch>) -> Finished {
        let looks_at = Arc::clone(watch);
        let is_over = Box::new(move || looks_at.stop().is_some());
        self.connection.set_progress_handler(INSTRUCTIONS_PER_LOOK, Some(is_over));
        let guard = Guard {
            limits,
            watch: watch.as_ref(),
            answer_bytes: Cell::new(0),
            expansion: RefCell::new(None),
        };
        let answer = pipeline::run(&self.connection, &script.pipeline, Some(&guard));
        // A limit that was reached must not stop the rollback.
        self.connection.set_progress_handler(0, None);
        Finished(store::roll_back(&self.connection).map(|()| answer))
    }
}

impl<L: KeptLog> Remote<L> {
    /// Opens the session of a script. Returns the answer if the request is meant for another run of the server,
    /// or if the database has no connection.
    ///
    /// # Errors
    /// The answer.
    pub fn connect(
        &mut self,
        request: &Request<Bytes>,
        script: &Script,
    ) -> Result<Session, Box<Response<Content>>> {
        if self.is_for_another_instance(request) {
            return Err(Box::new(self.named(another_instance())));
        }
        if script.writes() {
            self.open = None;
        }
        let connected = self.store.connect().map(|connection| {
            if !script.writes() {
                connection.set_query_only(true);
            }
            Session { connection }
        });
        connected.map_err(|failure| {
            Box::new(self.named(error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string())))
        })
    }

    /// Adds what a session has committed to the log, and answers.
    pub fn finish_pipeline(&mut self, script: &Script, finished: Finished) -> Response<Content> {
        let recorded = if script.writes() { self.log.record(&self.store) } else { Ok(()) };
        self.named(pipeline::response(recorded.and(finished.0)))
    }

    fn named(&self, mut response: Response<Content>) -> Response<Content> {
        self.name_instance(&mut response);
        response
    }
}

/// Watches over the statements of a session.
pub(super) struct Guard<'a> {
    limits: &'a StatementLimits,
    watch: &'a dyn Watch,
    answer_bytes: Cell<usize>,
    /// What the schema adds to a statement; `None` until a statement needs it.
    expansion: RefCell<Option<Expansion>>,
}

impl Guard<'_> {
    pub fn execute(
        &self,
        connection: &Arc<Connection>,
        statement: &BoundStatement,
    ) -> Result<Executed, StatementError> {
        self.watch.begin_statement();
        if let Some(stop) = self.watch.stop() {
            return Err(stop.into());
        }
        let kind = statement_check::check(&statement.sql, self.limits)?;
        self.check_expansion(connection, &statement.sql)?;
        // While a statement is compiled, nothing is written.
        let prepared = catch_unwind(AssertUnwindSafe(|| store::prepare(connection, statement)));
        let prepared = prepared.map_err(|_| StatementError::Panicked)??;
        let executed = self.run(connection, prepared);
        if matches!(kind, Kind::Controls | Kind::ChangesSchema) {
            *self.expansion.borrow_mut() = None;
        }
        executed
    }

    fn run(&self, connection: &Connection, prepared: Statement) -> Result<Executed, StatementError> {
        let mut excess = None;
        let mut row_count = 0;
        let executed = store::run(connection, prepared, |row| {
            row_count += 1;
            self.count_row(row, row_count).map_err(|error| {
                excess = Some(error);
                LimboError::Interrupt
            })
        });
        match executed {
            Ok(executed) => {
                self.count_bytes(executed.columns.iter().map(String::len).sum())?;
                Ok(executed)
            }
            // The core says `Busy` if it was interrupted inside a trigger or a foreign key's action.
            Err(error @ (LimboError::Interrupt | LimboError::Busy)) => Err(excess
                .or_else(|| self.watch.stop().map(StatementError::Stopped))
                .unwrap_or(StatementError::Core(error))),
            Err(error) => Err(error.into()),
        }
    }

    fn check_expansion(&self, connection: &Arc<Connection>, sql: &str) -> Result<(), StatementError> {
        const OBJECTS: &str = "SELECT type, CASE type WHEN 'trigger' THEN tbl_name ELSE name END, sql \
                               FROM sqlite_schema \
                               WHERE type IN ('view', 'trigger') OR type = 'table' AND ?1";
        let mut expansion = self.expansion.borrow_mut();
        if expansion.is_none() {
            let with_tables = Value::from_i64(i64::from(connection.foreign_keys_enabled()));
            let found = store::execute(connection, &BoundStatement::new(OBJECTS).with_args([with_tables]))?;
            let objects: Vec<SchemaObject> = found
                .rows
                .iter()
                .filter_map(|row| match &row[..] {
                    [Value::Text(kind), Value::Text(name), Value::Text(sql)] => Some(SchemaObject {
                        name: name.as_str().to_owned(),
                        is_table: kind.as_str() == "table",
                        sql: sql.as_str().to_owned(),
                    }),
                    _ => None,
                })
                .collect();
            *expansion = Some(Expansion::of(&objects)?);
        }
        let expansion = expansion.as_ref().expect("it was computed above");
        Ok(expansion.check(sql, self.limits)?)
    }

    fn count_row(&self, row: &Row, row_count: usize) -> Result<(), StatementError> {
        if row_count > self.limits.rows {
            return Err(StatementError::TooManyRows { limit: self.limits.rows });
        }
        self.count_bytes(row.get_values().map(bytes_in_answer).sum())
    }

    fn count_bytes(&self, bytes: usize) -> Result<(), StatementError> {
        self.answer_bytes.set(self.answer_bytes.get().saturating_add(bytes));
        if self.answer_bytes.get() > self.limits.answer_bytes {
            return Err(StatementError::TooManyBytes { limit: self.limits.answer_bytes });
        }
        Ok(())
    }
}

/// About the length of a value in the answer's JSON.
fn bytes_in_answer(value: &Value) -> usize {
    const AROUND: usize = 30;
    AROUND
        + match value {
            Value::Text(text) => text.as_str().len(),
            Value::Blob(bytes) => bytes.len() / 3 * 4,
            Value::Null | Value::Numeric(_) => 10,
        }
}
