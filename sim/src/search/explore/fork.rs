//! Processes and their shared memory: how an exploration forks a history.
//!
//! The fork of a process copies the whole state of a history, including the engine's unfinished operations,
//! which nothing else could copy. The child has only the forking thread, so the caller must make sure that no
//! other thread holds a lock that the child needs. Each process of an exploration therefore runs one history
//! at a time.
//!
//! Not in this module: systems without `fork`.

use std::io;
use std::num::NonZero;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};

/// The number of slots in the set of visited states. It is a power of two.
const VISITED_MAX: usize = 1 << 22;

/// The process in which the call of `fork` returns. It returns in both.
pub(super) enum Side {
    Child,
    Parent(Child),
}

/// A forked process that the parent must wait for.
pub(super) struct Child(Pid);

pub(super) fn fork() -> io::Result<Side> {
    // SAFETY: the child continues with a copy of this thread. No other thread of this process runs a
    // history or holds a lock that the child takes: the other threads only wait for this one to end.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => {
            leave_signals_to_the_parent()?;
            Ok(Side::Child)
        }
        ForkResult::Parent { child } => Ok(Side::Parent(Child(child))),
    }
}

/// Lets this child ignore Ctrl-C, which reaches all processes: the first process stops the others. If a
/// parent is killed, its children die too.
fn leave_signals_to_the_parent() -> io::Result<()> {
    // SAFETY: no signal handler is installed.
    unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) }?;
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(())
}

/// Ends this process at once. It neither flushes nor drops anything, because the parent has a copy.
pub(super) fn exit(status: i32) -> ! {
    // SAFETY: the call takes no pointers and does not return.
    unsafe { libc::_exit(status) }
}

impl Child {
    /// Waits for the child to end. Returns whether it ended with status 0.
    pub(super) fn wait(self) -> io::Result<bool> {
        loop {
            match waitpid(self.0, None) {
                Ok(status) => return Ok(matches!(status, WaitStatus::Exited(_, 0))),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The counters that all processes of an exploration share.
#[derive(Default)]
#[repr(C)]
pub(super) struct Totals {
    /// The number of the next unit to take.
    pub(super) next_unit: AtomicU64,
    pub(super) units_done: AtomicU64,
    /// The number of histories that ran to their end.
    pub(super) histories: AtomicU64,
    /// The number of variants that were skipped because their state had been visited before.
    pub(super) deduplicated: AtomicU64,
    pub(super) crashed_twice: AtomicU64,
    pub(super) violations: AtomicU64,
    /// The sum of the histories' trace hashes. It does not depend on which process ran which history.
    pub(super) hash: AtomicU64,
    /// The sum of `Outcome::bytes_hash` over all histories.
    pub(super) bytes_hash: AtomicU64,
    /// 0 as long as further histories may start.
    pub(super) stopped: AtomicU64,
    /// The number of processes that ended with an unexpected status.
    pub(super) broken: AtomicU64,
}

#[repr(C)]
struct Region {
    totals: Totals,
    visited: [AtomicU64; VISITED_MAX],
}

/// Memory that forked processes continue to share: the counters and the set of visited states.
pub(super) struct Shared(NonNull<Region>);

// SAFETY: the region consists of atomics.
unsafe impl Send for Shared {}
// SAFETY: the region consists of atomics.
unsafe impl Sync for Shared {}

impl Shared {
    pub(super) fn new() -> io::Result<Self> {
        let size = NonZero::new(size_of::<Region>()).expect("a region has a size");
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: an anonymous mapping at an address of the kernel's choice overlaps nothing.
        let region = unsafe { mmap_anonymous(None, size, protection, MapFlags::MAP_SHARED) }?;
        Ok(Self(region.cast()))
    }

    fn region(&self) -> &Region {
        // SAFETY: the mapping is as large as a region, page-aligned, not unmapped while `self` lives, and
        // initially zeroed, which is a valid value of every atomic in it.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.region().totals
    }

    /// Stops all processes: they finish the history that they run and inject no further fault.
    pub(super) fn stop(&self) {
        self.totals().stopped.store(1, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.totals().stopped.load(Ordering::Relaxed) != 0
    }

    /// Adds `state` to the visited states. Returns whether it was new. When the set is full, every state
    /// counts as new.
    pub(super) fn visit(&self, state: u64) -> bool {
        let state = state.max(1);
        let visited = &self.region().visited;
        for probe in 0..VISITED_MAX {
            let slot = &visited[(state as usize).wrapping_add(probe) % VISITED_MAX];
            match slot.compare_exchange(0, state, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(there) if there == state => return false,
                Err(_) => {}
            }
        }
        true
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the region was mapped with this size, and no reference to it is left.
        let unmapped = unsafe { munmap(self.0.cast(), size_of::<Region>()) };
        unmapped.expect("a mapped region can be unmapped");
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_new_only_once_across_processes() {
        let shared = Shared::new().expect("memory can be mapped");
        assert!(shared.visit(7));
        match fork().expect("processes can be forked") {
            Side::Child => exit(i32::from(shared.visit(7) || !shared.visit(8))),
            Side::Parent(child) => assert!(child.wait().expect("a child can be waited for")),
        }
        assert!(!shared.visit(8));
        assert!(shared.visit(9));
    }

    #[test]
    fn a_child_that_fails_is_noticed() {
        match fork().expect("processes can be forked") {
            Side::Child => exit(3),
            Side::Parent(child) => assert!(!child.wait().expect("a child can be waited for")),
        }
    }
}
