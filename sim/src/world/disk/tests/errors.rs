//! Tests operations that fail, and the state that they leave.

use super::*;

const PATH: &str = "a-draft";

fn error(error: DiskErrorKind, nth: u32) -> DiskError {
    DiskError { file: FileClass::Draft, nth, error, lasts: Lasts::Once, at_once: false }
}

/// A disk with a file whose durable content is `base`, and a process on it.
fn disk_with_base() -> (Disk, Process, ClockGuard) {
    let (disk, _, guard) = new_disk();
    let process = Process::start(&disk);
    process.create(PATH);
    process.write(PATH, 0, b"base");
    process.sync(PATH);
    process.sync_dir(PATH);
    disk.begin_step(2);
    (disk, process, guard)
}

impl Process {
    fn fails(
        &self,
        operation: impl FnOnce(&dyn File, Completion) -> turso_core::Result<Completion>,
        c: Completion,
    ) -> bool {
        let file = self.open(PATH, OpenFlags::None);
        operation(file.as_ref(), c).map_or(true, |c| c.failed())
    }

    fn write_fails(&self, offset: u64, bytes: &[u8]) -> bool {
        let buffer = Arc::new(Buffer::new(bytes.to_vec()));
        self.fails(|file, c| file.pwrite(offset, buffer, c), Completion::new_write(|_| ()))
    }

    fn sync_fails(&self) -> bool {
        self.fails(|file, c| file.sync(c, FileSyncType::Fsync), Completion::new_sync(|_| ()))
    }
}

#[test]
fn a_failed_write_changes_nothing_and_the_next_succeeds() {
    let (disk, process, _guard) = disk_with_base();
    disk.arm_error(error(DiskErrorKind::WriteFails, 2));
    assert!(!process.write_fails(0, b"B"));
    assert!(process.write_fails(1, b"A"));
    assert!(!process.write_fails(2, b"S"));
    assert_eq!(process.read(PATH), b"BaSe");
    assert_eq!(disk.take_injected_errors(), [(DiskErrorKind::WriteFails, FileClass::Draft)]);
    assert_eq!(disk.take_unreached_errors(), []);
}

#[test]
fn an_immediate_error_fails_the_call_and_not_its_completion() {
    let (disk, process, _guard) = disk_with_base();
    disk.arm_error(DiskError { at_once: true, ..error(DiskErrorKind::SyncFails, 1) });
    let file = process.open(PATH, OpenFlags::None);
    assert!(file.sync(Completion::new_sync(|_| ()), FileSyncType::Fsync).is_err());
}

#[test]
fn a_partial_write_leaves_its_first_bytes() {
    let (disk, process, _guard) = disk_with_base();
    disk.arm_error(error(DiskErrorKind::PartialWrite { bytes: 2 }, 1));
    assert!(process.write_fails(0, b"BASE"));
    assert_eq!(process.read(PATH), b"BAse");
    assert_eq!(disk.unsynced_operations(), 1);
}

#[test]
fn a_file_on_a_full_disk_can_be_overwritten_but_not_extended() {
    let (disk, process, _guard) = disk_with_base();
    disk.arm_error(DiskError { lasts: Lasts::UntilHealed, ..error(DiskErrorKind::NoSpace, 1) });
    assert!(!process.write_fails(0, b"B"));
    assert!(process.write_fails(4, b"s"));
    assert!(process.write_fails(2, b"SES"));
    assert_eq!(process.read(PATH), b"Base");
}

#[test]
fn a_lasting_error_survives_steps_and_crashes_and_ends_with_the_heal() {
    let (disk, process, _guard) = disk_with_base();
    disk.arm_error(DiskError { lasts: Lasts::UntilHealed, ..error(DiskErrorKind::SyncFails, 2) });
    assert!(!process.sync_fails());
    assert!(process.sync_fails());
    assert!(process.sync_fails());
    disk.crash_now(&EVERYTHING);
    assert!(!process.sync_fails(), "no error is injected into a zombie's operation");
    disk.restart();
    disk.begin_step(3);
    let process = Process::start(&disk);
    assert!(process.sync_fails());
    disk.heal();
    assert!(!process.sync_fails());
}

#[test]
fn the_next_sync_makes_durable_what_a_failed_sync_left_unsynced() {
    let (disk, process, _guard) = disk_with_base();
    disk.arm_error(error(DiskErrorKind::SyncFails, 1));
    process.write(PATH, 4, b"ment");
    assert!(process.sync_fails());
    assert_eq!(disk.unsynced(PATH), Unsynced::Bytes([4..8; 1].into()));
    assert!(!process.sync_fails());
    disk.crash_now(&NOTHING);
    assert_eq!(content(&disk, PATH), Some(b"basement".to_vec()));
}

#[test]
fn a_write_that_a_failed_sync_dropped_is_readable_but_never_durable() {
    let (disk, process, _guard) = disk_with_base();
    disk.arm_error(error(DiskErrorKind::SyncDrops, 1));
    process.write(PATH, 4, b"ment");
    assert!(process.sync_fails());
    assert!(!process.sync_fails());
    assert_eq!(process.read(PATH), b"basement");
    assert_eq!(disk.unsynced(PATH), Unsynced::Bytes([4..8; 1].into()));
    disk.crash_now(&EVERYTHING);
    assert_eq!(content(&disk, PATH), Some(b"base".to_vec()));
}

#[test]
fn a_dropped_write_becomes_durable_once_it_is_written_again() {
    let (disk, process, _guard) = disk_with_base();
    disk.arm_error(error(DiskErrorKind::SyncDrops, 1));
    process.write(PATH, 4, b"ment");
    assert!(process.sync_fails());
    process.write(PATH, 4, b"ment");
    assert!(!process.sync_fails());
    assert!(disk.unsynced(PATH).is_empty());
    disk.crash_now(&NOTHING);
    assert_eq!(content(&disk, PATH), Some(b"basement".to_vec()));
}

#[test]
fn a_short_read_returns_half_and_the_next_read_returns_everything() {
    let (disk, process, _guard) = disk_with_base();
    disk.arm_error(error(DiskErrorKind::ShortRead, 1));
    assert_eq!(process.read(PATH), b"ba\0\0");
    assert_eq!(process.read(PATH), b"base");
}

#[test]
fn failed_opens_renames_truncates_and_directory_syncs_change_nothing() {
    use DiskErrorKind::{OpenFails, RenameFails, SyncDirectoryFails, TruncateFails};
    let (disk, process, _guard) = disk_with_base();
    process.create("b");
    for kind in [RenameFails, SyncDirectoryFails, TruncateFails, OpenFails] {
        disk.arm_error(error(kind, 1));
    }
    assert!(process.io.rename("b", PATH).is_err());
    assert!(process.io.sync_dir(PATH).is_err());
    let file = process.io.open_file(PATH, OpenFlags::None, false);
    assert!(file.is_err());
    assert!(process.fails(|file, c| file.truncate(0, c), Completion::new_trunc(|_| ())));
    assert_eq!(disk.take_injected_errors().len(), 4);
    assert_eq!(content(&disk, PATH), Some(b"base".to_vec()));
    assert_eq!(disk.paths(), [PATH, "b"]);
    assert_eq!(disk.unsynced_operations(), 1, "only the creation of b is unsynced");
}

#[test]
fn no_error_is_injected_while_errors_are_suspended() {
    let (disk, process, _guard) = disk_with_base();
    disk.arm_error(error(DiskErrorKind::ShortRead, 1));
    disk.suspend_errors(true);
    assert_eq!(process.read(PATH), b"base");
    disk.suspend_errors(false);
    assert_eq!(process.read(PATH), b"ba\0\0");
}
