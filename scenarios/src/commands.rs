//! Runs child processes for the tools around the simulator, until they end or reach a time limit.
#![expect(clippy::disallowed_methods, reason = "a tool runs other processes and takes real time")]

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The result of a command.
#[derive(Debug)]
pub struct Ended {
    /// The command line.
    pub command: String,
    /// The exit status; `None` if the command reached its time limit and was killed.
    pub status: Option<ExitStatus>,
    pub stdout: String,
    pub stderr: String,
    pub seconds: f64,
}

impl Ended {
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// A description of the exit status.
    #[must_use]
    pub fn describe(&self) -> String {
        match self.status {
            Some(status) => status.to_string(),
            None => format!("killed after {:.0} s", self.seconds),
        }
    }

    /// Standard output, then standard error.
    #[must_use]
    pub fn output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Removes the result of an earlier command, if there is one. A sweep would add to it.
///
/// # Errors
/// Fails if the file cannot be removed.
pub fn remove_result(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Runs a command without input. Kills it after `limit`, together with its child processes where the system
/// supports that.
///
/// # Errors
/// Fails if the command cannot be started or its output cannot be read.
pub fn run(command: &mut Command, limit: Duration) -> io::Result<Ended> {
    const POLL_INTERVAL: Duration = Duration::from_millis(20);
    // The output goes to files instead of pipes, because no thread would read pipes while the command runs.
    let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    let begin = Instant::now();
    let mut child = command.spawn()?;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if begin.elapsed() > limit => {
                kill_all(&mut child)?;
                break None;
            }
            None => std::thread::sleep(POLL_INTERVAL),
        }
    };
    Ok(Ended {
        command: command_line(command),
        status,
        stdout: contents(stdout)?,
        stderr: contents(stderr)?,
        seconds: begin.elapsed().as_secs_f64(),
    })
}

/// Kills a child and the process group that it leads.
fn kill_all(child: &mut std::process::Child) -> io::Result<()> {
    #[cfg(unix)]
    Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status()?;
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn contents(mut file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_prints_and_ends_with_is_told() {
        let ended =
            run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]), Duration::from_secs(20));
        let ended = ended.unwrap();
        assert_eq!((ended.code(), ended.output().as_str()), (Some(3), "out\nerr\n"));
        assert_eq!(ended.command, "sh -c echo out; echo err >&2; exit 3");
    }

    #[test]
    fn a_command_that_does_not_end_is_killed_with_its_children() {
        let mut command = Command::new("sh");
        let ended = run(command.args(["-c", "sleep 100 & sleep 100"]), Duration::from_millis(100)).unwrap();
        assert!(ended.status.is_none() && ended.seconds < 50.0, "{ended:?}");
    }
}
