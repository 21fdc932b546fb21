//! The disk of one machine: an in-memory file system over successive boots, with crashes.
//!
//! A [`Disk`] outlives the processes that use it. Each process reaches it through the [`SimIo`] of the current boot,
//! which is a `turso_core` `IO` and the engine's `Storage`. A crash, ordered with [`Disk::crash_now`] or waiting at an
//! armed [`CrashPoint`], takes the machine *down*: the image that survives is taken at that very moment, and the process
//! runs on as a *zombie*. A zombie's operations succeed on files that nobody else sees; they are neither counted nor
//! traced, so a crash provokes no error path that a real one would not. [`Disk::restart`] makes the next boot.
//!
//! Guarantees: same calls, same trace and same bytes. No lock is held while a completion runs. Only a power loss makes
//! unsynced operations final, one way or the other: after a kill they are still there and still unsynced.
//!
//! Left out: permissions and locks between processes, and the files of machines without an engine.
//!
//! | module | holds |
//! |---|---|
//! | `crash` | the words of a schedule: crash points, places, survival |
//! | `errors` | errors instead of success: armed, lasting, struck |
//! | `image` | entries and contents, and how an operation changes them |
//! | `file_system` | current state, durable state and the log between |
//! | `names` | what versions of the metadata that could survive name, guarded |
//! | `places` | counters of a step's operations, armed crash points |
//! | `site` | an operation about to happen, for whoever decides where a crash strikes |
//! | `machine` | operations carried out, failing, and crashing |
//! | `io` | the traits: `IO`, `File`, `Clock`, `Storage` |

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

use std::ops::Range;
use std::sync::{Arc, Mutex};

pub use io::{Hang, SimIo};
pub use names::NameReader;
pub use report::CrashReport;
pub use site::{Aftermath, Site};

use crate::fault::{
    CrashKind, CrashPoint, DiskError, DiskErrorKind, FileClass, Moment, OperationKind, OperationPlace,
};
use crate::judge::MetadataVersion;
use crate::lock::lock;
use crate::world::pilot::SharedPilot;
use crate::world::trace::{Lane, SharedTrace, Trace};
use file_system::FileSystem;
use machine::{Boot, Machine};
use places::Places;

/// One machine's disk. Clones are handles to the same disk.
#[derive(Clone)]
pub struct Disk {
    machine: Arc<Mutex<Machine>>,
}

/// All files of a disk at one moment. It shares its content with the disk that it was taken of.
#[derive(Clone)]
pub struct DiskCopy(FileSystem);

/// What a disk did in its lifetime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Mutating operations, zombies' excluded.
    pub operations: u64,
    /// Bytes that writes carried.
    pub bytes_written: u64,
}

impl Disk {
    /// An empty disk, up and running. `lane` is its machine in the trace; `key` is where its random bytes come from.
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
        assert!(machine.survived.is_none(), "{} is down: restart it before starting a process", machine.lane);
        Arc::new(SimIo::new(Arc::clone(&self.machine), Arc::clone(&machine.boot)))
    }

    /// Begins step `step`: places are counted from here, and what was armed no longer is.
    pub fn begin_step(&self, step: u32) {
        let mut machine = lock(&self.machine);
        machine.step = step;
        machine.places = Places::default();
        machine.errors.begin_step();
        machine.operations_in_step = 0;
        machine.draws_in_step = 0;
    }

    /// Lets `point` wait for its place. Of several armed points the first one reached strikes; the others stay armed, and
    /// can strike the next boot, until the step ends or they are taken.
    pub fn arm(&self, point: CrashPoint) {
        lock(&self.machine).places.arm(point);
    }

    /// Lets the machine go down before the `nth` mutating operation from here on, from 1.
    pub fn arm_ahead(&self, nth: u32, kind: CrashKind) {
        let mut machine = lock(&self.machine);
        let nth = machine.places.operations().saturating_add(nth);
        let place = OperationPlace { file: FileClass::Any, operation: OperationKind::AnyMutation, nth };
        machine.places.arm(CrashPoint { place, moment: Moment::Before, kind });
    }

    /// Lets `pilot` see every operation from here on.
    pub fn set_pilot(&self, pilot: SharedPilot) {
        lock(&self.machine).pilot = Some(pilot);
    }

    /// Lets `error` wait for its place, until the step ends.
    pub fn arm_error(&self, error: DiskError) {
        lock(&self.machine).errors.arm(error);
    }

    /// Disarms and returns the errors that were not reached.
    #[must_use]
    pub fn take_unreached_errors(&self) -> Vec<DiskError> {
        lock(&self.machine).errors.take_unreached()
    }

    /// The errors that have struck since this was called last or the step began, and at which files.
    #[must_use]
    pub fn take_injected_errors(&self) -> Vec<(DiskErrorKind, FileClass)> {
        lock(&self.machine).errors.take_injected()
    }

    /// While `suspended`, no error strikes and no access is counted: for checkers that look through a process of the machine.
    pub fn suspend_errors(&self, suspended: bool) {
        lock(&self.machine).errors.suspend(suspended);
    }

    /// Ends all disk errors, those that last included.
    pub fn heal(&self) {
        lock(&self.machine).errors.heal();
    }

    /// Disarms and returns the points that were not reached, in the order they were armed.
    #[must_use]
    pub fn take_unreached(&self) -> Vec<CrashPoint> {
        lock(&self.machine).places.take_armed()
    }

    /// Whether a crash has struck and [`Disk::restart`] has not been called since.
    #[must_use]
    pub fn is_down(&self) -> bool {
        lock(&self.machine).survived.is_some()
    }

    /// Takes the machine down between two operations. A machine that is down already can still lose power.
    pub fn crash_now(&self, kind: &CrashKind) {
        lock(&self.machine).with_files(|machine, files| machine.crash(files, kind, "", None));
    }

    /// The last crash since this was called last.
    #[must_use]
    pub fn take_crash(&self) -> Option<CrashReport> {
        lock(&self.machine).crash.take()
    }

    /// Boots from what survived. Without a crash before, the processes ended in good order: all they wrote is there,
    /// unsynced operations still being unsynced. Whoever still holds the old boot's [`SimIo`] is a zombie from here on.
    pub fn restart(&self) {
        let mut machine = lock(&self.machine);
        let survived = machine.survived.take();
        let files = survived.unwrap_or_else(|| lock(&machine.boot.files).clone());
        machine.record("restart", "", &[u64::from(files.unsynced_operations())], &[]);
        machine.boot = Boot::start(files);
    }

    /// All files as they are now, or as they survived.
    #[must_use]
    pub fn copy(&self) -> DiskCopy {
        lock(&self.machine).with_files(|_, files| DiskCopy(files.settled()))
    }

    /// Puts back what a copy holds, durably, whatever was there since. No process may be running.
    pub fn put_back(&self, copy: &DiskCopy) {
        self.replace_files("put back", "", copy.0.clone());
    }

    /// Loses the file at `path`, for good; `false` if there is none. All other files become durable. No process may be running.
    #[must_use]
    pub fn lose(&self, path: &str) -> bool {
        let mut files = lock(&self.machine).with_files(|_, files| files.settled());
        let is_there = files.lose(path);
        if is_there {
            self.replace_files("lose", path, files);
        }
        is_there
    }

    /// Puts other bytes into the file at `path`, durably and behind everybody's back. All files become durable. No process may be running.
    ///
    /// # Panics
    /// If the file does not reach so far.
    pub fn overwrite(&self, path: &str, offset: usize, bytes: &[u8]) {
        let mut files = lock(&self.machine).with_files(|_, files| files.settled());
        files.overwrite(path, offset, bytes);
        self.replace_files("rot", path, files);
    }

    /// Makes the disk an empty one. No process may be running.
    pub fn wipe(&self) {
        let empty = lock(&self.machine).with_files(|_, files| files.emptied());
        self.replace_files("wipe", "", empty);
    }

    fn replace_files(&self, verb: &'static str, path: &str, files: FileSystem) {
        let mut machine = lock(&self.machine);
        assert!(machine.survived.is_none(), "{} is down", machine.lane);
        machine.record(verb, path, &[], &[]);
        machine.names.replace(files.metadata());
        machine.boot = Boot::start(files);
    }

    /// Mutating operations executed since the step began.
    #[must_use]
    pub fn operations_in_step(&self) -> u64 {
        lock(&self.machine).operations_in_step
    }

    /// What this disk did since it was made.
    #[must_use]
    pub fn totals(&self) -> Totals {
        lock(&self.machine).totals
    }

    /// How many operations a power loss could undo now.
    #[must_use]
    pub fn unsynced_operations(&self) -> u32 {
        lock(&self.machine).with_files(|_, files| files.unsynced_operations())
    }

    /// The byte ranges of the file at `path` that a power loss could change now, ascending and disjoint. A truncate
    /// counts up to `u64::MAX`; a file whose directory entry is not durable counts as a whole, `0..u64::MAX`.
    #[must_use]
    pub fn unsynced_ranges(&self, path: &str) -> Vec<Range<u64>> {
        lock(&self.machine).with_files(|_, files| files.unsynced_ranges(path))
    }

    /// Guards what versions of the metadata name, read by `reader`, from here on.
    pub fn guard_names(&self, reader: NameReader) {
        lock(&self.machine).names.set_reader(reader);
    }

    /// Where bytes were changed, since this was called last, that a version of the metadata names which a crash could leave.
    #[must_use]
    pub fn take_touched_names(&self) -> Vec<String> {
        lock(&self.machine).names.take_findings()
    }

    /// A copy of this disk as a crash at this moment would leave it, restarted; it keeps no trace and knows no faults.
    #[must_use]
    pub fn crash_image(&self, kind: &CrashKind) -> Self {
        let mut machine = lock(&self.machine);
        let files = machine.with_files(|_, files| files.after_crash(kind));
        let copy = Self::new(machine.lane, machine.key, Arc::new(Mutex::new(Trace::new(false))));
        lock(&copy.machine).boot = Boot::start(files);
        copy
    }

    /// The metadata versions renamed into place since this was called last, oldest first.
    #[must_use]
    pub fn take_metadata_versions(&self) -> Vec<MetadataVersion> {
        std::mem::take(&mut lock(&self.machine).metadata_versions)
    }

    /// The file at `path` as it is now or, while the machine is down, as it survived. For checkers: not traced, not
    /// counted. Free of a copy unless held across a write.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<Arc<Vec<u8>>> {
        lock(&self.machine).with_files(|_, files| files.current().file(path))
    }

    /// The file at `path` as it would be after a power loss that nothing unsynced survives.
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
