//! Tests the archive on the simulated disk, where it is at a certain moment. The generated histories test the rest.

use std::sync::{Arc, Mutex};

use turso_core::{Database, IO, OpenOptions, SqliteDialect};

use super::*;
use crate::fault::{CrashKind, CrashPoint, FileClass, Moment, OperationKind, OperationPlace, Survival};
use crate::world::clock;
use crate::world::disk::Disk;
use crate::world::remote::BatonLimits;
use crate::world::remote::content::Content;
use crate::world::remote::files;
use crate::world::trace::{Lane, Trace};

const OPTIONS: ArchiveOptions = ArchiveOptions { generation_frames_max: 1000, keep_generations: None };
const BLACKOUT: CrashKind = CrashKind::PowerLoss { survival: Survival::Nothing, torn: None };

fn disk() -> Disk {
    Disk::new(Lane::Remote, 1, Arc::new(Mutex::new(Trace::new(false))))
}

fn place(disk: &Disk) -> Place {
    Place { io: disk.io(), storage: disk.io(), directory: "remote".to_owned() }
}

fn served(archive: Archive) -> ServedArchive {
    ServedArchive::new(archive, BatonLimits::default())
}

fn open(disk: &Disk) -> Result<ServedArchive, ArchiveError> {
    Archive::open(place(disk), OPTIONS).map(served)
}

fn rows(served: &ServedArchive) -> String {
    let rows = served.archive().remote().query("SELECT v FROM t ORDER BY v");
    rows.iter().map(|row| row[0].to_string()).collect::<Vec<_>>().join(" ")
}

fn execute(served: &ServedArchive, sql: &str) {
    served.transact(|connection| connection.execute(sql)).unwrap();
}

fn arm(disk: &Disk, operation: OperationKind, nth: u32, moment: Moment, kind: CrashKind) {
    disk.begin_step(1);
    let place = OperationPlace { file: FileClass::Any, operation, nth };
    disk.arm(CrashPoint { place, moment, kind });
}

/// Answers will mention these transactions, so they must not be lost any more.
#[test]
fn transactions_found_in_the_wal_survive_a_power_loss_after_the_start() {
    let _in_virtual_time = clock::enter(0);
    let disk = disk();
    let archive = open(&disk).unwrap();
    execute(&archive, "CREATE TABLE t (v)");
    // Killed after the commit's last write, before its sync.
    arm(&disk, OperationKind::Sync, 1, Moment::Before, CrashKind::Kill);
    execute(&archive, "INSERT INTO t VALUES ('written')");
    assert!(disk.is_down());
    drop(archive);
    disk.restart();
    assert!(disk.unsynced_operations() > 0);
    assert_eq!(rows(&open(&disk).unwrap()), "written");
    disk.crash_now(&BLACKOUT);
    disk.restart();
    assert_eq!(rows(&open(&disk).unwrap()), "written");
}

/// Writes a database as another program does.
fn write_source(disk: &Disk) {
    let io: Arc<dyn IO> = disk.io();
    let options = OpenOptions::new(Arc::new(SqliteDialect));
    let connection = Database::open(io.clone(), "source.db", options).unwrap().connect().unwrap();
    connection.execute("CREATE TABLE t (v)").unwrap();
    connection.execute("INSERT INTO t VALUES ('imported')").unwrap();
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(connection);
    plimsoll_engine::Storage::sync_dir(&*disk.io(), "source.db").unwrap();
}

#[test]
fn an_import_that_a_crash_interrupts_is_complete_or_has_to_be_repeated() {
    let _in_virtual_time = clock::enter(0);
    let mut interrupted = 0;
    for nth in 1.. {
        let disk = disk();
        write_source(&disk);
        let source = disk.read("source.db").unwrap();
        arm(&disk, OperationKind::AnyMutation, nth, Moment::Before, BLACKOUT);
        drop(Archive::import(place(&disk), "source.db", OPTIONS));
        if !disk.is_down() {
            break;
        }
        disk.restart();
        let begun = disk.paths().iter().any(|path| path == "remote/manifest");
        match open(&disk) {
            Ok(archive) if begun => assert_eq!(rows(&archive), "imported", "a crash before operation {nth}"),
            Ok(_) => {}
            Err(ArchiveError::ImportInterrupted { .. }) => {
                interrupted += 1;
                let archive = served(Archive::import(place(&disk), "source.db", OPTIONS).unwrap());
                assert_eq!(rows(&archive), "imported");
            }
            Err(error) => panic!("a crash before operation {nth}: {error}"),
        }
        assert_eq!(disk.read("source.db"), Some(source));
    }
    assert!(interrupted > 3);
}

/// What the archive has written is in pieces of files, never in the answer as a whole.
#[test]
fn exports_and_frames_are_parts_of_files_that_outlive_their_names() {
    let _in_virtual_time = clock::enter(0);
    let disk = disk();
    let archive = open(&disk).unwrap();
    execute(&archive, "CREATE TABLE t (v)");
    let io = archive.io();
    let get = |path: &str| {
        let request = http::Request::get(path).body(bytes::Bytes::new()).unwrap();
        archive.look_up(&request).into_body()
    };
    let (snapshot, frames) = (get("/export/1"), get("/sync/1/1/100"));
    assert!(matches!((&snapshot, &frames), (Content::File { .. }, Content::File { .. })));
    let before = (snapshot.clone().read(io).unwrap(), frames.clone().read(io).unwrap());
    assert!(archive.checkpoint().unwrap());
    assert!(archive.prune(1).unwrap());
    assert!(!disk.paths().iter().any(|path| path.contains("generation-1.")));
    assert_eq!((snapshot.read(io).unwrap(), frames.read(io).unwrap()), before);
}

/// A snapshot that a close has left half-written is overwritten by the next close, and it does not hinder a start.
#[test]
fn a_close_that_was_interrupted_by_a_full_disk_is_completed_later() {
    let _in_virtual_time = clock::enter(0);
    let disk = disk();
    let archive = open(&disk).unwrap();
    execute(&archive, "CREATE TABLE t (v)");
    let io: Arc<dyn IO> = disk.io();
    files::write_all(&io, "remote/generation-2.db", b"half").unwrap();
    drop(archive);
    let archive = open(&disk).unwrap();
    execute(&archive, "INSERT INTO t VALUES ('kept')");
    assert!(archive.checkpoint().unwrap());
    drop(archive);
    let archive = open(&disk).unwrap();
    let generation = archive.archive().remote().generation();
    assert_eq!((generation, rows(&archive)), (2, "kept".to_owned()));
}
