//! Processes and the memory that they share: how an exploration forks a history.
//!
//! A fork copies everything that a history is made of, unfinished operations of the engine included. Only a process can copy those. The
//! child has only the forking thread, so the caller makes sure that no other thread holds a lock that the child needs; an exploration
//! runs one history at a time in each of its processes.
//!
//! Absent: systems without `fork`.

use std::io;
use std::num::NonZero;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};

/// Slots in the set of visited states; a power of two.
const VISITED_MAX: usize = 1 << 22;

/// The process in which a fork returns.
pub(super) enum Side {
    Child,
    Parent(Child),
}

/// A forked process that has to be waited for.
pub(super) struct Child(Pid);

/// Forks the calling thread.
pub(super) fn fork() -> io::Result<Side> {
    // SAFETY: the child goes on with a copy of this thread. No other thread of this process runs a history or holds a lock that the child
    // takes: the others only wait for this one to end.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => {
            leave_signals_to_the_parent()?;
            Ok(Side::Child)
        }
        ForkResult::Parent { child } => Ok(Side::Parent(Child(child))),
    }
}

/// Ctrl-C reaches all processes; the first one stops the others. They die with it when it is killed.
fn leave_signals_to_the_parent() -> io::Result<()> {
    // SAFETY: no handler of ours is installed.
    unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) }?;
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(())
}

/// Ends this process at once, without flushing or dropping what the parent has a copy of.
pub(super) fn exit(status: i32) -> ! {
    // SAFETY: it takes no pointers and does not return.
    unsafe { libc::_exit(status) }
}

impl Child {
    /// Waits for its end. Whether it ended with status 0.
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

/// What all processes of an exploration count together.
#[derive(Default)]
#[repr(C)]
pub(super) struct Totals {
    /// The next unit that nobody has taken.
    pub(super) next_unit: AtomicU64,
    /// Units that are done.
    pub(super) units_done: AtomicU64,
    /// Histories that were run to their end.
    pub(super) histories: AtomicU64,
    /// Variants that led to a state which had been visited.
    pub(super) deduplicated: AtomicU64,
    /// Histories with a second crash.
    pub(super) crashed_twice: AtomicU64,
    /// Histories that broke an invariant.
    pub(super) violations: AtomicU64,
    /// Sum of the histories' trace hashes: the same whichever process runs which.
    pub(super) hash: AtomicU64,
    /// Sum of their hashes over bytes alone.
    pub(super) bytes_hash: AtomicU64,
    /// Not 0 when nothing more is to be begun.
    pub(super) stopped: AtomicU64,
    /// Processes that ended in another way than they should.
    pub(super) broken: AtomicU64,
}

#[repr(C)]
struct Region {
    totals: Totals,
    visited: [AtomicU64; VISITED_MAX],
}

/// Memory that forked processes go on sharing: the counts, and the set of states that were visited.
pub(super) struct Shared(NonNull<Region>);

// SAFETY: all of the region is atomics.
unsafe impl Send for Shared {}
// SAFETY: all of the region is atomics.
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
        // SAFETY: the mapping is as large as a region, page-aligned, never unmapped while `self` lives, and zeroed, which is a valid
        // value of every atomic in it.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.region().totals
    }

    /// Asks all processes to come to an end: what they have begun is finished, nothing more is struck.
    pub(super) fn stop(&self) {
        self.totals().stopped.store(1, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.totals().stopped.load(Ordering::Relaxed) != 0
    }

    /// Whether `state` had not been visited before. When the set is full, everything counts as new.
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
        // SAFETY: the region was mapped with this size, and nothing borrows it any more.
        let unmapped = unsafe { munmap(self.0.cast(), size_of::<Region>()) };
        unmapped.expect("a mapped region can be unmapped");
    }
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_new_once_also_across_processes() {
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
