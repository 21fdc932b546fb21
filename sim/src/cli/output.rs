//! Writes to standard output. A command whose output cannot be written goes on: what it finds still decides its
//! exit status.

use std::fmt::Arguments;
use std::io::Write;
use std::sync::OnceLock;

/// The first error of a write.
static FAILED: OnceLock<std::io::Error> = OnceLock::new();

/// Like `println!`, but an error is kept for [`failure`].
macro_rules! outln {
    ($($text:tt)*) => { $crate::cli::output::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// Like `print!`, but an error is kept for [`failure`].
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::output::write(format_args!($($text)*)) };
}

pub(super) use {out, outln};

pub fn write(text: Arguments<'_>) {
    if FAILED.get().is_none()
        && let Err(error) = std::io::stdout().lock().write_fmt(text)
    {
        FAILED.get_or_init(|| error);
    }
}

/// The reason why standard output is incomplete.
pub fn failure() -> Option<&'static std::io::Error> {
    if let Err(error) = std::io::stdout().flush() {
        FAILED.get_or_init(|| error);
    }
    FAILED.get()
}
