//! Runs the fuzz targets. Each runs for its share of the time.

use std::panic::resume_unwind;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::findings;
use crate::parts::{Ground, Outcome, PartError, last_lines, status_of};
use crate::report::{Finding, Status};

/// Options that disable the core's debug assertions, which abort the process at an invalid page.
const AS_RELEASED: [&str; 3] = ["--release", "--sanitizer", "none"];
/// The time limit for building with coverage.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);
/// The time that a target may take to end after its time is over.
const GRACE: Duration = Duration::from_secs(120);
/// The time limit for shrinking an artefact's schedule.
const SHRINK_LIMIT: Duration = Duration::from_secs(320);

/// Runs all targets that `fuzz/Cargo.toml` lists, or only the requested ones.
pub fn run(ground: &Ground, limit: Duration) -> Result<Outcome, PartError> {
    if !ground.root.join("fuzz/Cargo.toml").is_file() {
        return Ok((Status::Skipped, vec!["there is no fuzz/Cargo.toml".into()], Vec::new()));
    }
    let listed = ground.run_command(ground.cargo().args(["fuzz", "list"]), BUILD_LIMIT)?;
    if listed.code() != Some(0) {
        let line = "cargo-fuzz is not installed: cargo install cargo-fuzz --locked";
        return Ok((Status::Skipped, vec![line.into()], Vec::new()));
    }
    let is_asked_for =
        |name: &&str| ground.fuzz_targets.is_empty() || ground.fuzz_targets.iter().any(|asked| asked == name);
    let targets: Vec<&str> = listed.stdout.lines().map(str::trim).filter(is_asked_for).collect();
    let build = ground.run_command(ground.cargo().args(["fuzz", "build"]).args(AS_RELEASED), BUILD_LIMIT)?;
    if build.code() != Some(0) {
        return Err(PartError::command(build));
    }
    // One process uses one core.
    let at_once = ground.jobs.clamp(1, targets.len().max(1));
    let rounds = targets.len().div_ceil(at_once).max(1);
    let (mut lines, mut found) = (Vec::new(), Vec::new());
    for targets in targets.chunks(at_once) {
        for outcome in run_at_once(ground, targets, limit / rounds as u32) {
            let (line, finding) = outcome?;
            lines.push(line);
            found.extend(finding);
        }
    }
    Ok((status_of(&found), lines, found))
}

/// The counts and findings of a target.
type TargetOutcome = Result<(String, Option<Finding>), PartError>;

fn run_at_once(ground: &Ground, targets: &[&str], limit: Duration) -> Vec<TargetOutcome> {
    thread::scope(|scope| {
        let running: Vec<_> =
            targets.iter().map(|target| scope.spawn(|| run_target(ground, target, limit))).collect();
        running.into_iter().map(|target| target.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

fn run_target(ground: &Ground, target: &str, limit: Duration) -> TargetOutcome {
    let directory = ground.out.join("fuzz").join(target);
    std::fs::create_dir_all(&directory).map_err(|source| PartError::file(&directory, source))?;
    let mut command = ground.cargo();
    command
        .args(["fuzz", "run"])
        .args(AS_RELEASED)
        .args([target, "--"])
        .arg(format!("-max_total_time={}", limit.as_secs().max(1)))
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/", directory.display()));
    let ended = ground.run_command(&mut command, limit + GRACE)?;
    let line = format!("{target}: {}", statistics(&ended.stderr));
    let artefacts = findings::files(&directory)?;
    if ended.code() == Some(0) && artefacts.is_empty() {
        return Ok((line, None));
    }
    if artefacts.is_empty() {
        return Err(PartError::command(ended));
    }
    let log = directory.join("log.txt");
    std::fs::write(&log, last_lines(&ended.stderr, 2000)).map_err(|source| PartError::file(&log, source))?;
    if target == "schedule"
        && let Some(finding) = of_history(ground, &artefacts[0], &directory)?
    {
        return Ok((line, Some(finding)));
    }
    let files = artefacts.iter().chain([&log]).map(|path| findings::relative(path, &ground.out)).collect();
    let what = panic_in(&ended.stderr);
    let signature = format!("fuzz {target}: {}", without_numbers(&what));
    Ok((line, Some(Finding { signature, part: "fuzz", what, files, schedule: None })))
}

/// The finding of an artefact that is a schedule. It is shrunk, and has the signature that a sweep would give
/// it.
fn of_history(ground: &Ground, artefact: &Path, directory: &Path) -> Result<Option<Finding>, PartError> {
    let shrunk = directory.join("found.min.jsonl");
    let mut command = Command::new(ground.plimsoll());
    command.arg("shrink").arg(artefact).arg("-o").arg(&shrunk);
    ground.run_command(&mut command, SHRINK_LIMIT)?;
    let mut found = findings::of_directory(&ground.plimsoll(), directory, &ground.out, "fuzz")?;
    Ok(found.pop())
}

/// The last line of libFuzzer's output with counts: executions, coverage, speed.
fn statistics(stderr: &str) -> String {
    let counts = |line: &&str| line.starts_with('#') && line.contains("cov: ");
    let last = stderr.lines().rev().find(counts).unwrap_or("it has not started");
    last.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The cause of a target's crash.
fn panic_in(stderr: &str) -> String {
    let mut lines = stderr.lines();
    while let Some(line) = lines.next() {
        if line.contains("panicked at") {
            let message = lines.next().unwrap_or_default();
            let place = line.split("panicked at ").nth(1).unwrap_or_default();
            return format!("{message} at {}", place.trim_end_matches(':'));
        }
    }
    let error = stderr.lines().find(|line| line.contains("ERROR: ")).unwrap_or("it ended without a message");
    error.to_owned()
}

/// Removes the parts that differ between failures of the same kind.
fn without_numbers(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            digit if digit.is_ascii_digit() => {
                if !plain.ends_with('#') {
                    plain.push('#');
                }
            }
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "INFO: seed corpus\n#2\tINITED cov: 9 ft: 9 corp: 1/1b exec/s: 0 rss: 40Mb\n\
        #512\tpulse  cov: 120 ft: 300 corp: 7/1Kb exec/s: 170 rss: 60Mb\n\n\
        thread '<unnamed>' (4711) panicked at fuzz_targets/wal.rs:31:5:\nindex 77 out of range\nnote: run with\n";

    #[test]
    fn the_last_counts_are_told() {
        assert_eq!(statistics(LOG), "#512 pulse cov: 120 ft: 300 corp: 7/1Kb exec/s: 170 rss: 60Mb");
        assert_eq!(statistics(""), "it has not started");
    }

    #[test]
    fn the_same_panic_has_the_same_signature() {
        assert_eq!(panic_in(LOG), "index 77 out of range at fuzz_targets/wal.rs:31:5");
        assert_eq!(without_numbers(&panic_in(LOG)), "index # out of range at fuzz_targets/wal.rs:#:#");
    }
}
