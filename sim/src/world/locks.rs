//! The exclusive file locks of simulated processes.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use plimsoll_engine::LockGuard;

use crate::lock::lock;

/// The locked paths of one group of processes. The next boot of a machine has its own, so what an earlier
/// process drops then releases nothing there.
#[derive(Clone, Default)]
pub(super) struct Locks(Arc<Mutex<BTreeSet<String>>>);

impl Locks {
    /// Locks a path until the guard is dropped.
    pub(super) fn take(&self, path: &str) -> io::Result<LockGuard> {
        if !lock(&self.0).insert(path.to_owned()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Held { locks: self.clone(), path: path.to_owned() }))
    }
}

#[cfg(test)]
impl Locks {
    /// Releases all locks, although their guards live.
    pub(super) fn forget(&self) {
        lock(&self.0).clear();
    }
}

struct Held {
    locks: Locks,
    path: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.locks.0).remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_locked_once_until_the_guard_is_dropped() {
        let locks = Locks::default();
        let guard = locks.take("a").unwrap();
        assert_eq!(locks.take("a").map(drop).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(locks.take("b").is_ok());
        drop(guard);
        assert!(locks.take("a").is_ok());
    }
}
