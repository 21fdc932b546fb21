//! The start of a directory: a new remote, an imported database, a directory from before there were manifests; and the
//! next generation after another program has moved the WAL.

use std::sync::Arc;

use turso_core::{File, LimboError, OpenFlags};

use super::check::check_exists;
use super::error::ArchiveError;
use super::manifest::{ClosedGeneration, LogEndStamp, Manifest, Stage};
use super::place::{CURRENT, CURRENT_WAL, HISTORY_ID, MANIFEST, Name, Place, Stamp, log_name, snapshot_name};
use super::scan::{Database, Log, check_header, log_bytes};
use crate::judge::format::{DatabaseHeader, PAGE_BYTES};
use crate::world::remote::files;
use crate::world::remote::store::{BoundStatement, Store, execute};

/// The place of the write version and of the read version in a database's header. 2 stands for a WAL.
const VERSIONS_AT: std::ops::Range<usize> = 18..20;

/// A name that no history has had before.
pub(super) fn new_history_id(place: &Place) -> String {
    let mut bytes = [0; 16];
    place.io.fill_bytes(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Creates an empty remote. The first manifest accounts for the files of an interrupted start: they are removed,
/// because nothing was served.
pub(super) fn create(place: &Place, history_id: String, names: &[String]) -> Result<Manifest, ArchiveError> {
    let mut manifest = Manifest::beginning(history_id, Stage::Beginning);
    manifest.put(place)?;
    remove_first_files(place, names)?;
    let path = place.path(CURRENT);
    let created = Store::create(place.io.clone(), &path);
    drop(created.map_err(|source| ArchiveError::Database { operation: "create", path, source })?);
    finish(place, manifest)
}

/// Removes the files of an interrupted start.
fn remove_first_files(place: &Place, names: &[String]) -> Result<(), ArchiveError> {
    let first = [CURRENT_WAL.to_owned(), CURRENT.to_owned(), snapshot_name(1)];
    first.iter().filter(|name| names.contains(name)).try_for_each(|name| place.remove(name))
}

/// Makes the core's database the first snapshot, and puts the manifest in place.
fn finish(place: &Place, mut manifest: Manifest) -> Result<Manifest, ArchiveError> {
    let main = place.open_shared(CURRENT)?;
    let bytes = place.size(CURRENT, &main)?;
    manifest.snapshot = place.write(&snapshot_name(1), place.pieces(CURRENT, &main, bytes))?;
    place.sync()?;
    manifest.stage = Stage::Serving;
    manifest.put(place)?;
    Ok(manifest)
}

/// Closes the current generation, whose frames another program has moved into the main file: the log is all there is
/// of them.
pub(super) fn close_moved(place: &Place, manifest: Manifest, log: &Log) -> Result<Manifest, ArchiveError> {
    let end = log.end.expect("the log has frames");
    let generation = manifest.current;
    let name = log_name(generation);
    let file = place.create(&name)?;
    // Frames of a transaction that has not ended may follow.
    files::truncate(&place.io, &file, log_bytes(end.frames)).map_err(place.failed("cut", &name))?;
    place.rewrite(&name, &file, log_bytes(end.frames))?;
    let log_stamp = place.stamp(&name, &file, log_bytes(end.frames))?;
    let name = snapshot_name(generation);
    let snapshot = place.open(&name)?;
    let database =
        Database { name: &name, snapshot: &snapshot, snapshot_bytes: manifest.snapshot.bytes, log };
    let stamp = place.write(&snapshot_name(generation + 1), database.pieces(place))?;
    place.sync()?;
    let mut next = manifest.close(log_stamp, end, stamp);
    next.put(place)?;
    Ok(next)
}

/// The manifest of a directory that has none, but a history id and the files of all generations from the first on.
/// `None` if the directory has no file of an archive. Nothing is written.
///
/// Every snapshot must equal the end of the generation before it. Whatever does not fit is refused by name. The history id
/// moves into the manifest, and its file is removed then.
pub(super) fn adopt(place: &Place, names: &[String]) -> Result<Option<Manifest>, ArchiveError> {
    let ours = names.iter().filter(|name| Name::parse(name) != Name::Other);
    let Some(first) = ours.min() else { return Ok(None) };
    if !names.iter().any(|name| name == HISTORY_ID) {
        let reason = "there is no manifest beside it";
        return Err(ArchiveError::Foreign { path: place.path(first), reason });
    }
    check_exists(place, names, &snapshot_name(1))?;
    let id = place.open(HISTORY_ID)?;
    let id = place.read(HISTORY_ID, &id, 0..place.size(HISTORY_ID, &id)?)?;
    let id = String::from_utf8_lossy(&id).trim().to_owned();
    let mut manifest = Manifest::beginning(id, Stage::Serving);
    // A copy cannot be recognized: there was no place for an identity.
    manifest.snapshot = stamp_of(place, &snapshot_name(1))?;
    while names.contains(&snapshot_name(manifest.current + 1)) {
        let closed = adopt_closed(place, names, &manifest)?;
        manifest.snapshot = stamp_of(place, &snapshot_name(closed.generation + 1))?;
        manifest.current = closed.generation + 1;
        manifest.closed.push(closed);
    }
    // Beside it, a lost manifest would look like none.
    manifest.removing.push(HISTORY_ID.to_owned());
    Ok(Some(manifest))
}

/// Checks the manifest's last generation, which is closed, and the snapshot after it.
fn adopt_closed(
    place: &Place,
    names: &[String],
    manifest: &Manifest,
) -> Result<ClosedGeneration, ArchiveError> {
    let generation = manifest.current;
    let (name, log) = (snapshot_name(generation), log_name(generation));
    check_exists(place, names, &log)?;
    let file = place.open(&log)?;
    let bytes = place.size(&log, &file)?;
    let read = Log::read(place, &log, file.clone(), u64::MAX)?;
    let Some(end) = read.end.filter(|end| log_bytes(end.frames) == bytes) else {
        let problem =
            format!("of generation {generation} has {} intact frames in {bytes} bytes", read.frames());
        return Err(ArchiveError::damaged(&place.path(&log), problem));
    };
    let snapshot = place.open(&name)?;
    let next_name = snapshot_name(generation + 1);
    let next = place.open(&next_name)?;
    let expected =
        Database { name: &name, snapshot: &snapshot, snapshot_bytes: manifest.snapshot.bytes, log: &read };
    if let Some(page_no) = expected.first_difference(place, &next_name, &next, &Log::empty())? {
        let problem = format!("has another page {page_no} than the end of generation {generation}");
        return Err(ArchiveError::damaged(&place.path(&next_name), problem));
    }
    let log = place.stamp(&log, &file, bytes)?;
    Ok(ClosedGeneration { generation, snapshot: manifest.snapshot, log, end: LogEndStamp { ..end } })
}

/// Checks that a file is a database, and returns its length and hash.
fn stamp_of(place: &Place, name: &str) -> Result<Stamp, ArchiveError> {
    let file = place.open(name)?;
    check_header(place, name, &file)?;
    place.stamp(name, &file, place.size(name, &file)?)
}

/// Imports a database into a new directory. Its file is read and not changed.
pub(super) fn import(place: &Place, source: &str) -> Result<(), ArchiveError> {
    let names = place.names()?;
    let is_repeated = Manifest::read(place, &names)?.is_some_and(|known| known.stage == Stage::Importing);
    if !is_repeated && names.iter().any(|name| name == MANIFEST || Name::parse(name) != Name::Other) {
        return Err(ArchiveError::NotEmpty { path: place.directory.clone() });
    }
    let refused = |problem: String| ArchiveError::Import { path: source.to_owned(), problem };
    let file = open_source(place, source)?;
    let bytes = file.size().map_err(|error| refused(error.to_string()))?;
    check_importable(place, &file, bytes).map_err(refused)?;
    let mut manifest = Manifest::beginning(new_history_id(place), Stage::Importing);
    manifest.put(place)?;
    let imported = import_checked(place, &file, bytes, source);
    match imported {
        Ok(()) => finish(place, manifest).map(drop),
        Err(error) => {
            remove_first_files(place, &place.names()?)?;
            place.remove(MANIFEST)?;
            place.sync()?;
            Err(error)
        }
    }
}

/// Opens the database to import. Another program that has it open keeps its lock.
fn open_source(place: &Place, source: &str) -> Result<Arc<dyn File>, ArchiveError> {
    let refused = |problem: String| ArchiveError::Import { path: source.to_owned(), problem };
    let open = |path: &str| place.io.open_file(path, OpenFlags::ReadOnly | OpenFlags::NoLock, false);
    for (end, remedy) in [("-wal", "PRAGMA wal_checkpoint(TRUNCATE)"), ("-journal", "PRAGMA integrity_check")]
    {
        let path = format!("{source}{end}");
        let Ok(beside) = open(&path) else { continue };
        if beside.size().map_err(|error| refused(error.to_string()))? > 0 {
            return Err(refused(format!(
                "{path} has transactions that are not in it yet; close all programs that use it and run `{remedy}`"
            )));
        }
    }
    open(source).map_err(|error| refused(error.to_string()))
}

/// Checks the header of a database.
fn check_importable(place: &Place, file: &Arc<dyn File>, bytes: u64) -> Result<(), String> {
    const RESERVED_BYTES_AT: usize = 20;
    const AUTO_VACUUM_AT: usize = 52;
    const ENCODING_AT: usize = 56;
    const UTF_8: u32 = 1;
    let head = files::read_at(&place.io, file, 0..bytes.min(100)).map_err(|error| error.to_string())?;
    let header = DatabaseHeader::parse(&head).ok_or("it is no SQLite database")?;
    let field = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if header.page_bytes as usize != PAGE_BYTES {
        return Err(format!(
            "its pages have {} bytes instead of {PAGE_BYTES}; run `PRAGMA page_size = {PAGE_BYTES}; VACUUM`",
            header.page_bytes
        ));
    }
    if head[RESERVED_BYTES_AT] != 0 {
        return Err(format!("{} bytes of each page are reserved", head[RESERVED_BYTES_AT]));
    }
    if !matches!(field(ENCODING_AT), 0 | UTF_8) {
        return Err("its text is not in UTF-8".to_owned());
    }
    if field(AUTO_VACUUM_AT) != 0 {
        return Err("it is in auto-vacuum mode; run `PRAGMA auto_vacuum = NONE; VACUUM`".to_owned());
    }
    if header.page_count == 0 || bytes != u64::from(header.page_count) * PAGE_BYTES as u64 {
        return Err(format!("it is {bytes} bytes long, but has {} pages", header.page_count));
    }
    Ok(())
}

/// Checks that a database is still the one of which the core's main file is a copy. Every transaction changes its first
/// page.
fn check_unchanged(place: &Place, file: &Arc<dyn File>, bytes: u64) -> Result<(), String> {
    const COMPARED_FROM: u64 = VERSIONS_AT.end as u64;
    let copy = place.open_shared(CURRENT).map_err(|error| error.to_string())?;
    let head = |file: &Arc<dyn File>| files::read_at(&place.io, file, COMPARED_FROM..PAGE_BYTES as u64);
    let is_same = file.size().and_then(|size| Ok(size == bytes && head(file)? == head(&copy)?));
    match is_same.map_err(|error| error.to_string())? {
        true => Ok(()),
        false => Err("another program has written to it; close all programs that use it".to_owned()),
    }
}

/// Copies a database into the core's main file, in WAL mode, and checks it.
fn import_checked(place: &Place, file: &Arc<dyn File>, bytes: u64, source: &str) -> Result<(), ArchiveError> {
    let refused = |problem: String| ArchiveError::Import { path: source.to_owned(), problem };
    remove_first_files(place, &place.names()?)?;
    let mut pieces = place.pieces(CURRENT, file, bytes);
    let first = pieces.next().map(|piece| {
        piece.map(|mut piece| {
            piece[VERSIONS_AT].fill(2);
            piece
        })
    });
    place.write(CURRENT, first.into_iter().chain(pieces))?;
    place.sync()?;
    check_unchanged(place, file, bytes).map_err(refused)?;
    let checked = || {
        let store = Store::recover(place.io.clone(), &place.path(CURRENT))?;
        let answer = execute(store.shared(), &BoundStatement::new("PRAGMA integrity_check"))?;
        let lines = answer.rows.iter().flatten().map(ToString::to_string).collect::<Vec<_>>();
        if store.frame_count()? != 0 {
            return Err(LimboError::InternalError("the check has written".to_owned()));
        }
        Ok(lines.join("; "))
    };
    match checked() {
        Ok(answer) if answer == "ok" => Ok(()),
        Ok(answer) => Err(refused(format!("it is damaged: {answer}"))),
        Err(error) => Err(refused(error.to_string())),
    }
}
