//! The disk of one machine: an in-memory file system over successive boots, with crashes.
//!
//! A [`Disk`] outlives the processes that use it. Each process reaches it through the [`SimIo`] of the current boot,
//! which is a `turso_core` `IO` and the engine's `Storage`. A crash, ordered with [`Disk::crash_now`] or waiting at an
//! armed [`CrashPoint`], takes the machine *down*: the image that survives is taken at that very moment, and the process
//! runs on as a *ghost*. A ghost's operations succeed on files that nobody else sees; they are neither counted nor
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
//! | `files` | current state, durable state and the log between |
//! | `names` | what versions of the metadata that could survive name, guarded |
//! | `places` | counters of a step's operations, armed crash points |
//! | `site` | an operation about to happen, for whoever decides where a crash strikes |
//! | `io` | the traits: `IO`, `File`, `Clock`, `Storage` |

mod crash;
mod errors;
mod files;
mod image;
mod io;
mod names;
mod places;
mod site;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use xxhash_rust::xxh3::xxh3_64;

pub use crash::{CrashKind, CrashPoint, CrashReport, FileClass, Moment, OperationKind, Place, Survival};
pub use errors::{DiskError, DiskErrorKind, Lasts};
pub use files::MetadataVersion;
pub use io::{Hang, SimIo};
pub use names::{NameReader, Named};
pub use site::{Aftermath, Pilot, Site};

use crate::lock::lock;
use crate::trace::{Lane, SharedTrace, Trace};
use errors::{Access, DiskErrors, Strike};
use files::Files;
use image::{Inode, Operation};
use names::Names;
use places::Places;

/// One machine's disk. Clones are handles to the same disk.
#[derive(Clone)]
pub struct Disk {
    machine: Arc<Mutex<Machine>>,
}

/// All files of a disk at one moment. It shares its content with the disk that it was taken of.
#[derive(Clone)]
pub struct DiskCopy(Files);

/// What a disk did in its lifetime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Mutating operations, ghosts' excluded.
    pub operations: u64,
    /// Bytes that writes carried.
    pub bytes_written: u64,
}

impl Disk {
    /// An empty disk, up and running. `lane` is its machine in the trace; `key` is where its random bytes come from.
    #[must_use]
    pub fn new(lane: Lane, key: u64, trace: SharedTrace) -> Self {
        let machine = Machine {
            lane,
            key,
            trace,
            boot: Boot::start(Files::default()),
            survived: None,
            step: 0,
            places: Places::default(),
            errors: DiskErrors::default(),
            operations_in_step: 0,
            draws_in_step: 0,
            totals: Totals::default(),
            metadata_versions: Vec::new(),
            names: Names::default(),
            crash: None,
            pilot: None,
        };
        Self { machine: Arc::new(Mutex::new(machine)) }
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
        let place = Place { file: FileClass::Any, operation: OperationKind::AnyMutation, nth };
        machine.places.arm(CrashPoint { place, moment: Moment::Before, kind });
    }

    /// Lets `pilot` see every operation from here on.
    pub fn set_pilot(&self, pilot: Arc<Mutex<dyn Pilot>>) {
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
    pub fn take_struck_errors(&self) -> Vec<(DiskErrorKind, FileClass)> {
        lock(&self.machine).errors.take_struck()
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
    /// unsynced operations still being unsynced. Whoever still holds the old boot's [`SimIo`] is a ghost from here on.
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

    /// Makes the disk an empty one. No process may be running.
    pub fn wipe(&self) {
        let empty = lock(&self.machine).with_files(|_, files| files.emptied());
        self.replace_files("wipe", "", empty);
    }

    fn replace_files(&self, verb: &'static str, path: &str, files: Files) {
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

/// The time from one start of the machine to the next. Its files live as long as a process of it has them open.
///
/// Locks are taken in the order machine, files, trace.
struct Boot {
    /// Unique in this process, so that the core's registry of open databases keeps simulations and boots apart. It is
    /// the one number here that depends on what else runs, and it never reaches a file or the trace.
    device: u64,
    files: Mutex<Files>,
    /// Random draws of ghosts, which must not shift those of the living.
    ghost_draws: AtomicU64,
    /// Waits since the last operation on a file.
    waits: AtomicU32,
}

impl Boot {
    fn start(files: Files) -> Arc<Self> {
        // Far above the device numbers of the host, with which the core's registry could confuse them.
        static NEXT_DEVICE: AtomicU64 = AtomicU64::new(1 << 63);
        let device = NEXT_DEVICE.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            device,
            files: Mutex::new(files),
            ghost_draws: AtomicU64::new(0),
            waits: AtomicU32::new(0),
        })
    }
}

/// A mutating operation as a process asks for it.
#[derive(Clone)]
enum Mutation {
    Apply(Operation),
    Sync(Inode),
    SyncDirectory,
}

impl Mutation {
    fn kind(&self) -> OperationKind {
        match self {
            Self::Apply(Operation::Write { .. }) => OperationKind::Write,
            Self::Apply(Operation::Truncate { .. }) => OperationKind::Truncate,
            Self::Apply(Operation::Create { .. }) => OperationKind::Create,
            Self::Apply(Operation::Remove { .. }) => OperationKind::Remove,
            Self::Apply(Operation::Rename { .. }) => OperationKind::Rename,
            Self::Sync(_) => OperationKind::Sync,
            Self::SyncDirectory => OperationKind::SyncDirectory,
        }
    }

    /// What it is to the disk errors.
    fn accesses(&self, files: &Files) -> &'static [Access] {
        match self {
            Self::Apply(Operation::Write { inode, offset, bytes }) => {
                let grows = offset + bytes.len() as u64 > files.current().content(*inode).len() as u64;
                if grows { &[Access::Write, Access::Growth] } else { &[Access::Write] }
            }
            Self::Apply(Operation::Truncate { .. }) => &[Access::Truncate],
            Self::Apply(Operation::Rename { .. }) => &[Access::Rename],
            // A creation is an open, and was counted as one; removals do not fail.
            Self::Apply(Operation::Create { .. } | Operation::Remove { .. }) => &[],
            Self::Sync(_) => &[Access::Sync],
            Self::SyncDirectory => &[Access::SyncDirectory],
        }
    }

    fn perform(self, files: &mut Files, path: &str) {
        match self {
            Self::Apply(operation) => files.apply(operation),
            Self::Sync(inode) => files.sync(inode),
            Self::SyncDirectory => files.sync_directory(path),
        }
    }
}

struct Machine {
    lane: Lane,
    key: u64,
    trace: SharedTrace,
    boot: Arc<Boot>,
    /// While the machine is down: what the next boot starts from.
    survived: Option<Files>,
    step: u32,
    places: Places,
    errors: DiskErrors,
    operations_in_step: u64,
    draws_in_step: u64,
    totals: Totals,
    metadata_versions: Vec<MetadataVersion>,
    names: Names,
    crash: Option<CrashReport>,
    pilot: Option<Arc<Mutex<dyn Pilot>>>,
}

impl Machine {
    fn is_ghost(&self, boot: &Arc<Boot>) -> bool {
        self.survived.is_some() || !Arc::ptr_eq(&self.boot, boot)
    }

    /// Does what a process of `boot` asks for, fails where an error is due and crashes where a crash is. `files` are those of `boot`.
    fn perform(
        &mut self,
        boot: &Arc<Boot>,
        files: &mut Files,
        path: &str,
        mutation: Mutation,
    ) -> Result<(), Strike> {
        if let Some(strike) = self.fail(boot, path, mutation.accesses(files)) {
            match (strike.kind, mutation) {
                (
                    DiskErrorKind::PartialWrite { bytes: written },
                    Mutation::Apply(Operation::Write { inode, offset, bytes }),
                ) => {
                    let bytes = bytes.slice(..bytes.len().min(written as usize));
                    let beginning = Operation::Write { inode, offset, bytes };
                    self.perform_or_crash(boot, files, path, Mutation::Apply(beginning));
                }
                (DiskErrorKind::SyncDrops, Mutation::Sync(inode)) => files.drop_writes(inode),
                _ => {}
            }
            return Err(strike);
        }
        self.perform_or_crash(boot, files, path, mutation);
        Ok(())
    }

    /// The error that strikes at an access, if one does. A ghost meets none.
    fn fail(&mut self, boot: &Arc<Boot>, path: &str, accesses: &[Access]) -> Option<Strike> {
        if self.is_ghost(boot) {
            return None;
        }
        let strike = self.errors.reach(FileClass::of(path), accesses)?;
        self.record(strike.kind.verb(), path, &[u64::from(strike.at_once)], &[]);
        Some(strike)
    }

    /// Does what a process of `boot` asks for, and crashes where a crash is due.
    fn perform_or_crash(&mut self, boot: &Arc<Boot>, files: &mut Files, path: &str, mutation: Mutation) {
        if self.is_ghost(boot) {
            mutation.perform(files, path);
            return;
        }
        if let Some(pilot) = &self.pilot
            && let Some(point) =
                lock(pilot).consider(&Site::new(self.places.operations() + 1, path, files, &mutation))
        {
            self.places.arm(point);
        }
        let Some((point, place)) = self.places.reach(FileClass::of(path), mutation.kind()) else {
            self.execute(files, path, mutation);
            return;
        };
        // Before and inside, the image is taken first and the ghost then does its operation in full.
        match (point.moment, &mutation) {
            (Moment::After, _) => {
                self.execute(files, path, mutation);
                self.strike(files, path, &point, place);
                return;
            }
            (
                Moment::Inside { bytes: written },
                Mutation::Apply(Operation::Write { inode, offset, bytes }),
            ) => {
                let bytes = bytes.slice(..bytes.len().min(written as usize));
                let beginning = Operation::Write { inode: *inode, offset: *offset, bytes };
                self.execute(files, path, Mutation::Apply(beginning));
            }
            (Moment::Before | Moment::Inside { .. }, _) => {}
        }
        self.strike(files, path, &point, place);
        mutation.perform(files, path);
    }

    /// The armed `point` strikes at `place`.
    fn strike(&mut self, files: &Files, path: &str, point: &CrashPoint, place: Place) {
        self.record("fault", &point.to_string(), &[], &[]);
        self.crash(files, &point.kind, path, Some((point, place)));
    }

    /// Does it, counted and traced.
    fn execute(&mut self, files: &mut Files, path: &str, mutation: Mutation) {
        self.operations_in_step += 1;
        self.totals.operations += 1;
        let kind = mutation.kind();
        self.guard(files, path, &mutation);
        match &mutation {
            Mutation::Apply(Operation::Write { offset, bytes, .. }) => {
                self.totals.bytes_written += bytes.len() as u64;
                self.record(kind.verb(), path, &[*offset, bytes.len() as u64], bytes);
            }
            Mutation::Apply(Operation::Truncate { len, .. }) => self.record(kind.verb(), path, &[*len], &[]),
            Mutation::Apply(Operation::Rename { from, .. }) => {
                self.record(kind.verb(), path, &[], from.as_bytes())
            }
            _ => self.record(kind.verb(), path, &[], &[]),
        }
        mutation.perform(files, path);
        if kind == OperationKind::Rename && FileClass::of(path) == FileClass::Metadata {
            let event_count = lock(&self.trace).event_count();
            let version = files.metadata_version(path, event_count);
            self.names.add(&version.bytes);
            self.metadata_versions.push(version);
        }
        if kind == OperationKind::SyncDirectory {
            self.names.settle();
        }
    }

    /// Looks whether the operation changes what the metadata names.
    fn guard(&mut self, files: &Files, path: &str, mutation: &Mutation) {
        let (range, empties) = match mutation {
            Mutation::Apply(Operation::Write { offset, bytes, .. }) => {
                (*offset..*offset + bytes.len() as u64, false)
            }
            Mutation::Apply(Operation::Truncate { len, .. }) => {
                let main = path.strip_suffix("-wal");
                let main_is_durable = main.is_none_or(|main| files.unsynced_ranges(main).is_empty());
                (*len..u64::MAX, *len == 0 && main_is_durable)
            }
            _ => return,
        };
        self.names.touch(FileClass::of(path), &range, empties, path);
    }

    /// Takes the machine down; `files` are what the crash finds.
    fn crash(&mut self, files: &Files, kind: &CrashKind, path: &str, struck: Option<(&CrashPoint, Place)>) {
        let unsynced_operations = files.unsynced_operations();
        let survivors = files.survivors(kind);
        let event_count = lock(&self.trace).event_count();
        let counts = [survivors.len() as u64, u64::from(unsynced_operations)];
        let verb = if *kind == CrashKind::Kill { "kill" } else { "power loss" };
        self.record(verb, path, &counts, &[]);
        let survived = files.after_crash(kind);
        if *kind != CrashKind::Kill {
            self.names.replace(survived.metadata());
        }
        self.survived = Some(survived);
        self.crash = Some(CrashReport {
            point: struck.map(|(point, _)| point.clone()),
            place: struck.map(|(_, place)| place),
            kind: kind.clone(),
            unsynced_operations,
            survivors,
            event_count,
        });
    }

    /// Calls `f` with the files that count: those that survived while the machine is down, else the boot's.
    fn with_files<R>(&mut self, f: impl FnOnce(&mut Self, &Files) -> R) -> R {
        if let Some(survived) = self.survived.take() {
            let result = f(self, &survived);
            // A further crash has put a newer image in its place.
            self.survived.get_or_insert(survived);
            return result;
        }
        let boot = Arc::clone(&self.boot);
        let files = lock(&boot.files);
        f(self, &files)
    }

    /// A random number that is a hash of who asks, in which step, for what, and for the how-manieth time.
    fn draw(&mut self, boot: &Arc<Boot>, purpose: Purpose) -> u64 {
        let (purpose, used) = if self.is_ghost(boot) {
            (Purpose::Ghost, boot.ghost_draws.fetch_add(1, Ordering::Relaxed))
        } else {
            self.draws_in_step += 1;
            (purpose, self.draws_in_step)
        };
        let mut name = [0; 23];
        name[..8].copy_from_slice(&self.key.to_le_bytes());
        name[8..10].copy_from_slice(&self.lane.code());
        name[10..14].copy_from_slice(&self.step.to_le_bytes());
        name[14] = purpose as u8;
        name[15..].copy_from_slice(&used.to_le_bytes());
        xxh3_64(&name)
    }

    fn record(&self, verb: &'static str, place: &str, numbers: &[u64], bytes: &[u8]) {
        lock(&self.trace).record(self.lane, verb, place, numbers, bytes);
    }
}

/// What a random number is for.
#[derive(Clone, Copy)]
enum Purpose {
    Number,
    Bytes,
    Ghost,
}
