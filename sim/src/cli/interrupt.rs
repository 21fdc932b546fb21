//! Ends a long command early: on a signal, or after a time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use super::{Problem, STATUS_INTERRUPTED};

/// Listens for Ctrl-C and SIGTERM. The first signal asks the command to end cleanly. The second one ends
/// the process at once.
pub struct Interrupt {
    interrupted: Arc<AtomicBool>,
}

impl Interrupt {
    pub fn listen() -> Result<Self, Problem> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&interrupted);
        ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(STATUS_INTERRUPTED));
            }
        })?;
        Ok(Self { interrupted })
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Calls `work` with a flag that is set on a signal or after `limit`.
    #[expect(clippy::disallowed_methods, reason = "a command runs in real time, histories do not")]
    pub fn within<T>(&self, limit: Option<Duration>, work: impl FnOnce(&AtomicBool) -> T) -> T {
        let Some(limit) = limit else { return work(&self.interrupted) };
        const POLL_INTERVAL: Duration = Duration::from_millis(50);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let (done, is_done): (Sender<()>, _) = channel();
            scope.spawn(|| {
                let is_done = is_done;
                let mut left = limit;
                // The channel closes when the work is done. Until then each wait reaches its timeout.
                while is_done
                    .recv_timeout(left.min(POLL_INTERVAL))
                    .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
                {
                    left = left.saturating_sub(POLL_INTERVAL);
                    if left.is_zero() || self.is_interrupted() {
                        stop.store(true, Ordering::Relaxed);
                        return;
                    }
                }
            });
            let result = work(&stop);
            drop(done);
            result
        })
    }
}
