//! Watches the statements of a request, and stops them at the limits of time and memory.
//!
//! The core asks after every few instructions whether to stop, so the answer has to be cheap. The clock and the
//! memory are looked at from the outside, by the future that waits for the request.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::large_stack::STACK_BYTES;
use super::limits::Limits;
use crate::lock::lock;
use crate::world::remote::{Stop, Watch};

/// The time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The part of a thread's stack that a running statement may use, in bytes. The core calls itself for each level of
/// a cascade, and needs several times as much stack to undo a level.
const STACK_USE_MAX_BYTES: usize = STACK_BYTES / 8;

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

/// Watches one request.
pub(super) struct RequestWatch {
    ending: Ending,
    statement_time: Duration,
    statement_memory_bytes: u64,
    /// The memory of the process when the request began.
    memory_bytes: u64,
    /// An address on the stack where the statement begins.
    stack_begin: AtomicUsize,
    is_over: AtomicBool,
    current: Mutex<Current>,
}

/// The statement that runs.
struct Current {
    begin: Instant,
    stop: Option<Stop>,
}

#[expect(clippy::disallowed_methods, reason = "a served remote runs in real time")]
impl RequestWatch {
    /// A request begins.
    pub fn begin(limits: &Limits, ending: Ending) -> Self {
        Self {
            ending,
            statement_time: limits.statement_time,
            statement_memory_bytes: limits.statement_memory_bytes,
            memory_bytes: memory_bytes(),
            stack_begin: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            current: Mutex::new(Current { begin: Instant::now(), stop: None }),
        }
    }

    /// Waits for the end of the request. If nobody waits any more, the request is stopped.
    pub async fn over<T>(&self, work: impl Future<Output = T>) -> T {
        let _abandoned = AbandonOnDrop(self);
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(LOOK_INTERVAL, &mut work).await {
                Ok(done) => return done,
                Err(_) => self.look(),
            }
        }
    }

    fn look(&self) {
        let gained = memory_bytes().saturating_sub(self.memory_bytes);
        let mut current = lock(&self.current);
        let stop = if self.ending.has_begun() {
            Stop::ShuttingDown
        } else if gained > self.statement_memory_bytes {
            Stop::Memory { limit_bytes: self.statement_memory_bytes }
        } else if current.begin.elapsed() >= self.statement_time {
            Stop::Time { limit: self.statement_time }
        } else {
            return;
        };
        current.stop.get_or_insert(stop);
        self.is_over.store(true, Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "a served remote runs in real time")]
impl Watch for RequestWatch {
    fn begin_statement(&self) {
        self.stack_begin.store(stack_address(), Ordering::Relaxed);
        let mut current = lock(&self.current);
        current.begin = Instant::now();
        // The other reasons hold for the rest of the request.
        if matches!(current.stop, Some(Stop::Time { .. } | Stop::Memory { .. } | Stop::Depth)) {
            current.stop = None;
        }
        self.is_over.store(current.stop.is_some(), Ordering::Relaxed);
    }

    fn stop(&self) -> Option<Stop> {
        let is_deep =
            self.stack_begin.load(Ordering::Relaxed).abs_diff(stack_address()) > STACK_USE_MAX_BYTES;
        if !is_deep && !self.is_over.load(Ordering::Relaxed) {
            return None;
        }
        let mut current = lock(&self.current);
        if is_deep {
            current.stop.get_or_insert(Stop::Depth);
            self.is_over.store(true, Ordering::Relaxed);
        }
        current.stop
    }
}

/// Stops a request whose answer nobody waits for.
struct AbandonOnDrop<'a>(&'a RequestWatch);

impl Drop for AbandonOnDrop<'_> {
    fn drop(&mut self) {
        lock(&self.0.current).stop.get_or_insert(Stop::Abandoned);
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// About the address at which the stack of this thread ends.
#[inline(never)]
fn stack_address() -> usize {
    let marker = 0_u8;
    std::hint::black_box(&raw const marker).addr()
}

/// The memory of the process, in bytes; 0 where it cannot be read.
#[cfg(target_os = "linux")]
#[expect(clippy::disallowed_methods, reason = "the kernel tells the memory of the process in a file")]
fn memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

#[cfg(not(target_os = "linux"))]
fn memory_bytes() -> u64 {
    0
}
