//! The limits of a server, with their defaults. Each is a flag of `plimsoll serve`.

use std::time::Duration;

use crate::world::remote::{BatonLimits, StatementLimits};

/// How much one client, and all of them together, may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections. More are answered with 503 and closed. At most half of the process's file descriptors.
    pub connections: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// The time for a request's head, and for which an unused connection is kept.
    pub head_time: Duration,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Bytes of all bodies in memory: those of requests, and the results of SQL.
    pub bodies_bytes: usize,
    /// The time for the next part of a request's body.
    pub body_idle_time: Duration,
    /// The time for a client to take the next part of an answer.
    pub write_time: Duration,
    /// The time for a request, from its head to the head of its answer.
    pub request_time: Duration,
    /// Requests that run SQL at the same time, and requests that append frames. More have to wait.
    pub requests_at_once: usize,
    /// The time for a statement.
    pub statement_time: Duration,
    /// Bytes by which the memory of the process may grow while a request runs SQL. Only on Linux.
    pub statement_memory_bytes: u64,
    pub statements: StatementLimits,
    /// A posted transaction that is held open over several requests. There is at most one.
    pub batons: BatonLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            head_bytes: 16 << 10,
            headers: 64,
            head_time: Duration::from_secs(30),
            body_bytes: 64 << 20,
            bodies_bytes: 128 << 20,
            body_idle_time: Duration::from_secs(20),
            write_time: Duration::from_secs(30),
            request_time: Duration::from_secs(120),
            requests_at_once: 8,
            statement_time: Duration::from_secs(20),
            statement_memory_bytes: 512 << 20,
            statements: StatementLimits::default(),
            batons: BatonLimits::default(),
        }
    }
}
