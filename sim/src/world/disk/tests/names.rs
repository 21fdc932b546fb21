//! Tests the guard: the bytes that a metadata version refers to are guarded while a crash could leave that
//! version.

use super::*;

const METADATA: &str = "a-info";
const WAL: &str = "a-draft-wal";

/// A version is one byte here: the number of bytes at the start of the WAL that it refers to. A second byte
/// means that the WAL may be emptied.
fn named(content: &[u8]) -> Vec<Named> {
    let range = 0..u64::from(content[0]);
    vec![Named { file: FileClass::DraftWal, range, may_be_emptied: content.len() > 1 }]
}

/// A disk with a WAL of eight bytes and a durable metadata version.
fn disk_with_names(version: &[u8]) -> (Disk, Process, ClockGuard) {
    let (disk, _, guard) = new_disk();
    disk.guard_names(named);
    let process = Process::start(&disk);
    process.create(WAL);
    process.write(WAL, 0, b"12345678");
    process.sync(WAL);
    put_metadata(&process, version);
    process.sync_dir(METADATA);
    assert_eq!(disk.take_touched_names(), [""; 0]);
    (disk, process, guard)
}

fn put_metadata(process: &Process, version: &[u8]) {
    process.create("a-info.tmp");
    process.write("a-info.tmp", 0, version);
    process.sync("a-info.tmp");
    process.rename("a-info.tmp", METADATA);
}

#[test]
fn overwriting_or_cutting_named_bytes_is_a_finding() {
    let (disk, process, _guard) = disk_with_names(&[4]);
    process.write(WAL, 4, b"fine");
    process.truncate(WAL, 4);
    assert_eq!(disk.take_touched_names(), [""; 0]);
    process.write(WAL, 3, b"X");
    process.truncate(WAL, 3);
    let found = disk.take_touched_names();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("bytes 3..4 of a-draft-wal were changed"), "{found:?}");
    assert!(found[1].starts_with("a-draft-wal was cut to 3 bytes, but"), "{found:?}");
}

#[test]
fn an_older_version_is_guarded_until_the_directory_is_synced() {
    let (disk, process, _guard) = disk_with_names(&[4]);
    put_metadata(&process, &[2]);
    process.write(WAL, 3, b"X");
    assert_eq!(disk.take_touched_names().len(), 1);
    process.sync_dir(METADATA);
    process.write(WAL, 3, b"X");
    assert_eq!(disk.take_touched_names(), [""; 0]);
}

#[test]
fn after_a_power_loss_only_the_surviving_version_is_guarded() {
    let (disk, process, _guard) = disk_with_names(&[2]);
    put_metadata(&process, &[4]);
    disk.crash_now(&NOTHING);
    disk.restart();
    let process = Process::start(&disk);
    process.write(WAL, 3, b"X");
    assert_eq!(disk.take_touched_names(), [""; 0]);
    process.write(WAL, 1, b"X");
    assert_eq!(disk.take_touched_names().len(), 1);
}

#[test]
fn a_wal_may_be_emptied_once_the_main_file_is_durable() {
    let (disk, process, _guard) = disk_with_names(&[4, 0]);
    process.create("a-draft");
    process.truncate(WAL, 0);
    assert_eq!(disk.take_touched_names().len(), 1, "the main file is not durable");
    process.sync_dir("a-draft");
    process.truncate(WAL, 0);
    assert_eq!(disk.take_touched_names(), [""; 0]);
}

#[test]
fn an_emptied_wal_is_unguarded_while_later_versions_announce_it_too() {
    let (disk, process, _guard) = disk_with_names(&[4, 0]);
    process.create("a-draft");
    process.sync_dir("a-draft");
    process.truncate(WAL, 0);
    put_metadata(&process, &[4, 0]);
    process.write(WAL, 0, b"NEW");
    assert_eq!(disk.take_touched_names(), [""; 0]);
    put_metadata(&process, &[4]);
    process.write(WAL, 0, b"NEW");
    assert_eq!(disk.take_touched_names().len(), 1, "the announcement is over");
}

#[test]
fn survival_by_file_keeps_metadata_without_data_and_data_without_metadata() {
    let keeping = |keep: &[FileClass]| {
        let (disk, process, guard) = disk_with_names(&[4]);
        process.write(WAL, 4, b"NEWS");
        put_metadata(&process, &[8]);
        disk.crash_now(&power_loss(Survival::Files { keep: keep.to_vec() }));
        let left = (content(&disk, METADATA), content(&disk, WAL));
        drop(guard);
        left
    };
    let (metadata, wal) = keeping(&[FileClass::Metadata, FileClass::MetadataTemporary]);
    assert_eq!((metadata, wal), (Some(vec![8]), Some(b"12345678".to_vec())));
    let (metadata, wal) = keeping(&[FileClass::DraftWal]);
    assert_eq!((metadata, wal), (Some(vec![4]), Some(b"1234NEWS".to_vec())));
}

#[test]
fn a_crash_image_is_an_independent_copy() {
    let (disk, process, _guard) = disk_with_names(&[4]);
    process.write(WAL, 4, b"NEWS");
    let image = disk.crash_image(&NOTHING);
    assert_eq!(content(&image, WAL), Some(b"12345678".to_vec()));
    Process::start(&image).write(WAL, 0, b"image");
    assert_eq!(content(&disk, WAL), Some(b"1234NEWS".to_vec()));
    assert!(!disk.is_down());
}
