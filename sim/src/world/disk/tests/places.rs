//! Tests where a crash is injected, and what the disk reports about that moment.

use super::*;

fn point(file: FileClass, operation: OperationKind, nth: u32, moment: Moment) -> CrashPoint {
    CrashPoint { place: OperationPlace { file, operation, nth }, moment, kind: EVERYTHING }
}

/// Writes twice to a draft, crashes at the second write, and returns the surviving content.
fn crash_at_second_write(moment: Moment) -> Vec<u8> {
    let (disk, _, _guard) = new_disk();
    let process = Process::start(&disk);
    disk.arm(point(FileClass::Draft, OperationKind::Write, 2, moment));
    process.create("a-draft");
    process.write("a-draft", 0, b"one");
    assert!(!disk.is_down());
    process.write("a-draft", 3, b"two");
    assert!(disk.is_down());
    assert_eq!(process.read("a-draft"), b"onetwo", "the crashed process sees its write succeed");
    let report = disk.take_crash().expect("a crash was reached");
    assert_eq!(report.point.map(|point| point.moment), Some(moment));
    content(&disk, "a-draft").expect("the creation survived")
}

#[test]
fn a_crash_can_be_injected_before_inside_and_after_a_write() {
    assert_eq!(crash_at_second_write(Moment::Before), b"one");
    assert_eq!(crash_at_second_write(Moment::Inside { bytes: 2 }), b"onetw");
    assert_eq!(crash_at_second_write(Moment::After), b"onetwo");
}

#[test]
fn a_crash_before_a_sync_loses_the_write_that_a_crash_after_it_keeps() {
    for (moment, left) in
        [(Moment::Before, &b""[..]), (Moment::Inside { bytes: 9 }, b""), (Moment::After, b"x")]
    {
        let (disk, process, _guard) = disk_with_file();
        disk.arm(CrashPoint { kind: NOTHING, ..point(FileClass::Any, OperationKind::Sync, 1, moment) });
        process.write("f", 0, b"x");
        process.sync("f");
        assert_eq!(content(&disk, "f").as_deref(), Some(left), "{moment:?}");
    }
}

#[test]
fn places_are_counted_from_the_start_of_the_step() {
    let (disk, process, _guard) = disk_with_file();
    let second = point(FileClass::Any, OperationKind::AnyMutation, 2, Moment::Before);
    disk.begin_step(1);
    disk.arm(second.clone());
    process.write("f", 0, b"1");
    assert_eq!(disk.take_unreached_crashes(), std::slice::from_ref(&second));

    disk.begin_step(2);
    disk.arm(second);
    process.write("f", 0, b"2");
    assert!(!disk.is_down());
    process.sync("f");
    assert!(disk.is_down());
    assert_eq!((disk.operations_in_step(), disk.take_unreached_crashes()), (1, vec![]));
}

#[test]
fn the_first_point_reached_is_injected_and_another_can_hit_the_recovery() {
    let (disk, process, _guard) = disk_with_file();
    let sync = point(FileClass::Any, OperationKind::Sync, 1, Moment::Before);
    disk.arm(sync.clone());
    disk.arm(point(FileClass::Any, OperationKind::Write, 1, Moment::Before));
    process.write("f", 0, b"1");
    process.sync("f");
    assert!(disk.is_down());

    disk.restart();
    Process::start(&disk).sync("f");
    assert!(disk.is_down());
    assert_eq!(disk.take_crash().and_then(|report| report.point), Some(sync));
}

#[test]
fn every_operation_of_a_metadata_replacement_has_a_place() {
    use FileClass::{Any, Metadata, MetadataTemporary};
    use OperationKind::{AnyMutation, Create, Remove, Rename, Sync, SyncDirectory, Truncate, Write};
    for (place, text) in [
        ((MetadataTemporary, Create, 1), "1st create of metadata's temporary"),
        ((MetadataTemporary, Write, 1), "1st write of metadata's temporary"),
        ((MetadataTemporary, Truncate, 1), "1st truncate of metadata's temporary"),
        ((MetadataTemporary, Sync, 1), "1st sync of metadata's temporary"),
        ((Metadata, Rename, 1), "1st rename of metadata"),
        ((Metadata, SyncDirectory, 1), "1st sync-dir of metadata"),
        ((Metadata, Remove, 1), "1st remove of metadata"),
        ((Metadata, AnyMutation, 3), "3rd operation of metadata"),
        ((Any, AnyMutation, 2), "2nd operation of any file"),
    ] {
        let (disk, _, _guard) = new_disk();
        let process = Process::start(&disk);
        let point = point(place.0, place.1, place.2, Moment::Before);
        assert_eq!(point.place.to_string(), text);
        disk.arm(point);
        process.create("a-info.tmp");
        process.write("a-info.tmp", 0, b"{}");
        process.truncate("a-info.tmp", 2);
        process.sync("a-info.tmp");
        process.rename("a-info.tmp", "a-info");
        process.sync_dir("a-info");
        process.remove("a-info");
        assert!(disk.is_down(), "{text}");
    }
}

#[test]
fn a_crash_point_prints_and_parses() {
    let kind =
        CrashKind::PowerLoss { survival: Survival::Prefix { operations: 3 }, torn: Some(Tear::Bytes(512)) };
    let place = OperationPlace { file: FileClass::SyncedWal, operation: OperationKind::Sync, nth: 12 };
    let point = CrashPoint { place, moment: Moment::Inside { bytes: 7 }, kind };
    assert_eq!(
        point.to_string(),
        "power loss (the first 3 unsynced operations survive, the last write torn at byte 512) inside the 12th sync of \
         synced-wal, after 7 bytes"
    );
    let json = serde_json::to_string(&point).expect("plain data serializes");
    assert_eq!(
        json,
        r#"{"place":{"file":"synced_wal","operation":"sync","nth":12},"moment":{"inside":{"bytes":7}},"kind":{"power_loss":{"survival":{"prefix":{"operations":3}},"torn":512}}}"#
    );
    assert_eq!(serde_json::from_str::<CrashPoint>(&json).expect("its JSON parses"), point);
}

#[test]
fn a_metadata_version_lists_the_unsynced_ranges_of_the_other_files() {
    let (disk, _, _guard) = new_disk();
    let process = Process::start(&disk);
    for path in ["a-draft", "a-synced"] {
        process.create(path);
        process.write(path, 0, &[1; 100]);
        process.sync(path);
    }
    process.sync_dir("a-draft");
    process.create("a-synced-wal");
    process.write("a-draft", 90, &[2; 20]);
    process.write("a-draft", 0, &[2; 10]);
    process.write("a-draft", 110, &[2; 10]);
    process.create("a-info.tmp");
    process.write("a-info.tmp", 0, b"{}");
    process.rename("a-info.tmp", "a-info");
    process.truncate("a-synced", 50);

    let versions = disk.take_metadata_versions();
    let [version] = versions.as_slice() else { panic!("expected one rename, found {}", versions.len()) };
    assert_eq!((version.path.as_str(), version.bytes.as_slice()), ("a-info", &b"{}"[..]));
    let unsynced: Vec<_> = version.unsynced.iter().map(|(path, what)| (path.as_str(), what)).collect();
    let (changed, entry) = (Unsynced::Bytes(vec![0..10, 90..120]), Unsynced::DirectoryEntry);
    assert_eq!(unsynced, [("a-draft", &changed), ("a-info", &entry), ("a-synced-wal", &entry)]);
    let lengths: Vec<_> = version.durable_lengths.iter().map(|(path, len)| (path.as_str(), *len)).collect();
    assert_eq!(lengths, [("a-draft", 100), ("a-synced", 100)]);

    assert_eq!(disk.unsynced("a-synced"), Unsynced::Bytes([50..u64::MAX; 1].into()));
    assert!(disk.take_metadata_versions().is_empty());
}
