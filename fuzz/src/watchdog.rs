//! Ends the process when an input takes too long, so that libFuzzer keeps the input as an artefact.
//!
//! The watchdog turns libFuzzer's own `-timeout` off, because that reads the clock on the thread that runs
//! the input, where time is virtual.
#![expect(clippy::disallowed_methods, reason = "the watchdog has a thread of its own and real time")]

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// An input that takes this time may become a finding. An input that takes twice this time always does.
const INPUT_TIME_MAX: Duration = Duration::from_secs(60);

/// The number of inputs that have started plus the number that have ended: odd while one runs.
static BEGINS_AND_ENDS: AtomicU64 = AtomicU64::new(0);

/// Runs an input. Only one input may run at a time.
pub fn watch<T>(input: impl FnOnce() -> T) -> T {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        switch_off_the_alarm();
        thread::spawn(keep_watch);
    });
    BEGINS_AND_ENDS.fetch_add(1, Ordering::Relaxed);
    let result = input();
    BEGINS_AND_ENDS.fetch_add(1, Ordering::Relaxed);
    result
}

/// Turns off the timer that libFuzzer has set before the first input.
fn switch_off_the_alarm() {
    let never = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let off = libc::itimerval { it_interval: never, it_value: never };
    // SAFETY: the new value is valid for the call, and the old one is not requested.
    let status = unsafe { libc::setitimer(libc::ITIMER_REAL, &off, std::ptr::null_mut()) };
    assert_eq!(status, 0, "a valid timer is accepted");
}

fn keep_watch() {
    loop {
        let before = BEGINS_AND_ENDS.load(Ordering::Relaxed);
        thread::sleep(INPUT_TIME_MAX);
        if before % 2 == 1 && before == BEGINS_AND_ENDS.load(Ordering::Relaxed) {
            eprintln!("ERROR: an input takes more than {} seconds", INPUT_TIME_MAX.as_secs());
            std::process::abort();
        }
    }
}
