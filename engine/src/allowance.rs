//! What a server may make one operation receive, and for how long.
//!
//! An answer is bounded only by the server's own claims: an export by the length in its header, a transaction
//! by its commit frame. A broken or hostile server can claim anything. The allowance ends the operation before
//! the disk is full or the application has waited for ever.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use turso_core::{IO, MonotonicInstant};

use crate::error::{Error, Result};
use crate::options::Options;

/// The allowance of the operation that is running.
pub(crate) struct Allowance {
    io: Arc<dyn IO>,
    bytes_max: u64,
    time_max: Duration,
    spent: Mutex<Spent>,
}

struct Spent {
    bytes: u64,
    begin: MonotonicInstant,
}

impl Allowance {
    pub(crate) fn new(io: Arc<dyn IO>, options: &Options) -> Self {
        let spent = Mutex::new(Spent { bytes: 0, begin: io.current_time_monotonic() });
        let time_max = Duration::from_secs(options.operation_seconds_max);
        Self { io, bytes_max: options.operation_bytes_max, time_max, spent }
    }

    /// An operation begins.
    pub(crate) fn renew(&self) {
        let begin = self.io.current_time_monotonic();
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner) = Spent { bytes: 0, begin };
    }

    /// Counts bytes of an answer, or a request without any.
    ///
    /// # Errors
    /// [`Error::TooManyBytes`] and [`Error::TookTooLong`], with `request`.
    pub(crate) fn spend(&self, request: &str, bytes: u64) -> Result<()> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.bytes = spent.bytes.saturating_add(bytes);
        if spent.bytes > self.bytes_max {
            return Err(Error::TooManyBytes { request: request.to_owned(), bytes_max: self.bytes_max });
        }
        if self.io.current_time_monotonic().duration_since(spent.begin) > self.time_max {
            let seconds_max = self.time_max.as_secs();
            return Err(Error::TookTooLong { request: request.to_owned(), seconds_max });
        }
        Ok(())
    }
}
