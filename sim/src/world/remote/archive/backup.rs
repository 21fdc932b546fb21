//! Copies the directory of a server that may be running.
//!
//! The server is not asked. What a manifest names does not change, except that the log of the current generation grows;
//! its checksums tell where the last complete transaction in it ends. The core's database is not copied: the snapshot
//! and the log of the current generation are all of it. If the server removes or replaces a file in the meantime, the
//! copy begins again with the new manifest.
//!
//! The copy's manifest has no identity, so a server that starts on it begins a new history.

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
            Ok(()) => return finish(to, manifest),
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

fn copy_files(from: &Place, to: &Place, manifest: &Manifest) -> Result<(), ArchiveError> {
    for closed in &manifest.closed {
        copy_file(from, to, &snapshot_name(closed.generation), closed.snapshot)?;
        copy_file(from, to, &log_name(closed.generation), closed.log)?;
    }
    let name = snapshot_name(manifest.current);
    copy_file(from, to, &name, manifest.snapshot)?;
    let snapshot = to.open(&name)?;
    to.write(CURRENT, to.pieces(&name, &snapshot, manifest.snapshot.bytes))?;
    let name = log_name(manifest.current);
    if !from.names()?.contains(&name) {
        return Ok(());
    }
    let file = from.open(&name)?;
    let log = Log::read(from, &name, file.clone(), u64::MAX)?;
    if log.frames() > 0 {
        for copy in [&*name, CURRENT_WAL] {
            to.write(copy, from.pieces(&name, &file, log_bytes(log.frames())))?;
        }
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
