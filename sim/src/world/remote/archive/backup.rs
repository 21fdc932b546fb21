//! Copies the directory of a server that may be running.
//!
//! The server is not asked. What a manifest names does not change, except that the log of the current generation grows;
//! its checksums show where the last complete transaction in it ends. The core's main file is not copied: the snapshot
//! and the frames of the current generation are all of it. The frames are those of the log, or of the core's WAL if it
//! has more: after an error the log may not have followed it. If the server removes or replaces a file in the meantime,
//! the copy begins again with the new manifest.
//!
//! The copy's manifest has no identity, so a server that starts on it begins a new history.

use super::check::{Logs, State, find_logs};
use super::error::ArchiveError;
use super::manifest::{Manifest, Stage};
use super::place::{CURRENT, CURRENT_WAL, LOCK, Place, Stamp, log_name, snapshot_name};
use super::scan::{Log, log_bytes};

/// How often a copy begins again because the server has changed the directory.
const ATTEMPTS_MAX: u32 = 20;

pub(super) fn copy(from: &Place, to: &Place) -> Result<(), ArchiveError> {
    if to.names()?.iter().any(|name| name != LOCK) {
        return Err(ArchiveError::NotEmpty { path: to.directory.clone() });
    }
    for _ in 0..ATTEMPTS_MAX {
        let manifest = read(from)?;
        match copy_files(from, to, &manifest) {
            Ok(copied) => return finish(to, copied),
            Err(error) => {
                remove_all(to)?;
                // Only a file that the server has changed in the meantime excuses an error.
                if read(from)? == manifest {
                    return Err(error);
                }
            }
        }
    }
    Err(ArchiveError::KeepsChanging { path: from.directory.clone() })
}

fn read(from: &Place) -> Result<Manifest, ArchiveError> {
    let manifest = Manifest::read(from, &from.names()?)?;
    let serving = manifest.filter(|manifest| manifest.stage == Stage::Serving);
    serving.ok_or_else(|| ArchiveError::NoArchive { path: from.directory.clone() })
}

/// Copies the files. Returns the manifest of the copies.
fn copy_files(from: &Place, to: &Place, named: &Manifest) -> Result<Manifest, ArchiveError> {
    let logs = find_logs(from, named.clone(), &from.names()?, || from.open(CURRENT_WAL))?;
    let manifest = &logs.manifest;
    for closed in &manifest.closed {
        copy_file(from, to, &snapshot_name(closed.generation), closed.snapshot)?;
        copy_file(from, to, &log_name(closed.generation), closed.log)?;
    }
    let name = snapshot_name(manifest.current);
    copy_file(from, to, &name, manifest.snapshot)?;
    let snapshot = to.open(&name)?;
    to.write(CURRENT, to.pieces(&name, &snapshot, manifest.snapshot.bytes))?;
    copy_frames(from, to, &logs)?;
    // The WAL belongs to the generation before, or to the next one, if the manifest has changed.
    if read(from)? != *named {
        return Err(ArchiveError::KeepsChanging { path: from.directory.clone() });
    }
    Ok(logs.manifest)
}

/// Copies the frames of the current generation.
fn copy_frames(from: &Place, to: &Place, logs: &Logs) -> Result<(), ArchiveError> {
    let name = log_name(logs.manifest.current);
    let is_behind = logs.state == State::Open && logs.wal.frames() > logs.log.frames();
    let (source, frames) =
        if is_behind { (CURRENT_WAL, logs.wal.frames()) } else { (&*name, logs.log.frames()) };
    if frames == 0 {
        return Ok(());
    }
    let file = from.open(source)?;
    for copy in [&*name, CURRENT_WAL] {
        to.write(copy, from.pieces(source, &file, log_bytes(frames)))?;
    }
    let copied = Log::read(to, &name, to.open(&name)?, u64::MAX)?;
    if copied.frames() < frames {
        return Err(ArchiveError::damaged(&from.path(source), "has been changed"));
    }
    Ok(())
}

fn copy_file(from: &Place, to: &Place, name: &str, expected: Stamp) -> Result<(), ArchiveError> {
    let file = from.open(name)?;
    let copied = to.write(name, from.pieces(name, &file, expected.bytes))?;
    if copied != expected {
        return Err(ArchiveError::damaged(&from.path(name), "has been changed"));
    }
    Ok(())
}

fn finish(to: &Place, mut manifest: Manifest) -> Result<(), ArchiveError> {
    to.sync()?;
    manifest.removing.clear();
    manifest.put_as_copy(to)
}

fn remove_all(to: &Place) -> Result<(), ArchiveError> {
    let names = to.names()?;
    names.iter().filter(|name| *name != LOCK).try_for_each(|name| to.remove(name))
}
