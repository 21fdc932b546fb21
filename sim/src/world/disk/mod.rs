//! The disk of one machine: an in-memory file system that persists over boots and crashes.
//!
//! A [`Disk`] outlives the processes that use it. Each process reaches it through the [`SimIo`] of the
//! current boot, which implements `turso_core`'s `IO` and the engine's `Storage`. [`Disk::crash_now`] or an
//! armed [`CrashPoint`] crashes the machine. The machine is *down* from then on: the surviving image is taken
//! at that very moment, and the process keeps running as a *zombie*. A zombie's operations always succeed, so
//! the process meets no error that a real crash would not cause. The operations change files that no other
//! process sees, and are neither counted nor traced. [`Disk::restart`] starts the next boot.
//!
//! Guarantees: the same calls produce the same trace and the same bytes. No lock is held while a completion
//! runs. After a kill, every unsynced operation is still there and still unsynced. Only a power loss can undo
//! it.
//!
//! Not simulated: permissions, and locks between processes.
//!
//! | module | holds |
//! |---|---|
//! | `errors` | disk errors: armed, lasting, injected |
//! | `image` | directory entries and contents, and how an operation changes them |
//! | `file_system` | current state, durable state, and the log between them |
//! | `names` | the guard over the bytes that the metadata may still need after a crash |
//! | `places` | counters of a step's operations; armed crash points |
//! | `site` | an operation that is about to happen, for the pilot that may crash it |
//! | `machine` | performs operations, injects errors and crashes |
//! | `report` | the report of a crash |
//! | `io` | the traits: `IO`, `File`, `Clock`, `Storage` |
//!
//! The faults themselves, as plain data, are in [`fault`](crate::fault).

mod errors;
mod file_system;
mod image;
mod io;
mod machine;
mod names;
mod places;
mod report;
mod site;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

pub use io::{Hang, SimIo};
pub use names::NameReader;
pub use report::CrashReport;
pub use site::{Aftermath, Site};

use crate::fault::{
    CrashKind, CrashPoint, DiskError, DiskErrorKind, FileClass, Moment, OperationKind, OperationPlace,
};
use crate::judge::{MetadataVersion, Unsynced};
use crate::lock::lock;
use crate::world::pilot::SharedPilot;
use crate::world::trace::{Lane, SharedTrace, Trace, Verb};
use file_system::FileSystem;
use machine::{Boot, Machine};
use places::Places;

/// One machine's disk. Clones are handles to the same disk.
#[derive(Clone)]
pub struct Disk {
    machine: Arc<Mutex<Machine>>,
}

/// All files of a disk at one moment. The copy and the disk share each content until the disk changes it.
#[derive(Clone)]
pub struct DiskCopy(FileSystem);

/// Counters over a disk's lifetime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The number of mutating operations, without those of zombies.
    pub operations: u64,
    /// The number of bytes written.
    pub bytes_written: u64,
}

impl Disk {
    /// Creates the empty disk of a running machine. `lane` is the machine's lane in the trace; `key` is the
    /// source of its random bytes.
    #[must_use]
    pub fn new(lane: Lane, key: u64, trace: SharedTrace) -> Self {
        Self { machine: Arc::new(Mutex::new(Machine::new(lane, key, trace))) }
    }

    /// The file system as a process of the current boot sees it.
    ///
    /// # Panics
    /// If the machine is down.
    #[must_use]
    pub fn io(&self) -> Arc<SimIo> {
        let machine = lock(&self.machine);
        assert!(machine.survived.is_none(), "{} is down: restart it before it runs a process", machine.lane);
        Arc::new(SimIo::new(Arc::clone(&self.machine), Arc::clone(&machine.boot)))
    }

    /// The file system as a second process beside the one of [`io`](Self::io) sees it.
    ///
    /// # Panics
    /// If the machine is down.
    #[must_use]
    pub fn io_of_another_process(&self) -> Arc<SimIo> {
        Arc::new(self.io().of_another_process())
    }

    /// Releases all locks of the current boot, although their holders live.
    #[cfg(test)]
    pub(crate) fn forget_locks(&self) {
        lock(&self.machine).boot.locks.forget();
    }

    /// Starts step `step`: places are counted from here, and armed faults are disarmed.
    pub fn begin_step(&self, step: u32) {
        let mut machine = lock(&self.machine);
        machine.step = step;
        machine.places = Places::default();
        machine.errors.begin_step();
        machine.operations_in_step = 0;
        machine.draws_in_step = 0;
    }

    /// Arms a crash. Of several armed points the first one reached is injected. The others stay armed, and
    /// can hit the next boot, until the step ends or they are taken.
    pub fn arm(&self, point: CrashPoint) {
        lock(&self.machine).places.arm(point);
    }

    /// Arms a crash before the `nth` mutating operation from here on, counted from 1.
    pub fn arm_ahead(&self, nth: u32, kind: CrashKind) {
        let mut machine = lock(&self.machine);
        let nth = machine.places.operations().saturating_add(nth);
        let place = OperationPlace { file: FileClass::Any, operation: OperationKind::AnyMutation, nth };
        machine.places.arm(CrashPoint { place, moment: Moment::Before, kind });
    }

    /// Shows `pilot` every operation from here on.
    pub fn set_pilot(&self, pilot: SharedPilot) {
        lock(&self.machine).pilot = Some(pilot);
    }

    /// Arms an error until the step ends.
    pub fn arm_error(&self, error: DiskError) {
        lock(&self.machine).errors.arm(error);
    }

    /// The number of operations of this kind on files of this role since the step started.
    #[cfg(test)]
    pub(crate) fn operations(&self, file: FileClass, operation: OperationKind) -> u32 {
        lock(&self.machine).places.count(file, operation)
    }

    /// The number of accesses of this kind to files of this role since the step started.
    #[cfg(test)]
    pub(crate) fn accesses(&self, file: FileClass, access: crate::fault::Access) -> u32 {
        lock(&self.machine).errors.count(file, access)
    }

    /// Disarms and returns the errors that were not reached.
    #[must_use]
    pub fn take_unreached_errors(&self) -> Vec<DiskError> {
        lock(&self.machine).errors.take_unreached()
    }

    /// Takes the errors that were injected since the last call or since the step started, with the files that
    /// they hit.
    #[must_use]
    pub fn take_injected_errors(&self) -> Vec<(DiskErrorKind, FileClass)> {
        let injected = self.take_injected_errors_by_path();
        injected.into_iter().map(|(kind, path)| (kind, FileClass::of(&path))).collect()
    }

    /// Like [`take_injected_errors`](Self::take_injected_errors), with the paths of the files.
    #[must_use]
    pub fn take_injected_errors_by_path(&self) -> Vec<(DiskErrorKind, String)> {
        lock(&self.machine).errors.take_injected()
    }

    /// While `suspended` is set, no error is injected and no access is counted. Checkers use it when they
    /// read through a process of the machine.
    pub fn suspend_errors(&self, suspended: bool) {
        lock(&self.machine).errors.suspend(suspended);
    }

    /// Ends all disk errors, including those that last.
    pub fn heal(&self) {
        lock(&self.machine).errors.heal();
    }

    /// Disarms and returns the crash points that were not reached, in the order in which they were armed.
    #[must_use]
    pub fn take_unreached_crashes(&self) -> Vec<CrashPoint> {
        lock(&self.machine).places.take_armed()
    }

    /// Whether the machine has crashed and [`Disk::restart`] has not been called since.
    #[must_use]
    pub fn is_down(&self) -> bool {
        lock(&self.machine).survived.is_some()
    }

    /// Crashes the machine between two operations. A machine that is already down can still lose power.
    pub fn crash_now(&self, kind: &CrashKind) {
        lock(&self.machine).with_files(|machine, files| machine.crash(files, kind, "", None));
    }

    /// Takes the report of the last crash, if the machine has crashed since the last call.
    #[must_use]
    pub fn take_crash(&self) -> Option<CrashReport> {
        lock(&self.machine).crash.take()
    }

    /// Boots from the surviving files. If there was no crash, all operations of the earlier processes are
    /// there, and unsynced operations are still unsynced. A process that still holds the old boot's [`SimIo`]
    /// is a zombie from here on.
    pub fn restart(&self) {
        let mut machine = lock(&self.machine);
        let survived = machine.survived.take();
        let files = survived.unwrap_or_else(|| lock(&machine.boot.files).clone());
        machine.record(Verb::Restart, "", &[u64::from(files.unsynced_operations())], &[]);
        machine.boot = Boot::start(files);
    }

    /// Copies all files as they are now or, while the machine is down, as they survived.
    #[must_use]
    pub fn copy(&self) -> DiskCopy {
        lock(&self.machine).with_files(|_, files| DiskCopy(files.settled()))
    }

    /// Replaces all files by those of a copy, durably. No process may be running.
    pub fn put_back(&self, copy: &DiskCopy) {
        self.replace_files(Verb::PutBack, "", copy.0.clone());
    }

    /// Deletes the file at `path` permanently. Returns `false` if there is none. All other files become
    /// durable. No process may be running.
    #[must_use]
    pub fn lose(&self, path: &str) -> bool {
        let mut files = lock(&self.machine).with_files(|_, files| files.settled());
        let is_there = files.lose(path);
        if is_there {
            self.replace_files(Verb::Lose, path, files);
        }
        is_there
    }

    /// Overwrites bytes of the file at `path`, durably and without the knowledge of any process. All files
    /// become durable. No process may be running.
    ///
    /// # Panics
    /// If the file is too short.
    pub fn overwrite(&self, path: &str, offset: usize, bytes: &[u8]) {
        let mut files = lock(&self.machine).with_files(|_, files| files.settled());
        files.overwrite(path, offset, bytes);
        self.replace_files(Verb::Rot, path, files);
    }

    /// Deletes all files. No process may be running.
    pub fn wipe(&self) {
        let empty = lock(&self.machine).with_files(|_, files| files.emptied());
        self.replace_files(Verb::Wipe, "", empty);
    }

    fn replace_files(&self, verb: Verb, path: &str, files: FileSystem) {
        let mut machine = lock(&self.machine);
        assert!(
            machine.survived.is_none(),
            "{} is down: restart it before its files are replaced",
            machine.lane
        );
        machine.record(verb, path, &[], &[]);
        machine.names.replace(files.metadata());
        machine.boot = Boot::start(files);
    }

    /// The number of mutating operations since the step started.
    #[must_use]
    pub fn operations_in_step(&self) -> u64 {
        lock(&self.machine).operations_in_step
    }

    /// Counters since the disk was created.
    #[must_use]
    pub fn totals(&self) -> Totals {
        lock(&self.machine).totals
    }

    /// The number of operations that a power loss could undo now.
    #[must_use]
    pub fn unsynced_operations(&self) -> u32 {
        lock(&self.machine).with_files(|_, files| files.unsynced_operations())
    }

    /// What a power loss could change now about the file at `path`.
    #[must_use]
    pub fn unsynced(&self, path: &str) -> Unsynced {
        lock(&self.machine).with_files(|_, files| files.unsynced(path))
    }

    /// From here on, guards the bytes that metadata versions refer to. `reader` parses a version and returns
    /// what it refers to.
    pub fn guard_names(&self, reader: NameReader) {
        lock(&self.machine).names.set_reader(reader);
    }

    /// Takes the guard's findings since the last call. A finding is a change of bytes that a metadata version
    /// refers to, at a moment when a crash could leave that version.
    #[must_use]
    pub fn take_touched_names(&self) -> Vec<String> {
        lock(&self.machine).names.take_findings()
    }

    /// A copy of this disk as a crash at this moment would leave it, after a restart. The copy has no armed
    /// faults, and the history's trace does not show its operations.
    #[must_use]
    pub fn crash_image(&self, kind: &CrashKind) -> Self {
        let mut machine = lock(&self.machine);
        let files = machine.with_files(|_, files| files.after_crash(kind));
        let copy = Self::new(machine.lane, machine.key, Arc::new(Mutex::new(Trace::new(false))));
        lock(&copy.machine).boot = Boot::start(files);
        copy
    }

    /// Takes the metadata versions that were renamed into place since the last call, oldest first.
    #[must_use]
    pub fn take_metadata_versions(&self) -> Vec<MetadataVersion> {
        std::mem::take(&mut lock(&self.machine).metadata_versions)
    }

    /// The file at `path` as it is now or, while the machine is down, as it survived. For checkers: the read
    /// is neither traced nor counted. It copies nothing unless the result is held across a write.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<Arc<Vec<u8>>> {
        lock(&self.machine).with_files(|_, files| files.current().file(path))
    }

    /// The file at `path` as it would be after a power loss that no unsynced operation survives.
    #[must_use]
    pub fn durable(&self, path: &str) -> Option<Arc<Vec<u8>>> {
        lock(&self.machine).with_files(|_, files| files.durable().file(path))
    }

    /// The paths of all files, ascending.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        lock(&self.machine).with_files(|_, files| files.current().entries.keys().cloned().collect())
    }
}
