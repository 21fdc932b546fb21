//! The virtual clock: the time that a simulation's thread sees, whoever asks for it.
//!
//! The core reads `SystemTime` behind the back of its `IO` trait (`unixepoch()`, the change capture's timestamps), so a
//! clock that only answers through `IO` would let real time into the databases' bytes. Therefore the C library's
//! `clock_gettime` is replaced in every binary that links this crate: a thread that has [`enter`]ed reads virtual time
//! from it, every other thread is forwarded to the kernel.
//!
//! Guarantees: virtual time moves with [`advance`] only, never with a read; [`enter`] panics where the replacement did
//! not take effect, so a leak cannot go unnoticed.
//!
//! Left out: CPU-time clocks stay real, sleeping is not virtual, and systems other than Linux have no replacement.

use std::cell::Cell;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The moment at which virtual time is 0: 2026-01-01T00:00:00Z, in milliseconds of Unix time.
pub const EPOCH_UNIX_MS: u64 = 1_767_225_600_000;

thread_local! {
    /// Virtual time of this thread, in milliseconds since [`EPOCH_UNIX_MS`]. Const-initialised and without a
    /// destructor: reading it neither allocates nor asks for the time, which would recurse.
    static NOW_MS: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Keeps the current thread in virtual time until dropped.
#[must_use = "the thread returns to real time as soon as the guard is dropped"]
pub struct ClockGuard {
    /// The guard must be dropped on the thread that entered.
    _not_send: PhantomData<*const ()>,
}

/// Puts the current thread into virtual time, at `now_ms` milliseconds after [`EPOCH_UNIX_MS`].
///
/// ```
/// use plimsoll_sim::world::clock;
///
/// let _in_virtual_time = clock::enter(0);
/// clock::advance(1_000);
/// assert_eq!(clock::now_ms(), 1_000);
/// ```
///
/// # Panics
/// If the thread is in virtual time already, or if the system clock cannot be replaced on this system.
pub fn enter(now_ms: u64) -> ClockGuard {
    assert!(NOW_MS.get().is_none(), "this thread is in virtual time already");
    NOW_MS.set(Some(now_ms));
    let guard = ClockGuard { _not_send: PhantomData };
    assert_eq!(system_time(), unix_time(now_ms), "clock_gettime was not replaced: real time would leak in");
    guard
}

/// Moves the current thread's virtual time forward by `ms` milliseconds.
///
/// # Panics
/// If the thread is not in virtual time.
pub fn advance(ms: u64) {
    NOW_MS.set(Some(now_ms() + ms));
}

/// The current thread's virtual time, in milliseconds since [`EPOCH_UNIX_MS`].
///
/// # Panics
/// If the thread is not in virtual time.
#[must_use]
pub fn now_ms() -> u64 {
    NOW_MS.get().expect("a simulation's thread enters virtual time before it reads it")
}

impl Drop for ClockGuard {
    fn drop(&mut self) {
        NOW_MS.set(None);
    }
}

/// Virtual time as Unix time.
pub(crate) fn unix_time(now_ms: u64) -> Duration {
    Duration::from_millis(EPOCH_UNIX_MS + now_ms)
}

#[expect(clippy::disallowed_methods, reason = "the point is to see what everybody else sees")]
fn system_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the system clock is set to after 1970")
}

/// The C library's `clock_gettime`, for the whole binary.
///
/// # Safety
/// As for the original: `ts` points to a `timespec` that may be written.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(id: libc::clockid_t, ts: *mut libc::timespec) -> libc::c_int {
    let virtual_now = NOW_MS.try_with(Cell::get).ok().flatten();
    match virtual_now {
        Some(now_ms) if tells_time(id) => {
            let now = unix_time(now_ms);
            // SAFETY: the caller vouches for `ts`. Any `timespec` is plain integers; zero is one of them.
            unsafe {
                ts.write(std::mem::zeroed());
                (*ts).tv_sec = now.as_secs() as libc::time_t;
                (*ts).tv_nsec = now.subsec_nanos() as libc::c_long;
            }
            0
        }
        // SAFETY: the system call has the arguments, the result and the `errno` of the function it stands in for.
        _ => unsafe { libc::syscall(libc::SYS_clock_gettime, id, ts) as libc::c_int },
    }
}

/// Whether `id` is a clock on the wall rather than one of the processor's. All of them tell the same virtual time.
#[cfg(target_os = "linux")]
fn tells_time(id: libc::clockid_t) -> bool {
    matches!(
        id,
        libc::CLOCK_REALTIME
            | libc::CLOCK_REALTIME_COARSE
            | libc::CLOCK_TAI
            | libc::CLOCK_MONOTONIC
            | libc::CLOCK_MONOTONIC_COARSE
            | libc::CLOCK_MONOTONIC_RAW
            | libc::CLOCK_BOOTTIME
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entered_thread_sees_virtual_time_and_moves_it_by_advance_only() {
        let guard = enter(1_500);
        assert_eq!(system_time(), unix_time(1_500));
        assert_eq!(system_time(), unix_time(1_500));
        advance(250);
        assert_eq!(now_ms(), 1_750);
        assert_eq!(system_time(), unix_time(1_750));
        drop(guard);
        assert_ne!(system_time(), unix_time(1_750));
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "that another thread has another time is what this is about"
    )]
    fn another_thread_keeps_real_time() {
        let _guard = enter(0);
        let elsewhere = std::thread::spawn(system_time).join().expect("the thread only reads the clock");
        // Whatever the host's date: nobody runs this in the very millisecond of the epoch.
        assert_ne!(elsewhere, unix_time(0));
        assert_eq!(system_time(), unix_time(0));
    }

    #[test]
    #[should_panic(expected = "before it reads it")]
    fn reading_virtual_time_without_entering_is_a_mistake() {
        assert_eq!(now_ms(), 0);
    }
}
