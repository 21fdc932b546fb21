//! Runs a history of the archive behind `plimsoll serve`: one server on the directory of a machine with faults.
//!
//! A step's faults are armed while the server serves, and while it starts. An operator and other programs act while no
//! server runs, and without faults. After each step the server runs again and is judged by
//! [`ArchiveModel`]: by SQL, and by everything that a client can fetch.
//!
//! Every start must succeed, except while an error is injected or while a file is missing or was changed. After the
//! last step the machine loses power once more.
//!
//! | module | holds |
//! |---|---|
//! | `client` | what clients send and see |
//! | `operator` | what happens while no server runs |

mod client;
mod operator;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use plimsoll_engine::Storage;
use turso_core::IO;

use super::clock;
use super::disk::{Disk, SimIo};
use super::fault_outcomes::FaultOutcomes;
use super::remote::BatonLimits;
use super::remote::archive::{Archive, ArchiveError, ArchiveOptions, Place, ServedArchive};
use super::step::STEP_MS;
use super::trace::{Lane, SharedTrace, Verb};
use crate::fault::atlas::FaultKind;
use crate::fault::{CrashKind, DiskErrorKind, Fault, OperationKind, Survival};
use crate::judge::archive::ArchiveModel;
use crate::judge::counts::Counts;
use crate::judge::marks::{Flow, Part, Situation};
use crate::judge::verdict::{NO_PANIC, Violation};
use crate::lock::lock;
use crate::schedule::{Action, ArchiveAction, Header, Step};
use crate::text::error_chain;

const REMOTE: &str = "remote";
const BACKUP: &str = "backup";
/// The directory of the database that is imported.
const SOURCE: &str = "source";
/// The names of the core's files in the directory.
const MAIN: &str = "remote/current.db";
const WAL: &str = "remote/current.db-wal";
/// The maximum number of starts in a step: each may end with a crash or an error.
const STARTS_MAX: u32 = 16;

/// What the next start finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// The directory as the server has left it.
    Usual,
    /// A backup in its place.
    Copy,
    /// A WAL that another program has moved into the main file, in this generation.
    AfterMovedWal { generation: u64 },
    /// A database to import into a new directory.
    Import { attempts: u32 },
    /// A directory from before there were manifests.
    Adoption,
}

pub(super) struct ArchiveHistory {
    disk: Disk,
    trace: SharedTrace,
    options: ArchiveOptions,
    /// The running server.
    archive: Option<ServedArchive>,
    model: ArchiveModel,
    /// The model at the time of the last complete backup.
    backup: Option<ArchiveModel>,
    beginning: Beginning,
    /// What is done with the directory now.
    flow: Flow,
    /// Whether an error was injected since the last start. The server may not have recovered from it, and the log may not
    /// follow the WAL.
    has_failed: bool,
    step: u32,
    pub counts: Counts,
    pub fault_outcomes: FaultOutcomes,
}

impl ArchiveHistory {
    pub fn new(header: &Header, options: ArchiveOptions, trace: SharedTrace) -> Self {
        Self {
            disk: Disk::new(Lane::Remote, header.key, trace.clone()),
            trace,
            options,
            archive: None,
            model: ArchiveModel::default(),
            backup: None,
            beginning: Beginning::Usual,
            flow: Flow::Start,
            has_failed: false,
            step: 0,
            counts: Counts { histories: 1, ..Counts::default() },
            fault_outcomes: FaultOutcomes::default(),
        }
    }

    /// Runs the steps.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn run(&mut self, steps: &[Step], running: &AtomicU32) -> Result<(), Violation> {
        self.guarded(None, |history| {
            history.settle()?;
            let archive = history.archive.as_ref().expect("the server runs");
            let created = archive.transact(|connection| connection.execute("CREATE TABLE t (tx, n, v)"));
            created.expect("a new machine has no faults");
            history.judge()
        })?;
        for step in steps {
            running.store(step.id, Ordering::Relaxed);
            self.guarded(Some(step.id), |history| history.step(step))?;
        }
        self.guarded(None, |history| {
            history.disk.heal();
            history.disk.begin_step(0);
            for kind in [CrashKind::Kill, CrashKind::PowerLoss { survival: Survival::Nothing, torn: None }] {
                history.disk.crash_now(&kind);
                history.settle()?;
                history.judge()?;
            }
            Ok(())
        })
    }

    /// Runs a part of the history. A panic in it is one of the archive or of the core.
    fn guarded(
        &mut self,
        step: Option<u32>,
        part: impl FnOnce(&mut Self) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let done = catch_unwind(AssertUnwindSafe(|| part(self)));
        let done = done.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
            Err(Violation::of(NO_PANIC, format!("the server panicked: {text}")))
        });
        done.map_err(|violation| Violation { step: violation.step.or(step), ..violation })
    }

    fn step(&mut self, step: &Step) -> Result<(), Violation> {
        clock::advance(STEP_MS);
        self.counts.steps += 1;
        self.step = step.id;
        self.record(Verb::Step, &step.action.to_string());
        self.disk.begin_step(step.id);
        if let Action::RemoteArchive(action) = &step.action {
            self.prepare(step.id, action)?;
        }
        for fault in &step.faults {
            match fault {
                Fault::Crash(point) => self.disk.arm(point.clone()),
                Fault::Disk(error) => self.disk.arm_error(*error),
                other => self.fault_outcomes.unreached.push((step.id, other.clone())),
            }
        }
        self.act(step);
        let settled = self.settle();
        let unreached = self.disk.take_unreached_crashes().into_iter().map(Fault::Crash);
        let unreached: Vec<Fault> =
            unreached.chain(self.disk.take_unreached_errors().into_iter().map(Fault::Disk)).collect();
        self.counts.faults_unreached += unreached.len() as u64;
        self.fault_outcomes.unreached.extend(unreached.into_iter().map(|fault| (step.id, fault)));
        settled?;
        self.judge()?;
        self.record(Verb::EndOfStep, step.action.kind().name());
        Ok(())
    }

    /// The part of an action that has faults.
    fn act(&mut self, step: &Step) {
        let archive = self.archive.as_ref();
        match &step.action {
            Action::RemoteRestart => self.stop(),
            Action::RemoteCrash { kind } => self.disk.crash_now(kind),
            Action::RemoteCheckpoint => {
                self.flow = Flow::Close;
                match archive.map(ServedArchive::checkpoint) {
                    Some(Ok(true)) => self.counts.generations += 1,
                    Some(Err(_)) if !self.disk.is_down() => {
                        self.counts.errors_reported += 1;
                        self.reach(Situation::CloseFailed);
                    }
                    _ => {}
                }
            }
            Action::RemotePrune => {
                self.flow = Flow::Prune;
                match archive.map(|archive| archive.prune(1)) {
                    Some(Ok(true)) => self.counts.prunes += 1,
                    Some(Err(_)) if !self.disk.is_down() => self.counts.errors_reported += 1,
                    _ => {}
                }
            }
            Action::RemoteArchive(ArchiveAction::Write { rows, payload_bytes }) => {
                self.flow = Flow::Commit;
                self.write(step.id, (*rows).max(1), *payload_bytes);
            }
            Action::RemoteArchive(ArchiveAction::Fetch) => drop(self.fetch()),
            Action::RemoteArchive(ArchiveAction::Backup) => {
                self.flow = Flow::Backup;
                self.back_up();
            }
            _ => {}
        }
    }

    fn stop(&mut self) {
        self.archive = None;
        self.disk.restart();
    }

    /// Starts the server until it runs. A crash or an injected error may end a start.
    fn settle(&mut self) -> Result<(), Violation> {
        for _ in 0..STARTS_MAX {
            if self.disk.is_down() {
                self.archive = None;
                self.note_crash();
                self.disk.restart();
            }
            self.note_errors();
            if self.archive.is_some() {
                return Ok(());
            }
            self.flow = match self.beginning {
                Beginning::Import { .. } => Flow::Import,
                Beginning::Adoption => Flow::Adopt,
                _ => Flow::Start,
            };
            let opened = self.open();
            if self.disk.is_down() {
                drop(opened);
                continue;
            }
            match opened {
                Ok(archive) => {
                    self.has_failed = false;
                    self.note_start(&archive);
                    let id = archive.remote().history_id().unwrap_or_default();
                    self.model.judge_history(&id, self.beginning == Beginning::Copy)?;
                    self.beginning = Beginning::Usual;
                    self.archive = Some(ServedArchive::new(archive, BatonLimits::default()));
                }
                Err(reason) if !self.note_errors() => return Err(ArchiveModel::refused(&reason)),
                Err(_) => self.disk.heal(),
            }
        }
        panic!("a start does not end after {STARTS_MAX} faults");
    }

    /// Starts the server. An import is repeated until it is complete.
    fn open(&mut self) -> Result<Archive, String> {
        let place = || place(&self.disk.io(), REMOTE);
        if let Beginning::Import { attempts } = &mut self.beginning {
            *attempts += 1;
            match Archive::import(place(), &format!("{SOURCE}/source.db"), self.options.clone()) {
                // An earlier attempt was complete.
                Err(ArchiveError::NotEmpty { .. }) => {}
                imported => return imported.map_err(|error| error_chain(&error)),
            }
        }
        Archive::open(place(), self.options.clone()).map_err(|error| error_chain(&error))
    }

    /// Notes how a start has continued.
    fn note_start(&mut self, archive: &Archive) {
        let generation = archive.remote().generation();
        let leftover = self.disk.read(&format!("{REMOTE}/generation-{}.db", generation + 1));
        match self.beginning {
            Beginning::Copy => self.reach(Situation::CopyRenamed),
            Beginning::AfterMovedWal { generation: before } if generation > before => {
                self.reach(Situation::MovedWalNoticed);
            }
            Beginning::Import { attempts } if attempts > 1 => self.reach(Situation::ImportRepeated),
            Beginning::Usual if generation > self.model.generation() && self.model.generation() > 0 => {
                self.reach(Situation::CloseCompleted);
            }
            Beginning::Usual if leftover.is_some() => self.reach(Situation::CloseGivenUp),
            _ => {}
        }
    }

    fn note_crash(&mut self) {
        let Some(report) = self.disk.take_crash() else { return };
        let kind = match report.kind {
            CrashKind::Kill => {
                self.counts.kills += 1;
                FaultKind::Kill
            }
            CrashKind::PowerLoss { .. } => {
                self.counts.power_losses += 1;
                FaultKind::PowerLoss
            }
        };
        if let Some(place) = report.place {
            self.counts.crashes_inside += 1;
            let is_directory = place.operation == OperationKind::SyncDirectory;
            let part = if is_directory { Part::Directory } else { Part::of(&report.path) };
            self.count_injected(kind.name(), part);
            let flow = self.flow.at(part, Some(place.operation));
            self.counts.marks.reach_archive_step(kind, flow, part);
        } else {
            self.reach(match kind {
                FaultKind::Kill => Situation::KilledBetween,
                _ => Situation::PowerLostBetween,
            });
        }
        self.fault_outcomes.crashes.push((self.step, report));
    }

    /// Counts the errors that were injected. Returns whether there were any.
    fn note_errors(&mut self) -> bool {
        let injected = self.disk.take_injected_errors_by_path();
        self.counts.disk_errors += injected.len() as u64;
        self.has_failed |= !injected.is_empty();
        for (error, path) in &injected {
            let is_directory = *error == DiskErrorKind::SyncDirectoryFails;
            let part = if is_directory { Part::Directory } else { Part::of(path) };
            self.count_injected(error.name(), part);
            let flow = self.flow.at(part, None);
            if *error == DiskErrorKind::NoSpace {
                self.counts.marks.reach_archive_step(FaultKind::from(*error), flow, part);
            }
            self.counts.marks.reach_archive_error(*error, flow);
        }
        !injected.is_empty()
    }

    /// Counts a fault that has hit a part of the directory.
    fn count_injected(&mut self, fault: &str, part: Part) {
        *self.counts.injected.entry(format!("{fault}/{}", part.name())).or_default() += 1;
    }

    fn reach(&mut self, situation: Situation) {
        self.counts.marks.reach_situation(situation);
    }

    fn generation(&self) -> u64 {
        self.archive.as_ref().map_or(1, |served| served.archive().remote().generation())
    }

    /// Judges the running server, without faults. After an error, SQL is not used: it would let the server recover, and a
    /// crash may come first.
    fn judge(&mut self) -> Result<(), Violation> {
        self.counts.checks += 1;
        self.quiet(|history| {
            if !history.has_failed {
                let rows = history.rows()?;
                history.model.judge_rows(&rows)?;
            }
            let end = history.archive.as_ref().expect("the server runs").archive().remote().end();
            let end = (end.generation, end.frame_no);
            history.model.judge_end(end)?;
            let served = history.fetch().unwrap_or_default();
            history.model.judge_served(&served, end)
        })
    }

    /// Does something without faults.
    fn quiet<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.disk.suspend_errors(true);
        let done = work(self);
        self.disk.suspend_errors(false);
        done
    }

    fn record(&self, verb: Verb, text: &str) {
        lock(&self.trace).record(Lane::World, verb, text, &[u64::from(self.step)], &[]);
    }
}

fn place(io: &Arc<SimIo>, directory: &str) -> Place {
    Place { io: io.clone(), storage: io.clone(), directory: directory.to_owned() }
}

fn remove_all(disk: &Disk, directory: &str) {
    let io = disk.io();
    let inside = format!("{directory}/");
    for path in disk.paths().iter().filter(|path| path.starts_with(&inside)) {
        io.remove_file(path).expect("there are no faults");
    }
    io.sync_dir(&inside).expect("there are no faults");
}
