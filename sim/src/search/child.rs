//! Runs one history in a child process that can be ended.
//!
//! The thread of a history that does not end cannot be stopped. A search that runs many such histories would fill
//! the machine with their threads, so it runs them in children.
//!
//! Guarantees: a child ends soon after its history has used the CPU time that it may use. The child watches the
//! history and then ends itself; if it does not, the kernel ends it.
//!
//! Not in this module: the events and the counters of the history. They do not leave the child.

use std::io::{self, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::judge::verdict::{INVARIANTS, Violation};
use crate::schedule::Schedule;
use crate::world::run::{Outcome, RunOptions, endless, run_limited};

/// The CPU time that the kernel grants in addition: for the start of the process and for reading the schedule, and
/// until the child notices that its history is over the limit.
const GRACE_SECONDS: u64 = 2;

/// The reason why a history in a child process has no outcome.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    #[error("cannot run {program}: {source}")]
    Run { program: String, source: io::Error },
    #[error("{program} ended with {status} and printed {stdout:?}")]
    Ended { program: String, status: String, stdout: String },
}

/// The outcome of a history, as the child prints it.
#[derive(Debug, Serialize, Deserialize)]
struct Verdict {
    hash: u64,
    violation: Option<Broken>,
}

/// A violation in a [`Verdict`].
#[derive(Debug, Serialize, Deserialize)]
struct Broken {
    invariant: String,
    step: Option<u32>,
    message: String,
}

/// The child's part: runs a history that may use `cpu_limit` of CPU time. Returns the line that the child must
/// print. It must end after that, because the history may still run.
pub fn judge(schedule: &Schedule, cpu_limit: Duration) -> String {
    let outcome = run_limited(schedule, RunOptions::default(), cpu_limit);
    let violation = outcome.violation.map(|Violation { invariant, expectation: _, step, message }| Broken {
        invariant: invariant.to_owned(),
        step,
        message,
    });
    serde_json::to_string(&Verdict { hash: outcome.hash, violation }).expect("plain data serializes")
}

/// The parent's part: starts `command`, which must call [`judge`] with the schedule from its standard input and
/// with the same limit. Returns the hash and the violation. A child that the kernel has ended had an endless history.
///
/// # Errors
/// If the child cannot be started, or ends without a verdict for another reason.
pub fn run_in(mut command: Command, schedule: &Schedule, cpu_limit: Duration) -> Result<Outcome, ChildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    limit_cpu_time(&mut command, cpu_limit);
    // Ctrl-C asks the parent to end cleanly. It must not end the child, whose verdict would be missing then.
    command.process_group(0);
    let output =
        feed(command, schedule).map_err(|source| ChildError::Run { program: program.clone(), source })?;
    if output.status.signal() == Some(libc::SIGXCPU) {
        return Ok(Outcome { violation: Some(endless(None)), ..Outcome::default() });
    }
    let verdict = output.status.success().then(|| serde_json::from_slice(&output.stdout).ok()).flatten();
    verdict.and_then(outcome).ok_or_else(|| ChildError::Ended {
        program,
        status: output.status.to_string(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
    })
}

/// Runs a command with the schedule on its standard input.
///
/// # Errors
/// If the command cannot be started.
pub fn feed(mut command: Command, schedule: &Schedule) -> io::Result<Output> {
    // A file and not a pipe: a child that ends early would end this process as well, by SIGPIPE.
    let mut input = tempfile::tempfile()?;
    input.write_all(schedule.print().as_bytes())?;
    input.rewind()?;
    command.stdin(input).stdout(Stdio::piped()).spawn()?.wait_with_output()
}

/// `None` if there is no such invariant.
fn outcome(Verdict { hash, violation }: Verdict) -> Option<Outcome> {
    let violation = match violation {
        Some(Broken { invariant, step, message }) => {
            let invariant = INVARIANTS.iter().find(|known| known.name == invariant)?;
            Some(Violation { step, ..Violation::of(*invariant, message) })
        }
        None => None,
    };
    Some(Outcome { hash, violation, ..Outcome::default() })
}

fn limit_cpu_time(command: &mut Command, limit: Duration) {
    let seconds = limit.as_secs() + 1 + GRACE_SECONDS;
    let set = |resource, value| {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value + 1 };
        // SAFETY: the limit is a local.
        if unsafe { libc::setrlimit(resource, &limit) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: the closure only makes system calls, which is allowed between fork and exec.
    unsafe { command.pre_exec(move || set(libc::RLIMIT_CPU, seconds)) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Action, Header, Step};
    use crate::world::run::is_endless;

    fn schedule() -> Schedule {
        Schedule::new(Header::new(7), vec![Step::new(1, Action::Pull { client: 0 })])
    }

    /// A child that runs this shell script.
    #[expect(clippy::disallowed_methods, reason = "the process is around a history, not in it")]
    fn child(script: &str) -> Result<Outcome, ChildError> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run_in(command, &schedule(), Duration::from_millis(1))
    }

    #[test]
    fn the_kernel_ends_a_child_that_spins_and_its_history_is_endless() {
        let outcome = child("while :; do :; done").expect("the child ends");
        assert!(outcome.violation.is_some_and(|violation| is_endless(&violation.signature())));
    }

    #[test]
    fn the_verdict_of_a_child_is_the_outcome_of_its_history() {
        let here = run_limited(&schedule(), RunOptions::default(), Duration::from_secs(300));
        let line = judge(&schedule(), Duration::from_secs(300));
        let outcome = child(&format!("echo '{line}'")).expect("the child prints a verdict");
        assert_eq!((outcome.hash, outcome.violation), (here.hash, None));
        let line = r#"{"hash":5,"violation":{"invariant":"ends","step":3,"message":"it hangs"}}"#;
        let violation = child(&format!("echo '{line}'")).expect("the child prints a verdict").violation;
        let violation = violation.expect("the verdict has one");
        assert_eq!((violation.invariant, violation.step), ("ends", Some(3)));
    }

    /// A child that fails must not look like a history that passes.
    #[test]
    fn a_child_without_a_verdict_is_an_error() {
        for script in
            ["exit 3", "echo nonsense", "echo '{\"hash\":5,\"violation\":null}'; exit 1", "kill -9 $$"]
        {
            assert!(matches!(child(script), Err(ChildError::Ended { .. })), "{script}");
        }
    }
}
