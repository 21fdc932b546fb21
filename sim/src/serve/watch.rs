//! The time limits of the statements in a request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::limits::Limits;
use crate::lock::lock;
use crate::world::remote::{Stop, Watch};

/// Whether the server is shutting down.
#[derive(Clone, Default)]
pub(super) struct Ending(Arc<AtomicBool>);

impl Ending {
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The time limits of one request, which begins now.
pub(super) struct TimeLimits {
    ending: Ending,
    statement_time: Duration,
    request_time: Duration,
    request_begin: Instant,
    statement_begin: Mutex<Instant>,
}

#[expect(clippy::disallowed_methods, reason = "a served remote runs in real time")]
impl TimeLimits {
    pub fn begin(limits: &Limits, ending: Ending) -> Self {
        let now = Instant::now();
        Self {
            ending,
            statement_time: limits.statement_time,
            request_time: limits.request_time,
            request_begin: now,
            statement_begin: Mutex::new(now),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a served remote runs in real time")]
impl Watch for TimeLimits {
    fn begin_statement(&self) {
        *lock(&self.statement_begin) = Instant::now();
    }

    fn stop(&self) -> Option<Stop> {
        if self.ending.has_begun() {
            Some(Stop::ShuttingDown)
        } else if self.request_begin.elapsed() >= self.request_time {
            Some(Stop::RequestTime { seconds: self.request_time.as_secs() })
        } else if lock(&self.statement_begin).elapsed() >= self.statement_time {
            Some(Stop::StatementTime { seconds: self.statement_time.as_secs() })
        } else {
            None
        }
    }
}
