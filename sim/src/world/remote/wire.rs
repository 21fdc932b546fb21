//! The JSON of `/v2/pipeline`, as the server sees it ("hrana" over HTTP).
//!
//! This code is deliberately separate from the engine's: two independent readings of a protocol find mistakes
//! that a shared one hides. Features that the server does not support (batons, `sequence`, `describe`) do not parse.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use turso_core::{LimboError, Numeric};

use super::session::StatementError;
use super::statement_check::Refusal;
use super::store::{BoundStatement, Executed};

/// The body of a request.
#[derive(Deserialize)]
pub(super) struct Pipeline {
    /// This server issues no batons.
    #[serde(default, rename = "baton")]
    _baton: Option<Unsupported>,
    pub requests: Vec<StreamRequest>,
}

impl Pipeline {
    /// The texts of all statements.
    pub fn statements(&self) -> impl Iterator<Item = &str> {
        self.requests.iter().flat_map(|request| {
            let (one, several) = match request {
                StreamRequest::Execute { stmt } => (Some(stmt), &[][..]),
                StreamRequest::Batch { batch } => (None, &batch.steps[..]),
                StreamRequest::StoreSql { .. } | StreamRequest::CloseSql { .. } | StreamRequest::Close => {
                    (None, &[][..])
                }
            };
            one.into_iter().chain(several.iter().map(|step| &step.stmt)).map(|stmt| stmt.sql.as_str())
        })
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum StreamRequest {
    Execute {
        stmt: Stmt,
    },
    Batch {
        batch: Batch,
    },
    /// Names a text for the rest of the request.
    StoreSql {
        sql_id: i32,
        sql: String,
    },
    CloseSql {
        sql_id: i32,
    },
    Close,
}

#[derive(Deserialize)]
pub(super) struct Stmt {
    /// The text. [`resolve`](Self::resolve) puts the stored text of `sql_id` here.
    #[serde(default)]
    sql: String,
    #[serde(default)]
    sql_id: Option<i32>,
    #[serde(default)]
    args: Vec<Value>,
    #[serde(default)]
    named_args: Vec<NamedArg>,
    #[serde(default = "yes")]
    pub want_rows: bool,
}

/// The default of `want_rows`.
fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct NamedArg {
    name: String,
    value: Value,
}

impl Stmt {
    /// Replaces the number of a stored text by the text.
    ///
    /// # Errors
    /// There is no such text.
    pub fn resolve(&mut self, stored: &BTreeMap<i32, String>) -> Result<(), String> {
        let Some(id) = self.sql_id.take() else { return Ok(()) };
        let sql = stored.get(&id).ok_or_else(|| format!("no text is stored as {id}"))?;
        self.sql.clone_from(sql);
        Ok(())
    }

    pub fn statement(&self) -> BoundStatement {
        let named = self.named_args.iter().map(|arg| (arg.name.clone(), arg.value.clone().into()));
        BoundStatement::new(&self.sql)
            .with_args(self.args.iter().cloned().map(turso_core::Value::from))
            .with_named_args(named)
    }
}

#[derive(Deserialize)]
pub(super) struct Batch {
    pub steps: Vec<BatchStep>,
}

#[derive(Deserialize)]
pub(super) struct BatchStep {
    /// A step without a condition always runs.
    #[serde(default)]
    pub condition: Option<Condition>,
    pub stmt: Stmt,
}

/// The condition for a step to run. Steps are numbered from 0. A skipped step is neither ok nor an error.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Condition {
    Ok { step: usize },
    Error { step: usize },
    Not { cond: Box<Condition> },
    And { conds: Vec<Condition> },
    Or { conds: Vec<Condition> },
    IsAutocommit,
}

/// A type without values: a member of this type is absent, null or empty.
#[derive(Deserialize)]
enum Unsupported {}

#[derive(Serialize)]
pub(super) struct PipelineAnswer {
    /// Always `None`: the stream ends with the request.
    pub baton: Option<String>,
    pub base_url: Option<String>,
    pub results: Vec<StreamResult>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum StreamResult {
    Ok { response: StreamAnswer },
    Error { error: Error },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum StreamAnswer {
    Execute { result: ExecuteResult },
    Batch { result: BatchResult },
    StoreSql,
    CloseSql,
    Close,
}

#[derive(Serialize)]
pub(super) struct ExecuteResult {
    cols: Vec<Column>,
    rows: Vec<Vec<Value>>,
    affected_row_count: i64,
    last_insert_rowid: Option<String>,
}

impl ExecuteResult {
    pub fn new(executed: Executed, want_rows: bool) -> ExecuteResult {
        let Executed { columns, rows, affected_row_count, last_insert_rowid } = executed;
        let cols = columns.into_iter().map(|name| Column { name }).collect();
        let rows = if want_rows { rows } else { Vec::new() };
        let rows = rows.into_iter().map(|row| row.into_iter().map(Value::from).collect()).collect();
        let last_insert_rowid = (last_insert_rowid != 0).then(|| last_insert_rowid.to_string());
        ExecuteResult { cols, rows, affected_row_count, last_insert_rowid }
    }
}

#[derive(Serialize)]
struct Column {
    name: String,
}

/// One entry per step in both lists. A skipped step is null in both.
#[derive(Serialize, Default)]
pub(super) struct BatchResult {
    pub step_results: Vec<Option<ExecuteResult>>,
    pub step_errors: Vec<Option<Error>>,
}

#[derive(Serialize)]
pub(super) struct Error {
    message: String,
    code: &'static str,
}

impl From<StatementError> for Error {
    fn from(error: StatementError) -> Error {
        let code = match &error {
            StatementError::Refused(Refusal::Syntax(_) | Refusal::MoreThanOne) => "SQLITE_ERROR",
            StatementError::Refused(_) => "SQLITE_AUTH",
            StatementError::Stopped(_) => "SQLITE_INTERRUPT",
            StatementError::TooManyRows { .. } | StatementError::TooManyBytes { .. } => "SQLITE_TOOBIG",
            StatementError::Panicked => "SQLITE_INTERNAL",
            StatementError::Core(LimboError::Constraint(_) | LimboError::ForeignKeyConstraint(_)) => {
                "SQLITE_CONSTRAINT"
            }
            StatementError::Core(LimboError::Busy | LimboError::BusySnapshot) => "SQLITE_BUSY",
            StatementError::Core(LimboError::CompletionError(_)) => "SQLITE_IOERR",
            StatementError::Core(_) => "SQLITE_ERROR",
        };
        Error { message: error.to_string(), code }
    }
}

/// An SQL value. Integers are sent as decimal strings, blobs as base64 without padding.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Value {
    Null,
    Integer {
        #[serde(serialize_with = "to_decimal", deserialize_with = "from_decimal")]
        value: i64,
    },
    Float {
        value: f64,
    },
    Text {
        value: String,
    },
    Blob {
        #[serde(rename = "base64", serialize_with = "to_base64", deserialize_with = "from_base64")]
        bytes: Vec<u8>,
    },
}

impl From<Value> for turso_core::Value {
    fn from(value: Value) -> turso_core::Value {
        match value {
            Value::Null => turso_core::Value::Null,
            Value::Integer { value } => turso_core::Value::from_i64(value),
            Value::Float { value } => turso_core::Value::from_f64(value),
            Value::Text { value } => turso_core::Value::build_text(value),
            Value::Blob { bytes } => turso_core::Value::from_blob(bytes),
        }
    }
}

impl From<turso_core::Value> for Value {
    fn from(value: turso_core::Value) -> Value {
        match value {
            turso_core::Value::Null => Value::Null,
            turso_core::Value::Numeric(Numeric::Integer(value)) => Value::Integer { value },
            turso_core::Value::Numeric(Numeric::Float(value)) => Value::Float { value: value.into() },
            turso_core::Value::Text(text) => Value::Text { value: text.as_str().to_owned() },
            turso_core::Value::Blob(bytes) => Value::Blob { bytes },
        }
    }
}

fn to_decimal<S: Serializer>(value: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn from_decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD_NO_PAD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    STANDARD_NO_PAD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
}
