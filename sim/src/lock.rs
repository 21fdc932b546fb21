//! Taking a lock in a world that survives panics.
//!
//! The simulator catches an engine's panic and calls it a violation; the mutexes that were held meanwhile are poisoned,
//! but the violation's report still has to read the trace and the disk behind them. Nothing here decides whether the
//! guarded state is still worth simulating: the world stops after a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, whether or not somebody panicked while holding it.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
