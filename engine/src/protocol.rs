//! The messages of the wire protocol, as JSON.
//!
//! `/v2/pipeline` uses the "hrana over HTTP" dialect. The engine sends only conditional batches, because only
//! these stop at the first failing statement.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use turso_core::{Numeric, Value};

/// The answer to `GET /info`.
#[derive(Debug, Deserialize)]
pub(crate) struct Info {
    pub(crate) current_generation: u64,
    /// A name of the server's log. A server that is restored by its own tools changes it, but a copy of its files
    /// keeps it: a hint, and no proof. Some servers do not send it.
    pub(crate) history_id: Option<String>,
}

/// The status object of an answer to a request for frames that the server does not have, and to pushed
/// frames.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    #[serde(default)]
    pub(crate) baton: Option<String>,
    pub(crate) status: String,
    pub(crate) generation: u64,
    pub(crate) max_frame_no: u64,
}

/// The only status word of a 400 that the protocol defines.
pub(crate) const CHECKPOINT_NEEDED: &str = "checkpoint_needed";
/// The server has accepted the pushed frames.
pub(crate) const OK: &str = "ok";
/// The server has another frame under the number of a pushed frame.
pub(crate) const CONFLICT: &str = "conflict";

#[derive(Debug, Serialize)]
pub(crate) struct PipelineRequest {
    baton: Option<String>,
    requests: [BatchRequest; 1],
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "batch")]
struct BatchRequest {
    batch: Batch,
}

#[derive(Debug, Serialize)]
struct Batch {
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Step {
    condition: Option<Condition>,
    stmt: Stmt,
}

#[derive(Debug, Serialize)]
struct Stmt {
    sql: String,
    args: Vec<WireValue>,
    named_args: [(); 0],
    want_rows: bool,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Condition {
    Ok { step: usize },
    Not { cond: Box<Condition> },
    IsAutocommit,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireValue {
    Null,
    Integer { value: String },
    Float { value: f64 },
    Text { value: String },
    Blob { base64: String },
}

impl From<&Value> for WireValue {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Numeric(Numeric::Integer(integer)) => Self::Integer { value: integer.to_string() },
            Value::Numeric(Numeric::Float(float)) => Self::Float { value: f64::from(*float) },
            Value::Text(text) => Self::Text { value: text.as_str().to_owned() },
            Value::Blob(blob) => Self::Blob { base64: STANDARD_NO_PAD.encode(blob) },
        }
    }
}

impl PipelineRequest {
    /// A batch in which each statement runs only if the previous one succeeded, and which leaves no
    /// transaction open.
    pub(crate) fn chained<'a>(statements: impl IntoIterator<Item = (&'a str, &'a [Value])>) -> Self {
        let mut steps: Vec<Step> = Vec::new();
        for (sql, args) in statements {
            let condition = steps.len().checked_sub(1).map(|step| Condition::Ok { step });
            steps.push(Step::new(condition, sql, args));
        }
        let still_open = Condition::Not { cond: Box::new(Condition::IsAutocommit) };
        steps.push(Step::new(Some(still_open), "ROLLBACK", &[]));
        Self { baton: None, requests: [BatchRequest { batch: Batch { steps } }] }
    }
}

impl Step {
    fn new(condition: Option<Condition>, sql: &str, args: &[Value]) -> Self {
        let args = args.iter().map(WireValue::from).collect();
        Self { condition, stmt: Stmt { sql: sql.to_owned(), args, named_args: [], want_rows: false } }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct PipelineAnswer {
    pub(crate) results: Vec<RequestResult>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum RequestResult {
    Ok { response: BatchResponse },
    Error { error: StatementError },
}

#[derive(Debug, Deserialize)]
pub(crate) struct BatchResponse {
    pub(crate) result: BatchResult,
}

/// One entry per step. A step that ran has exactly one of the two members; a skipped step has none.
#[derive(Debug, Deserialize)]
pub(crate) struct BatchResult {
    pub(crate) step_results: Vec<Option<serde::de::IgnoredAny>>,
    pub(crate) step_errors: Vec<Option<StatementError>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StatementError {
    pub(crate) message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_runs_each_statement_only_after_the_one_before() {
        let request = PipelineRequest::chained([
            ("BEGIN", &[][..]),
            ("INSERT INTO t VALUES (?)", &[Value::from_i64(7)][..]),
        ]);
        assert_eq!(
            serde_json::to_value(&request).unwrap(),
            serde_json::json!({"baton": null, "requests": [{"type": "batch", "batch": {"steps": [
                {"condition": null, "stmt": {"sql": "BEGIN", "args": [], "named_args": [], "want_rows": false}},
                {"condition": {"type": "ok", "step": 0}, "stmt": {"sql": "INSERT INTO t VALUES (?)",
                    "args": [{"type": "integer", "value": "7"}], "named_args": [], "want_rows": false}},
                {"condition": {"type": "not", "cond": {"type": "is_autocommit"}},
                    "stmt": {"sql": "ROLLBACK", "args": [], "named_args": [], "want_rows": false}},
            ]}}]})
        );
    }
}
