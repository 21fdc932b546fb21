//! Runs the work of a request on a thread of its own with a large stack.
//!
//! The core translates views, compound selects and subqueries recursively. The limits of a statement bound the
//! depth, and this stack is large enough for it. Cascades are recursive while they run; `watch` stops them. Only the pages that are used take memory.

use tokio::sync::oneshot;

/// The size of the stack in bytes. A statement within the default limits uses less than a quarter of it.
pub(super) const STACK_BYTES: usize = 256 << 20;

/// The reason why work has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    #[error("no thread can be started: {0}")]
    NoThread(std::io::Error),
    #[error("the work ended in a panic")]
    Panicked,
}

/// Runs `work`, which goes on even if the future is dropped.
#[expect(clippy::disallowed_methods, reason = "a served remote runs in real time, on threads")]
pub(super) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WorkError> {
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name("request".into()).stack_size(STACK_BYTES);
    let started = thread.spawn(move || {
        // The client may have stopped waiting.
        drop(sender.send(work()));
    });
    started.map_err(WorkError::NoThread)?;
    receiver.await.map_err(|_| WorkError::Panicked)
}
