//! One machine: it performs the operations of its processes, counts and traces them, and injects errors and
//! crashes.
//!
//! The traits through which processes call it are in `io`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use xxhash_rust::xxh3::xxh3_64;

use super::Totals;
use super::errors::{DiskErrors, InjectedError};
use super::file_system::FileSystem;
use super::image::{Inode, Operation};
use super::names::Names;
use super::places::Places;
use super::report::CrashReport;
use super::site::Site;
use crate::fault::atlas::FaultKind;
use crate::fault::{
    Access, CrashKind, CrashPoint, DiskErrorKind, FileClass, Moment, OperationKind, OperationPlace,
};
use crate::judge::MetadataVersion;
use crate::lock::lock;
use crate::world::locks::Locks;
use crate::world::pilot::SharedPilot;
use crate::world::trace::{Lane, SharedTrace, Verb};

/// One boot: the time from one start of the machine to the next start. The boot's files live as long as one
/// of its processes has them open.
///
/// Locks are taken in the order machine, files, trace.
pub(super) struct Boot {
    /// Unique in this OS process, so that the core's registry of open databases keeps simulations and boots
    /// apart. It is the only number here that depends on other histories, and it never reaches a file or the
    /// trace.
    pub(super) device: u64,
    pub(super) files: Mutex<FileSystem>,
    /// The number of random draws by zombies. It is separate, so that zombies do not shift the draws of
    /// running processes.
    pub(super) zombie_draws: AtomicU64,
    pub(super) waits: AtomicU32,
    pub(super) locks: Locks,
}

/// A device number that no other process of a simulation has.
pub(super) fn next_device() -> u64 {
    // Far above the host's device numbers, so that the core's registry cannot confuse the two.
    static NEXT_DEVICE: AtomicU64 = AtomicU64::new(1 << 63);
    NEXT_DEVICE.fetch_add(1, Ordering::Relaxed)
}

impl Boot {
    pub(super) fn start(files: FileSystem) -> Arc<Self> {
        Arc::new(Self {
            device: next_device(),
            files: Mutex::new(files),
            zombie_draws: AtomicU64::new(0),
            waits: AtomicU32::new(0),
            locks: Locks::default(),
        })
    }
}

/// A mutating operation as a process requests it.
#[derive(Clone)]
pub(super) enum Mutation {
    Apply(Operation),
    Sync(Inode),
    SyncDirectory,
}

impl Mutation {
    pub(super) fn kind(&self) -> OperationKind {
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

    /// The kinds of access to its file that this operation makes. Disk errors are armed by kind of access.
    fn accesses(&self, files: &FileSystem) -> &'static [Access] {
        match self {
            Self::Apply(Operation::Write { inode, offset, bytes }) => {
                let grows = offset + bytes.len() as u64 > files.current().content(*inode).len() as u64;
                if grows { &[Access::Write, Access::Growth] } else { &[Access::Write] }
            }
            Self::Apply(Operation::Truncate { .. }) => &[Access::Truncate],
            Self::Apply(Operation::Rename { .. }) => &[Access::Rename],
            // A creation is an open and has been counted as one. Removals do not fail.
            Self::Apply(Operation::Create { .. } | Operation::Remove { .. }) => &[],
            Self::Sync(_) => &[Access::Sync],
            Self::SyncDirectory => &[Access::SyncDirectory],
        }
    }

    pub(super) fn perform(self, files: &mut FileSystem, path: &str) {
        match self {
            Self::Apply(operation) => files.apply(operation),
            Self::Sync(inode) => files.sync(inode),
            Self::SyncDirectory => files.sync_directory(path),
        }
    }
}

/// A machine: its current boot, its armed faults, and its counters.
pub(super) struct Machine {
    pub(super) lane: Lane,
    pub(super) key: u64,
    pub(super) trace: SharedTrace,
    pub(super) boot: Arc<Boot>,
    /// The files from which the next boot starts. Set while the machine is down.
    pub(super) survived: Option<FileSystem>,
    pub(super) step: u32,
    pub(super) places: Places,
    pub(super) errors: DiskErrors,
    pub(super) operations_in_step: u64,
    pub(super) draws_in_step: u64,
    pub(super) totals: Totals,
    pub(super) metadata_versions: Vec<MetadataVersion>,
    pub(super) names: Names,
    pub(super) crash: Option<CrashReport>,
    pub(super) pilot: Option<SharedPilot>,
}

impl Machine {
    /// Creates a running machine with an empty disk.
    pub(super) fn new(lane: Lane, key: u64, trace: SharedTrace) -> Self {
        Self {
            lane,
            key,
            trace,
            boot: Boot::start(FileSystem::default()),
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
        }
    }

    fn is_zombie(&self, boot: &Arc<Boot>) -> bool {
        self.survived.is_some() || !Arc::ptr_eq(&self.boot, boot)
    }

    /// Performs an operation of a process of `boot`, or injects the error or the crash that is due at it.
    /// `files` are the files of `boot`.
    pub(super) fn perform(
        &mut self,
        boot: &Arc<Boot>,
        files: &mut FileSystem,
        path: &str,
        mutation: Mutation,
    ) -> Result<(), InjectedError> {
        if let Some(injected) = self.error_due(boot, path, mutation.accesses(files)) {
            match (injected.kind, mutation) {
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
            return Err(injected);
        }
        self.perform_or_crash(boot, files, path, mutation);
        Ok(())
    }

    /// Counts an access that is about to happen. Records and returns the error to inject into it, if one is
    /// due. No error is injected into a zombie's access.
    pub(super) fn error_due(
        &mut self,
        boot: &Arc<Boot>,
        path: &str,
        accesses: &[Access],
    ) -> Option<InjectedError> {
        if self.is_zombie(boot) {
            return None;
        }
        let injected = self.errors.reach(path, accesses)?;
        self.record(Verb::Injected(injected.kind.into()), path, &[u64::from(injected.at_once)], &[]);
        Some(injected)
    }

    /// Performs an operation of a process of `boot`, and crashes if a crash is due at it.
    fn perform_or_crash(&mut self, boot: &Arc<Boot>, files: &mut FileSystem, path: &str, mutation: Mutation) {
        if self.is_zombie(boot) {
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
        // For a crash before or inside an operation, the image is taken first. The zombie then performs its
        // operation in full.
        match (point.moment, &mutation) {
            (Moment::After, _) => {
                self.execute(files, path, mutation);
                self.inject(files, path, &point, place);
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
        self.inject(files, path, &point, place);
        mutation.perform(files, path);
    }

    /// Injects the crash `point` at `place`.
    fn inject(&mut self, files: &FileSystem, path: &str, point: &CrashPoint, place: OperationPlace) {
        self.record(Verb::Fault, &point.to_string(), &[], &[]);
        self.crash(files, &point.kind, path, Some((point, place)));
    }

    /// Performs a mutation, and counts and traces it.
    fn execute(&mut self, files: &mut FileSystem, path: &str, mutation: Mutation) {
        self.operations_in_step += 1;
        self.totals.operations += 1;
        let kind = mutation.kind();
        self.guard(files, path, &mutation);
        match &mutation {
            Mutation::Apply(Operation::Write { offset, bytes, .. }) => {
                self.totals.bytes_written += bytes.len() as u64;
                self.record(Verb::Operation(kind), path, &[*offset, bytes.len() as u64], bytes);
            }
            Mutation::Apply(Operation::Truncate { len, .. }) => {
                self.record(Verb::Operation(kind), path, &[*len], &[])
            }
            Mutation::Apply(Operation::Rename { from, .. }) => {
                self.record(Verb::Operation(kind), path, &[], from.as_bytes())
            }
            _ => self.record(Verb::Operation(kind), path, &[], &[]),
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

    /// Lets the guard check whether the operation changes bytes that the metadata may still need.
    fn guard(&mut self, files: &FileSystem, path: &str, mutation: &Mutation) {
        let (range, is_safe_emptying) = match mutation {
            Mutation::Apply(Operation::Write { offset, bytes, .. }) => {
                (*offset..*offset + bytes.len() as u64, false)
            }
            Mutation::Apply(Operation::Truncate { len, .. }) => {
                let main = path.strip_suffix("-wal");
                let main_is_durable = main.is_none_or(|main| files.unsynced(main).is_empty());
                (*len..u64::MAX, *len == 0 && main_is_durable)
            }
            _ => return,
        };
        self.names.touch(FileClass::of(path), &range, is_safe_emptying, path);
    }

    /// Crashes the machine. `files` is the state at the moment of the crash.
    pub(super) fn crash(
        &mut self,
        files: &FileSystem,
        kind: &CrashKind,
        path: &str,
        injected: Option<(&CrashPoint, OperationPlace)>,
    ) {
        let unsynced_operations = files.unsynced_operations();
        let survivors = files.survivors(kind);
        let counts = [survivors.len() as u64, u64::from(unsynced_operations)];
        let crash = if *kind == CrashKind::Kill { FaultKind::Kill } else { FaultKind::PowerLoss };
        let event_count = lock(&self.trace).event_count();
        self.record(Verb::Injected(crash), path, &counts, &[]);
        let survived = files.after_crash(kind);
        if *kind != CrashKind::Kill {
            self.names.replace(survived.metadata());
        }
        self.survived = Some(survived);
        self.crash = Some(CrashReport {
            point: injected.map(|(point, _)| point.clone()),
            place: injected.map(|(_, place)| place),
            path: path.to_owned(),
            kind: kind.clone(),
            unsynced_operations,
            survivors,
            event_count,
        });
    }

    /// Calls `f` with the current files. While the machine is down, these are the files that survived the
    /// crash. Otherwise they are the files of the boot.
    pub(super) fn with_files<R>(&mut self, f: impl FnOnce(&mut Self, &FileSystem) -> R) -> R {
        if let Some(survived) = self.survived.take() {
            let result = f(self, &survived);
            // If `f` crashed the machine once more, the newer image stays.
            self.survived.get_or_insert(survived);
            return result;
        }
        let boot = Arc::clone(&self.boot);
        let files = lock(&boot.files);
        f(self, &files)
    }

    /// A random number: a hash of the key, the machine, the step, the purpose, and the number of draws so far
    /// in the step.
    pub(super) fn draw(&mut self, boot: &Arc<Boot>, purpose: Purpose) -> u64 {
        let (purpose, used) = if self.is_zombie(boot) {
            (Purpose::Zombie, boot.zombie_draws.fetch_add(1, Ordering::Relaxed))
        } else {
            self.draws_in_step += 1;
            (purpose, self.draws_in_step)
        };
        let mut hash_input = [0; 23];
        hash_input[..8].copy_from_slice(&self.key.to_le_bytes());
        hash_input[8..10].copy_from_slice(&self.lane.code());
        hash_input[10..14].copy_from_slice(&self.step.to_le_bytes());
        hash_input[14] = purpose as u8;
        hash_input[15..].copy_from_slice(&used.to_le_bytes());
        xxh3_64(&hash_input)
    }

    pub(super) fn record(&self, verb: Verb, place: &str, numbers: &[u64], bytes: &[u8]) {
        lock(&self.trace).record(self.lane, verb, place, numbers, bytes);
    }
}

#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Number,
    Bytes,
    Zombie,
}
