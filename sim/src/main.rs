//! The `plimsoll` command. Without a subcommand it sweeps.
//!
//! Exit status: 0 nothing found · 1 a safety violation · 2 wrong usage or unreadable input · 3 a liveness violation ·
//! 4 nondeterminism · 5 a mark was never reached, where that was asked for · 130 interrupted.

mod cli;

use std::process::ExitCode;

use clap::Parser;

/// A history allocates a great deal, in many small pieces, on a thread that soon ends.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::quiet_histories();
    forgo_huge_pages();
    let command = cli::Arguments::parse();
    let status = command.execute().unwrap_or_else(|problem| {
        cli::output::note!("plimsoll: {problem}");
        cli::STATUS_USAGE
    });
    match cli::output::failure() {
        Some(error) => {
            cli::output::note!("plimsoll: the output is incomplete: {error}");
            ExitCode::from(if status == cli::STATUS_CLEAN { cli::STATUS_USAGE } else { status })
        }
        None => ExitCode::from(status),
    }
}

/// Each database that a history opens reserves megabytes for its page buffers and touches a few pages of them. With huge pages the
/// kernel would clear all of it, which is a quarter of a history's time.
fn forgo_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        cli::output::note!("plimsoll: histories will be slower, because huge pages stay on: {error}");
    }
}
