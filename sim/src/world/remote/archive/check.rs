//! Compares a directory with its manifest before anything is written.
//!
//! Everything that differs is refused by name. A crash, an error or another program leaves one of these states; each
//! has one way to continue:
//!
//! | the core's WAL | the current generation's log | continues with |
//! |---|---|---|
//! | has frames, of the same log | is a beginning of the WAL | this generation |
//! | has frames | is empty or missing | this generation |
//! | is the log of the generation before | is empty or missing | this generation; the core's WAL is moved now |
//! | continues the log of the generation before | is empty or missing | the generation before, which is open again |
//! | is empty or missing | is empty or missing | this generation, if the manifest says that it has had no frame |
//! | is empty, missing or another log | has frames | the next generation: another program has moved the WAL |
//!
//! In each state the main file has to equal the database that the archive expects, page by page. The pages that the
//! core's WAL writes are not compared, because the WAL overrides them.

use std::sync::Arc;

use turso_core::File;

use super::error::ArchiveError;
use super::log::is_same_log;
use super::manifest::{ClosedGeneration, LogEndStamp, Manifest};
use super::place::{CURRENT, CURRENT_WAL, Name, Place, Stamp, log_name, snapshot_name};
use super::scan::{Database, Log};
use crate::judge::format::WAL_HEADER_BYTES;

/// A directory that can be continued.
pub(super) struct Checked {
    pub manifest: Manifest,
    /// The log of the current generation.
    pub log: Log,
    /// Whether there is a WAL.
    pub has_wal: bool,
    /// The number of committed frames in it.
    pub wal_frames: u64,
    pub state: State,
    /// The core's main file. As long as it is open here, it is locked.
    pub main: Arc<dyn File>,
}

/// The state of the core's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The WAL belongs to the current generation.
    Open,
    /// The WAL is the log of the generation before, and its frames have to be moved into the main file.
    NotMoved,
    /// Another program has moved the frames of the current generation into the main file.
    MovedByAnother,
}

/// Checks the names of all files, and the content of those that do not change any more.
pub(super) fn check_files(place: &Place, manifest: &Manifest, names: &[String]) -> Result<(), ArchiveError> {
    for name in names {
        let is_known = match Name::parse(name) {
            // The snapshot of the next generation may be left from a close that did not get further.
            Name::Snapshot(no) => (manifest.oldest()..=manifest.current + 1).contains(&no),
            Name::Log(no) => (manifest.oldest()..=manifest.current).contains(&no),
            Name::Journal | Name::HistoryId => false,
            Name::Current | Name::CurrentWal | Name::Other => true,
        };
        if !is_known && !manifest.removing.contains(name) {
            let reason = "the manifest does not name it";
            return Err(ArchiveError::Foreign { path: place.path(name), reason });
        }
    }
    for ClosedGeneration { generation, snapshot, log, .. } in &manifest.closed {
        check_stamp(place, names, &snapshot_name(*generation), *snapshot)?;
        check_stamp(place, names, &log_name(*generation), *log)?;
    }
    check_stamp(place, names, &snapshot_name(manifest.current), manifest.snapshot)?;
    check_exists(place, names, CURRENT)
}

pub(super) fn check_exists(place: &Place, names: &[String], name: &str) -> Result<(), ArchiveError> {
    if exists(names, name) { Ok(()) } else { Err(ArchiveError::damaged(&place.path(name), "is missing")) }
}

fn check_stamp(place: &Place, names: &[String], name: &str, expected: Stamp) -> Result<(), ArchiveError> {
    check_exists(place, names, name)?;
    let file = place.open(name)?;
    let bytes = place.size(name, &file)?;
    if bytes != expected.bytes {
        let problem = format!("is {bytes} bytes long instead of {}", expected.bytes);
        return Err(ArchiveError::damaged(&place.path(name), problem));
    }
    if place.stamp(name, &file, bytes)? != expected {
        return Err(ArchiveError::damaged(&place.path(name), "has been changed"));
    }
    Ok(())
}

/// Checks the core's database, and decides how to continue. [`check_files`] has passed.
pub(super) fn check_database(
    place: &Place,
    manifest: Manifest,
    names: &[String],
) -> Result<Checked, ArchiveError> {
    let main = place.open_shared(CURRENT)?;
    let Logs { manifest, log, wal, state } =
        find_logs(place, manifest, names, || place.open_shared(CURRENT_WAL))?;
    let none = Log::empty();
    let moved = if state == State::MovedByAnother { &log } else { &none };
    check_main(place, &manifest, moved, &main, &wal)?;
    let has_wal = exists(names, CURRENT_WAL);
    Ok(Checked { manifest, log, has_wal, wal_frames: wal.frames(), state, main })
}

/// Where the frames of the current generation are.
pub(super) struct Logs {
    /// The manifest, or the one before it if the close that has written it was given up.
    pub manifest: Manifest,
    /// The log of the current generation.
    pub log: Log,
    /// The core's WAL. If the state is [`State::Open`], it has all frames of the log, and perhaps more.
    pub wal: Log,
    pub state: State,
}

/// Finds the frames of the current generation. The log is read before the WAL: behind a running server, the WAL is
/// always the longer one.
pub(super) fn find_logs(
    place: &Place,
    mut manifest: Manifest,
    names: &[String],
    open_wal: impl FnOnce() -> Result<Arc<dyn File>, ArchiveError>,
) -> Result<Logs, ArchiveError> {
    let name = log_name(manifest.current);
    let mut log = match exists(names, &name) {
        true => Log::read(place, &name, place.open(&name)?, u64::MAX)?,
        false => Log::empty(),
    };
    let wal = match exists(names, CURRENT_WAL) {
        true => read_wal(place, open_wal()?)?,
        false => Log::empty(),
    };
    let state = match (log.end, manifest.closed.last()) {
        (None, Some(before)) if is_log_of(&wal, &before.end) => {
            if !wal.continues(place, &before.end)? {
                return Err(lost_frames(place, before.end.frames, wal.frames()));
            }
            if wal.frames() == before.end.frames {
                State::NotMoved
            } else {
                // Transactions were acknowledged after the manifest was put in place: the close was given up.
                let before = manifest.closed.pop().expect("there is a closed generation");
                (manifest.current, manifest.snapshot) = (before.generation, before.snapshot);
                manifest.has_frames = true;
                let name = log_name(manifest.current);
                log = Log::read(place, &name, place.open(&name)?, before.end.frames)?;
                State::Open
            }
        }
        (None, _) if manifest.has_frames && wal.frames() == 0 => {
            let problem = format!("has no frames, nor has {name}, but the generation has had some");
            return Err(ArchiveError::damaged(&place.path(CURRENT_WAL), problem));
        }
        (None, _) => State::Open,
        (Some(end), _) if is_same_log(wal.header.as_ref(), log.header.as_ref()) => {
            if !wal.continues(place, &end)? {
                return Err(lost_frames(place, end.frames, wal.frames()));
            }
            State::Open
        }
        (Some(_), _) => State::MovedByAnother,
    };
    Ok(Logs { manifest, log, wal, state })
}

fn exists(names: &[String], name: &str) -> bool {
    names.iter().any(|known| known == name)
}

/// Reads the core's WAL. A crash may have left zeros instead of its header, or less than a header.
fn read_wal(place: &Place, file: Arc<dyn File>) -> Result<Log, ArchiveError> {
    let wal = Log::read(place, CURRENT_WAL, file.clone(), u64::MAX)?;
    if wal.header.is_none() {
        let size = place.size(CURRENT_WAL, &file)?;
        let head = place.read(CURRENT_WAL, &file, 0..size.min(WAL_HEADER_BYTES as u64))?;
        if head.len() == WAL_HEADER_BYTES && head.iter().any(|byte| *byte != 0) {
            return Err(ArchiveError::damaged(&place.path(CURRENT_WAL), "has no valid header"));
        }
    }
    Ok(wal)
}

/// Whether a WAL has frames of the log that ends at `end`.
fn is_log_of(wal: &Log, end: &LogEndStamp) -> bool {
    wal.frames() > 0 && wal.header.is_some_and(|header| header.salts == end.salts)
}

fn lost_frames(place: &Place, expected: u64, found: u64) -> ArchiveError {
    let problem = format!("has {found} intact frames, but it has had {expected}");
    ArchiveError::damaged(&place.path(CURRENT_WAL), problem)
}

/// Checks that the main file equals the snapshot followed by `log`.
fn check_main(
    place: &Place,
    manifest: &Manifest,
    log: &Log,
    main: &Arc<dyn File>,
    wal: &Log,
) -> Result<(), ArchiveError> {
    let name = snapshot_name(manifest.current);
    let snapshot = place.open(&name)?;
    let expected =
        Database { name: &name, snapshot: &snapshot, snapshot_bytes: manifest.snapshot.bytes, log };
    let Some(page_no) = expected.first_difference(place, CURRENT, main, wal)? else {
        if expected.has_header_of(place, CURRENT, main, wal)? {
            return Ok(());
        }
        return Err(ArchiveError::damaged(&place.path(CURRENT), "has a damaged header"));
    };
    if log.frames() == 0 {
        let problem = format!("has another page {page_no} than {name}");
        return Err(ArchiveError::damaged(&place.path(CURRENT), problem));
    }
    let found = if wal.header.is_some() { "is another log" } else { "is empty or missing" };
    let problem = format!(
        "{found}, and page {page_no} of {CURRENT} does not have the content that {} leads to",
        log_name(manifest.current)
    );
    Err(ArchiveError::damaged(&place.path(CURRENT_WAL), problem))
}
