//! Reads and writes the command's real files: schedules, reports and pages. Histories have no real files.
#![expect(clippy::disallowed_methods, reason = "the command reads and writes real files, histories do not")]

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use plimsoll_sim::report::sweep::{SweepReport, VERSION};
use plimsoll_sim::schedule::Schedule;
use plimsoll_sim::search::generate::{Profile, generate};
use xxhash_rust::xxh3::xxh3_64;

use super::Problem;
use super::output::note;

/// A seed, the path of a schedule file, or `-` for standard input.
#[derive(Debug, Clone)]
pub enum Source {
    Seed(u64),
    File(String),
    Input,
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.parse() {
            Ok(seed) => Self::Seed(seed),
            Err(_) if text == "-" => Self::Input,
            Err(_) => Self::File(text.to_owned()),
        })
    }
}

impl Source {
    /// The schedule. A comment in the schedule of a seed names the seed.
    pub fn schedule(&self, profile: Profile) -> Result<Schedule, Problem> {
        let (text, path) = match self {
            Self::Seed(seed) => return Ok(schedule_of(*seed, profile)),
            Self::File(path) if !path.contains(['/', '.']) && !Path::new(path).exists() => {
                return Err(Problem::Usage(format!(
                    "{path} is neither a seed nor a file: a seed is a number up to {}",
                    u64::MAX
                )));
            }
            Self::File(path) => (read(Path::new(path))?, path.clone()),
            Self::Input => {
                let mut text = String::new();
                let path = "standard input".to_owned();
                std::io::stdin().read_to_string(&mut text).map_err(|source| Problem::File {
                    what: "read",
                    path: path.clone(),
                    source,
                })?;
                (text, path)
            }
        };
        Schedule::parse(&text).map_err(|source| Problem::Schedule { path, source })
    }

    /// The source's name in messages.
    pub fn name(&self) -> String {
        match self {
            Self::Seed(seed) => format!("seed {seed}"),
            Self::File(path) => path.clone(),
            Self::Input => "standard input".into(),
        }
    }

    /// The command-line arguments that replay it.
    pub fn replay(&self, profile: Profile) -> Vec<String> {
        ["replay".to_owned()].into_iter().chain(self.arguments(profile)).collect()
    }

    /// The command-line arguments that name the source.
    pub fn arguments(&self, profile: Profile) -> Vec<String> {
        match self {
            Self::Seed(seed) if profile == Profile::default() => vec![seed.to_string()],
            Self::Seed(seed) => vec![seed.to_string(), "--profile".into(), profile.name()],
            Self::File(path) => vec![path.clone()],
            Self::Input => vec!["-".into()],
        }
    }

    /// The default path of the shrunk schedule: beside the file, or in `findings`.
    pub fn shrunk_path(&self) -> PathBuf {
        match self {
            Self::Seed(seed) => Path::new("findings").join(format!("seed-{seed}.min.jsonl")),
            Self::File(path) => Path::new(path).with_extension("min.jsonl"),
            Self::Input => Path::new("findings").join("shrunk.min.jsonl"),
        }
    }
}

/// The schedule of a seed, with a comment that names the seed and the profile.
pub fn schedule_of(seed: u64, profile: Profile) -> Schedule {
    let mut schedule = generate(seed, profile);
    schedule.comments.head.push(format!("seed {seed}, profile {}", profile.name()));
    schedule
}

/// A hash of this program's file. It tells whether an earlier result is of the same program.
pub fn build() -> Result<String, Problem> {
    let program = std::env::current_exe();
    let path = program.as_ref().map_or_else(|_| "this program".into(), |path| path.display().to_string());
    let bytes = program.and_then(std::fs::read);
    let bytes = bytes.map_err(|source| Problem::File { what: "read", path, source })?;
    Ok(format!("{:016x}", xxh3_64(&bytes)))
}

pub fn read(path: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(path).map_err(|source| Problem::File {
        what: "read",
        path: path.display().to_string(),
        source,
    })
}

/// Checks before long work that files can be written to the directory. Creates the directory if it `must_exist`
/// afterwards.
pub fn prepare(directory: &Path, must_exist: bool) -> Result<(), Problem> {
    let failed = |source| Problem::File { what: "write to", path: directory.display().to_string(), source };
    if must_exist {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    // A directory that does not exist yet is created in the nearest one that does.
    let existing = directory.ancestors().find(|ancestor| ancestor.exists());
    let existing = existing.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::tempfile_in(existing).map(drop).map_err(failed)
}

/// Takes the lock of a file in an output directory for the rest of the process. Returns `None` if another process
/// has it.
pub fn lock(path: &Path) -> Result<Option<std::fs::File>, Problem> {
    let failed = |source| Problem::File { what: "lock", path: path.display().to_string(), source };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Checks before long work that a file can be written.
pub fn prepare_file(path: &Path) -> Result<(), Problem> {
    prepare(path.parent().unwrap_or(Path::new("")), false)
}

/// Writes a file, and creates its directory if necessary. A file that could only be written in part is removed.
pub fn write(path: &Path, text: &str) -> Result<(), Problem> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let is_new = !path.exists();
    std::fs::create_dir_all(directory).and_then(|()| std::fs::write(path, text)).map_err(|source| {
        if is_new {
            std::fs::remove_file(path).ok();
        }
        Problem::File { what: "write", path: path.display().to_string(), source }
    })
}

/// Writes a file like [`write()`]. If that is not possible, prints the reason and the text to standard error: a
/// finding must not be lost because a disk is full. Returns whether the file was written.
pub fn write_or_print(path: &Path, text: &str) -> bool {
    or_print(write(path, text), text)
}

/// Replaces a file like [`write_or_print()`]. If the process ends meanwhile, the file has its earlier content.
pub fn replace_or_print(path: &Path, text: &str) -> bool {
    let new = path.with_extension("new");
    let replaced = write(&new, text).and_then(|()| {
        std::fs::rename(&new, path).map_err(|source| Problem::File {
            what: "replace",
            path: path.display().to_string(),
            source,
        })
    });
    if replaced.is_err() {
        std::fs::remove_file(&new).ok();
    }
    or_print(replaced, text)
}

fn or_print(written: Result<(), Problem>, text: &str) -> bool {
    match written {
        Ok(()) => true,
        Err(problem) => {
            note!("{}", instead_of_file(&problem, text));
            false
        }
    }
}

fn instead_of_file(problem: &Problem, text: &str) -> String {
    format!("plimsoll: {problem}; this would have been its content:\n{text}")
}

/// Writes a file that must not exist yet.
pub fn write_new(path: &Path, text: &str) -> Result<(), Problem> {
    let name = path.display().to_string();
    let mut file = std::fs::File::create_new(path).map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => Problem::Usage(format!("{name} exists already: pass another --name")),
        _ => Problem::File { what: "add", path: name.clone(), source },
    })?;
    file.write_all(text.as_bytes()).map_err(|source| {
        std::fs::remove_file(path).ok();
        Problem::File { what: "add", path: name, source }
    })
}

/// The sweep reports in a directory and in its direct subdirectories, or the report in a file. The paths of
/// schedules in the reports become relative to the current directory.
pub fn reports(path: &Path) -> Result<Vec<SweepReport>, Problem> {
    if path.is_file() {
        return Ok(vec![located_report(path)?]);
    }
    let mut reports = Vec::new();
    for entry in entries(path)? {
        if is_report(&entry) {
            reports.push(located_report(&entry)?);
        } else if entry.is_dir() {
            for entry in entries(&entry)?.iter().filter(|entry| is_report(entry)) {
                reports.push(located_report(entry)?);
            }
        }
    }
    if reports.is_empty() {
        let message = "contains no sweep*.json; `plimsoll run --out DIR` writes one".to_owned();
        return Err(Problem::Report { path: path.display().to_string(), message });
    }
    Ok(reports)
}

/// The schedules of a corpus with the names of their files, in ascending order.
pub fn corpus(directory: &Path) -> Result<Vec<(String, Schedule)>, Problem> {
    let paths =
        entries(directory)?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "jsonl"));
    let named = paths.map(|path| {
        let text = read(&path)?;
        let schedule = Schedule::parse(&text)
            .map_err(|source| Problem::Schedule { path: path.display().to_string(), source })?;
        Ok((path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(), schedule))
    });
    let schedules = named.collect::<Result<Vec<_>, Problem>>()?;
    if schedules.is_empty() {
        return Err(Problem::Usage(format!("there is no schedule (*.jsonl) in {}", directory.display())));
    }
    Ok(schedules)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, Problem> {
    let problem = |source| Problem::File { what: "list", path: directory.display().to_string(), source };
    let entries = std::fs::read_dir(directory).map_err(problem)?;
    let mut entries: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(problem)?;
    entries.sort();
    Ok(entries)
}

fn is_report(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.starts_with("sweep") && name.ends_with(".json") && path.is_file()
}

/// A report whose paths of schedules are relative to the current directory. In its file they are relative to
/// `directory`.
pub fn located(mut report: SweepReport, directory: &Path) -> SweepReport {
    for failure in &mut report.failures {
        for name in [&mut failure.smallest.schedule, &mut failure.smallest.shrunk].into_iter().flatten() {
            *name = directory.join(&*name).display().to_string();
        }
    }
    report
}

fn located_report(path: &Path) -> Result<SweepReport, Problem> {
    Ok(located(report(path)?, path.parent().unwrap_or(Path::new(""))))
}

/// The report in a file, as it is there; `None` if there is no file.
pub fn existing_report(path: &Path) -> Result<Option<SweepReport>, Problem> {
    if path.exists() { report(path).map(Some) } else { Ok(None) }
}

fn report(path: &Path) -> Result<SweepReport, Problem> {
    let problem = |message: String| Problem::Report { path: path.display().to_string(), message };
    let text = read(path)?;
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_str(&text).map_err(|error| problem(error.to_string()))?;
    if version != VERSION {
        return Err(problem(format!(
            "the report has version {version}, but this simulator reads version {VERSION}: run the sweep again, with another --out"
        )));
    }
    serde_json::from_str(&text).map_err(|error| problem(error.to_string()))
}

#[cfg(test)]
mod tests {
    use plimsoll_sim::schedule::Header;

    use super::*;

    #[test]
    fn a_schedule_that_cannot_be_written_is_printed_so_that_it_can_be_replayed() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let path = file.path().join("seed-1.jsonl");
        let schedule = Schedule::new(Header::new(7), Vec::new());
        assert!(!write_or_print(&path, &schedule.print()));
        let problem = write(&path, &schedule.print()).expect_err("a file is no directory");
        let text = instead_of_file(&problem, &schedule.print());
        let (reason, printed) = text.split_once('\n').expect("the schedule follows the reason");
        assert!(reason.contains("cannot write") && reason.contains("seed-1.jsonl"), "{reason}");
        assert_eq!(Schedule::parse(printed).expect("it is a schedule"), schedule);
    }
}
