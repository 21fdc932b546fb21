//! Turns failing schedule files into findings, each with its page.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plimsoll_scenarios::commands;
use plimsoll_sim::report::page::FINDING;
use plimsoll_sim::schedule::Schedule;

use crate::parts::PartError;
use crate::report::Finding;

/// The time limit for drawing a page.
const PAGE_LIMIT: Duration = Duration::from_secs(120);

/// The findings of the schedules in a directory. If a schedule and its shrunk version are there, the smaller
/// one counts.
pub fn of_directory(
    plimsoll: &Path,
    directory: &Path,
    out: &Path,
    part: &'static str,
) -> Result<Vec<Finding>, PartError> {
    let mut by_stem: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in files(directory)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(stem) = name.strip_suffix(".min.jsonl") {
            by_stem.insert(stem.to_owned(), path);
        } else if let Some(stem) = name.strip_suffix(".jsonl") {
            by_stem.entry(stem.to_owned()).or_insert(path);
        }
    }
    by_stem.values().map(|path| of_schedule(plimsoll, path, out, part)).collect()
}

fn of_schedule(plimsoll: &Path, path: &Path, out: &Path, part: &'static str) -> Result<Finding, PartError> {
    let text = std::fs::read_to_string(path).map_err(|source| PartError::file(path, source))?;
    let schedule = Schedule::parse(&text)
        .map_err(|source| PartError::Schedule { path: path.display().to_string(), source })?;
    let head = &schedule.comments.head;
    let find_line =
        |beginning: &str| head.iter().find_map(|line| line.strip_prefix(beginning)).map(str::to_owned);
    let [violation, signature] = FINDING.map(find_line);
    let page = path.with_extension("html");
    let mut command = Command::new(plimsoll);
    command.arg("replay").arg(path).arg("--html").arg(&page);
    commands::run(&mut command, PAGE_LIMIT).map_err(|source| PartError::Run { source })?;
    let mut files = vec![relative(path, out)];
    if page.is_file() {
        files.push(relative(&page, out));
    }
    Ok(Finding {
        signature: signature.unwrap_or_else(|| format!("{part}: a schedule without a signature")),
        part,
        what: violation.unwrap_or_else(|| "the schedule does not name the broken invariant".into()),
        files,
        schedule: Some(text),
    })
}

/// The files of a directory; none if it does not exist.
pub fn files(directory: &Path) -> Result<Vec<PathBuf>, PartError> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let list =
        || std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = list().map_err(|source| PartError::file(directory, source))?;
    paths.retain(|path| path.is_file());
    paths.sort();
    Ok(paths)
}

/// A path relative to the report.
pub fn relative(path: &Path, out: &Path) -> String {
    path.strip_prefix(out).unwrap_or(path).display().to_string()
}
