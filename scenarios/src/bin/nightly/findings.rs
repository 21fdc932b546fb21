//! From schedule files that fail to findings, each with its page.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plimsoll_scenarios::commands;
use plimsoll_sim::report::page::FINDING;
use plimsoll_sim::schedule::Schedule;

use crate::parts::PartError;
use crate::report::Finding;

/// How long drawing a page may take.
const PAGE_LIMIT: Duration = Duration::from_secs(120);

/// The findings whose schedules were left in a directory; of a schedule and the one that it was shrunk to, the smaller.
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
    let told = |beginning: &str| head.iter().find_map(|line| line.strip_prefix(beginning)).map(str::to_owned);
    let [violation, signature] = FINDING.map(told);
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
        what: violation.unwrap_or_else(|| "a schedule was left that does not say what it breaks".into()),
        files,
        schedule: Some(text),
    })
}

/// A directory's files; none if it is not there.
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

/// A path as it is from the report.
pub fn relative(path: &Path, out: &Path) -> String {
    path.strip_prefix(out).unwrap_or(path).display().to_string()
}
