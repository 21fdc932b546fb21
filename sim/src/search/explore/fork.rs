//! Processes and the memory that they share: how an exploration forks a history.
//!
//! A fork copies everything a history is made of, half-done operations of the engine included, which nothing short of a process
//! can copy. The child has only the forking thread, so whoever forks makes sure that no other thread holds a lock it needs; the
//! exploration runs one history at a time in each of its processes.
//!
//! Left out: systems without `fork`.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Places in the set of visited states; a power of two.
const VISITED_MAX: usize = 1 << 22;

/// Which process it is after a fork.
pub(super) enum Side {
    Child,
    Parent(Child),
}

/// A process that was forked and has to be waited for.
pub(super) struct Child(libc::pid_t);

/// Forks the calling thread.
pub(super) fn fork() -> io::Result<Side> {
    // SAFETY: the child goes on with a copy of this thread. No other thread of this process is running a history or holds a lock
    // that the child takes: the others only wait for this one to end.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            leave_signals_to_the_parent();
            Ok(Side::Child)
        }
        pid => Ok(Side::Parent(Child(pid))),
    }
}

/// Ctrl-C goes to all processes; the first one tells the others. It must not leave them behind when it is killed.
fn leave_signals_to_the_parent() {
    // SAFETY: no handler of ours is installed, and only integers are passed.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        #[cfg(target_os = "linux")]
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

/// Ends this process at once: nothing that the parent has a copy of is flushed or dropped.
pub(super) fn exit(status: i32) -> ! {
    // SAFETY: it takes no pointers and does not return.
    unsafe { libc::_exit(status) }
}

impl Child {
    /// Waits for its end. Whether it ended with status 0.
    pub(super) fn wait(self) -> io::Result<bool> {
        let mut status = 0;
        loop {
            // SAFETY: `status` is an integer that may be written.
            if unsafe { libc::waitpid(self.0, &mut status, 0) } == self.0 {
                return Ok(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
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
        // SAFETY: an anonymous mapping at an address of the kernel's choice overlaps nothing.
        let region = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Region>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if region == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(region.cast())
            .map(Self)
            .ok_or_else(|| io::Error::other("memory was mapped at address 0"))
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
        // SAFETY: the region was mapped with this size, and nobody borrows it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Region>()) };
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
