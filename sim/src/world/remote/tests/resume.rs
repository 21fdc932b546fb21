//! Tests a remote that is resumed from its files.

use std::sync::{Arc, Mutex};

use super::*;
use crate::fault::{CrashKind, CrashPoint, FileClass, Moment, OperationKind, OperationPlace, Survival};
use crate::world::clock;
use crate::world::disk::Disk;
use crate::world::trace::{Lane, Trace};

/// Answers will mention these transactions, so they must not be lost any more.
#[test]
fn transactions_found_in_the_wal_on_resume_survive_a_power_loss() {
    let _in_virtual_time = clock::enter(0);
    let disk = Disk::new(Lane::Remote, 1, Arc::new(Mutex::new(Trace::new(false))));
    let path = unique_path();
    let mut remote = Remote::create(disk.io(), &path);
    plimsoll_engine::Storage::sync_dir(&*disk.io(), &path).unwrap();
    let snapshot = remote.store.main().unwrap();
    transact(&mut remote, &["CREATE TABLE t (v)"]);

    // Killed after the commit's last write, before its sync.
    disk.begin_step(1);
    let place = OperationPlace { file: FileClass::Any, operation: OperationKind::Sync, nth: 1 };
    disk.arm(CrashPoint { place, moment: Moment::Before, kind: CrashKind::Kill });
    transact(&mut remote, &["INSERT INTO t VALUES ('written')"]);
    assert!(disk.is_down());
    drop(remote);
    disk.restart();
    assert!(disk.unsynced_operations() > 0);

    let resume =
        || Remote::resume(disk.io(), &path, "h".into(), Vec::new(), snapshot.clone().into()).unwrap();
    let resumed = resume();
    assert_eq!(rows(&resumed, "SELECT v FROM t"), "written");
    drop(resumed);
    disk.crash_now(&CrashKind::PowerLoss { survival: Survival::Nothing, torn: None });
    disk.restart();
    assert_eq!(rows(&resume(), "SELECT v FROM t"), "written");
}
