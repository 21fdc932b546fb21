//! The virtual clock: the time that every reader on a simulation's thread sees.
//!
//! The core reads `SystemTime` without going through its `IO` trait (in `unixepoch()` and in the change
//! capture's timestamps). A clock that only answered through `IO` would let real time into the databases'
//! bytes. Therefore this crate replaces the C library's `clock_gettime` in every binary that links it: a
//! thread that has [`enter`]ed virtual time reads it there, and the calls of all other threads go to the
//! kernel.
//!
//! Guarantees: only [`advance`] moves virtual time; reading it does not. [`enter`] panics where the
//! replacement did not take effect, so a leak of real time cannot go unnoticed.
//!
//! Not simulated: CPU-time clocks and sleeping, which stay real. Only Linux has the replacement.

use std::cell::Cell;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The origin of virtual time: 2026-01-01T00:00:00Z, in milliseconds of Unix time.
pub const EPOCH_UNIX_MS: u64 = 1_767_225_600_000;

thread_local! {
    /// Virtual time of this thread, in milliseconds since [`EPOCH_UNIX_MS`]. It is const-initialised and has
    /// no destructor. Reading it must neither allocate nor read a clock, because that would recurse.
    static NOW_MS: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Keeps the current thread in virtual time until the guard is dropped.
#[must_use = "the thread returns to real time as soon as the guard is dropped"]
pub struct ClockGuard {
    /// Makes the guard `!Send`: it must be dropped on the thread that entered virtual time.
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
/// If the thread is already in virtual time, or if this system does not support replacing the clock.
pub fn enter(now_ms: u64) -> ClockGuard {
    assert!(NOW_MS.get().is_none(), "this thread is already in virtual time");
    NOW_MS.set(Some(now_ms));
    let guard = ClockGuard { _not_send: PhantomData };
    assert_eq!(
        system_time(),
        unix_time(now_ms),
        "clock_gettime is not replaced on this system: real time would leak into the history"
    );
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
    NOW_MS.get().expect("a thread enters virtual time before it reads it")
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

#[expect(clippy::disallowed_methods, reason = "checks the clock that all other code reads")]
fn system_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock reads a time after 1970")
}

/// Replaces the C library's `clock_gettime` in the whole binary.
///
/// # Safety
/// As for the original: `ts` points to a `timespec` that may be written.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(id: libc::clockid_t, ts: *mut libc::timespec) -> libc::c_int {
    let virtual_now = NOW_MS.try_with(Cell::get).ok().flatten();
    match virtual_now {
        Some(now_ms) if is_wall_or_monotonic(id) => {
            let now = unix_time(now_ms);
            // SAFETY: the caller guarantees that `ts` may be written. A `timespec` is plain integers, so zero
            // is a valid value.
            unsafe {
                ts.write(std::mem::zeroed());
                (*ts).tv_sec = now.as_secs() as libc::time_t;
                (*ts).tv_nsec = now.subsec_nanos() as libc::c_long;
            }
            0
        }
        // SAFETY: the system call has the same arguments, result and `errno` as the function that this one
        // replaces.
        _ => unsafe { libc::syscall(libc::SYS_clock_gettime, id, ts) as libc::c_int },
    }
}

/// Whether `id` is a wall clock or a monotonic clock rather than a CPU-time clock. All of these clocks show
/// the same virtual time.
#[cfg(target_os = "linux")]
fn is_wall_or_monotonic(id: libc::clockid_t) -> bool {
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
    fn only_advance_moves_the_virtual_time_of_a_thread() {
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
    #[expect(clippy::disallowed_methods, reason = "the test compares the clocks of two threads")]
    fn another_thread_keeps_real_time() {
        let _guard = enter(0);
        let elsewhere = std::thread::spawn(system_time).join().expect("the thread only reads the clock");
        // The host's clock does not show the very millisecond of the epoch.
        assert_ne!(elsewhere, unix_time(0));
        assert_eq!(system_time(), unix_time(0));
    }

    #[test]
    #[should_panic(expected = "before it reads it")]
    fn reading_virtual_time_without_entering_it_panics() {
        assert_eq!(now_ms(), 0);
    }
}
