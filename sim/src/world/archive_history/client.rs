//! The clients of the served archive: what they send, and what they see.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value as Json, json};

use super::ArchiveHistory;
use crate::judge::archive::{ArchiveModel, Rows, ServedGeneration};
use crate::judge::marks::Situation;
use crate::judge::verdict::Violation;
use crate::world::remote::{StatementLimits, Stop, Watch};

/// Lets every statement end by itself: the histories' statements are small.
struct Unwatched;

impl Watch for Unwatched {
    fn begin_statement(&self) {}

    fn stop(&self) -> Option<Stop> {
        None
    }
}

impl ArchiveHistory {
    /// A client commits a transaction of several rows.
    pub(super) fn write(&mut self, transaction: u32, rows: u8, payload_bytes: u16) {
        self.model.attempt(transaction, rows.into());
        let before = self.generation_and_health();
        let answer = self.execute(&insert(transaction, rows, payload_bytes)).unwrap_or_default();
        if answer["type"] != "ok" {
            self.counts.errors_reported += u64::from(!self.disk.is_down());
            return;
        }
        if self.disk.is_down() {
            return;
        }
        self.counts.client_commits += 1;
        self.model.acknowledge(transaction);
        let after = self.generation_and_health();
        if after.0 > before.0 {
            self.counts.generations += 1;
            self.reach(Situation::ClosedByItself);
        }
        if before.1 && !after.1 {
            self.reach(Situation::Healed);
        }
    }

    /// The number of the generation, and whether the server has to recover from a failure.
    fn generation_and_health(&self) -> (u64, bool) {
        self.archive.as_ref().map_or((0, false), |served| {
            let archive = served.archive();
            (archive.remote().generation(), archive.needs_healing())
        })
    }

    /// The body of a successful answer.
    fn request(&mut self, method: Method, path: &str, body: String) -> Option<Bytes> {
        self.counts.requests += 1;
        let archive = self.archive.as_ref()?;
        let request = Request::builder().method(method).uri(path).body(Bytes::from(body));
        let request = request.expect("the request is valid");
        let watch: Arc<dyn Watch> = Arc::new(Unwatched);
        let response = archive.answer(&request, &StatementLimits::default(), &watch);
        let is_success = response.status().is_success();
        let body = response.into_body().read(archive.io()).ok()?;
        is_success.then_some(body)
    }

    /// Everything that a client can fetch. `None` if a request fails.
    pub(super) fn fetch(&mut self) -> Option<Vec<ServedGeneration>> {
        let current = self.archive.as_ref()?.archive().remote().generation();
        let mut served = Vec::new();
        for generation in (1..=current).rev() {
            let Some(snapshot) = self.request(Method::GET, &format!("/export/{generation}"), String::new())
            else {
                break;
            };
            let path = format!("/sync/{generation}/1/{}", u64::MAX);
            // A generation without frames is answered with a status.
            let frames = self.request(Method::GET, &path, String::new()).unwrap_or_default();
            served.push(ServedGeneration { generation, snapshot: snapshot.into(), frames: frames.into() });
        }
        served.reverse();
        (!served.is_empty()).then_some(served)
    }

    /// The rows of the database, read over HTTP.
    pub(super) fn rows(&mut self) -> Result<Rows, Violation> {
        let answer = self.execute("SELECT tx, count(*) FROM t GROUP BY tx ORDER BY tx").unwrap_or_default();
        let rows = answer["response"]["result"]["rows"].as_array();
        let rows =
            rows.ok_or_else(|| ArchiveModel::refused(&format!("its rows cannot be read: {answer}")))?;
        let number = |cell: &Json| cell["value"].as_str().and_then(|digits| digits.parse().ok());
        Ok(rows
            .iter()
            .map(|row| (number(&row[0]).unwrap_or(u32::MAX), number(&row[1]).unwrap_or(u32::MAX)))
            .collect())
    }

    /// The result of a statement that a client sends. `None` if the request fails.
    fn execute(&mut self, sql: &str) -> Option<Json> {
        let statement = json!({ "sql": sql, "args": [], "named_args": [], "want_rows": true });
        let body = json!({ "requests": [{ "type": "execute", "stmt": statement }] });
        let answer = self.request(Method::POST, "/v2/pipeline", body.to_string())?;
        let mut answer: Json = serde_json::from_slice(&answer).ok()?;
        Some(answer["results"][0].take())
    }
}

/// The statement that inserts the rows of a transaction.
pub(super) fn insert(transaction: u32, rows: u8, payload_bytes: u16) -> String {
    let payload = "x".repeat(payload_bytes.into());
    let values: Vec<String> = (0..rows).map(|row| format!("({transaction}, {row}, '{payload}')")).collect();
    format!("INSERT INTO t VALUES {}", values.join(", "))
}
