//! Writes to standard output and standard error. A command whose output cannot be written goes on: what it finds
//! still decides its exit status, and its files are written.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
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

/// Like `eprintln!`, but an error is ignored: there is no other place to report it.
macro_rules! note {
    ($($text:tt)*) => { $crate::cli::output::write_note(format_args!("{}\n", format_args!($($text)*))) };
}

pub(crate) use {note, out, outln};

pub fn write_note(text: Arguments<'_>) {
    std::io::stderr().lock().write_fmt(text).ok();
}

pub fn write(text: Arguments<'_>) {
    if FAILED.get().is_none()
        && let Err(error) = std::io::stdout().lock().write_fmt(text)
    {
        FAILED.get_or_init(|| error);
    }
}

/// The reason why standard output is incomplete. A reader that has seen enough (`| head`) is none.
pub fn failure() -> Option<&'static std::io::Error> {
    if let Err(error) = std::io::stdout().flush() {
        FAILED.get_or_init(|| error);
    }
    FAILED.get().filter(|error| error.kind() != ErrorKind::BrokenPipe)
}
