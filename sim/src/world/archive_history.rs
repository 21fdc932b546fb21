//! Runs a history of the archive behind `plimsoll serve`: one server on the directory of a machine with faults.
//!
//! A step's faults are armed while the server serves, and while it starts. An operator and other programs act while no
//! server runs, and without faults. After each step the server runs again and is judged by
//! [`ArchiveModel`]: by SQL, and by everything that a client can fetch.
//!
//! Every start must succeed, except while an error is injected or while a file is missing or was changed. After the
//! last step the machine loses power once more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{Method, Request};
use plimsoll_engine::Storage;
use serde_json::{Value as Json, json};
use turso_core::IO;

use super::clock;
use super::disk::{Disk, SimIo};
use super::fault_outcomes::FaultOutcomes;
use super::remote::archive::{Archive, ArchiveOptions, Place};
use super::remote::files;
use super::step::STEP_MS;
use super::trace::{Lane, SharedTrace, Verb};
use crate::fault::{CrashKind, Fault, Survival};
use crate::judge::archive::{ArchiveModel, Files, Rows, ServedGeneration};
use crate::judge::counts::Counts;
use crate::judge::format::{DatabaseImage, FRAME_BYTES, WAL_HEADER_BYTES, Wal};
use crate::judge::verdict::{NO_PANIC, Violation};
use crate::lock::lock;
use crate::schedule::{Action, ArchiveAction, Header, Step};
use crate::text::error_chain;

const REMOTE: &str = "remote";
const BACKUP: &str = "backup";
/// The names of the core's files in the directory.
const MAIN: &str = "remote/current.db";
const WAL: &str = "remote/current.db-wal";
/// The maximum number of starts in a step: each may end with a crash or an error.
const STARTS_MAX: u32 = 16;

pub(super) struct ArchiveHistory {
    disk: Disk,
    trace: SharedTrace,
    options: ArchiveOptions,
    /// The running server.
    archive: Option<Archive>,
    model: ArchiveModel,
    /// The model at the time of the last complete backup.
    backup: Option<ArchiveModel>,
    /// Whether the directory was replaced by a backup since the last start.
    is_copy: bool,
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
            is_copy: false,
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
            let archive = history.archive.as_mut().expect("the server runs");
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
        self.prepare(&step.action)?;
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

    /// The part of an action that has no faults: what happens while no server runs.
    fn prepare(&mut self, action: &Action) -> Result<(), Violation> {
        match action {
            Action::RemoteArchive(ArchiveAction::RestoreBackup) => {
                self.restore_backup();
                Ok(())
            }
            Action::RemoteArchive(ArchiveAction::MoveWal) => self.move_wal(),
            Action::RemoteArchive(ArchiveAction::Lose { file }) => {
                self.tamper(|disk, paths| disk.lose(&paths[usize::from(*file) % paths.len()]))
            }
            Action::RemoteArchive(ArchiveAction::Change { file, offset }) => self.tamper(|disk, paths| {
                let path = &paths[usize::from(*file) % paths.len()];
                let bytes = disk.read(path).expect("the file was listed");
                let Some(offset) = (*offset as usize).checked_rem(bytes.len()) else { return false };
                disk.overwrite(path, offset, &[bytes[offset] ^ 0x5a]);
                true
            }),
            Action::RemoteArchive(ArchiveAction::AddForeign { ahead, is_snapshot }) => {
                let generation = self.archive.as_ref().map_or(1, |archive| archive.remote().generation());
                let ahead = u64::from(*ahead);
                let name = match is_snapshot {
                    true => format!("generation-{}.db", generation + 2 + ahead),
                    false => format!("generation-{}.wal", generation + 1 + ahead),
                };
                self.tamper(|disk, _| {
                    let io: Arc<dyn IO> = disk.io();
                    let path = format!("{REMOTE}/{name}");
                    files::write_all(&io, &path, b"foreign").expect("the disk has no faults now");
                    true
                })
            }
            Action::RemoteArchive(ArchiveAction::Backup) => {
                self.quiet(|history| remove_all(&history.disk, BACKUP));
                self.backup = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The part of an action that has faults.
    fn act(&mut self, step: &Step) {
        let archive = self.archive.as_mut();
        match &step.action {
            Action::RemoteRestart => self.stop(),
            Action::RemoteCrash { kind } => {
                self.disk.crash_now(kind);
            }
            Action::RemoteCheckpoint => {
                let closed = archive.map(Archive::checkpoint);
                self.counts.generations += u64::from(matches!(closed, Some(Ok(true))));
            }
            Action::RemotePrune => {
                let pruned = archive.map(|archive| archive.prune(1));
                self.counts.prunes += u64::from(matches!(pruned, Some(Ok(true))));
            }
            Action::RemoteArchive(ArchiveAction::Write { rows, payload_bytes }) => {
                self.write(step.id, (*rows).max(1), *payload_bytes);
            }
            Action::RemoteArchive(ArchiveAction::Fetch) => drop(self.fetch()),
            Action::RemoteArchive(ArchiveAction::Backup) => {
                let copied =
                    Archive::backup(&place(&self.disk.io(), REMOTE), &place(&self.disk.io(), BACKUP));
                if copied.is_ok() && !self.disk.is_down() {
                    let mut model = self.model.clone();
                    if self.has_failed {
                        model.doubt_last_generation();
                    }
                    self.backup = Some(model);
                }
            }
            _ => {}
        }
    }

    /// A client commits a transaction of several rows.
    fn write(&mut self, transaction: u32, rows: u8, payload_bytes: u16) {
        let values: Vec<String> = (0..rows)
            .map(|row| format!("({transaction}, {row}, '{}')", "x".repeat(payload_bytes.into())))
            .collect();
        let sql = format!("INSERT INTO t VALUES {}", values.join(", "));
        self.model.attempt(transaction, rows.into());
        let answer = self.execute(&sql).unwrap_or_default();
        if answer["type"] == "ok" && !self.disk.is_down() {
            self.counts.client_commits += 1;
            self.model.acknowledge(transaction);
        }
    }

    /// The body of a successful answer.
    fn request(&mut self, method: Method, path: &str, body: String) -> Option<Bytes> {
        self.counts.requests += 1;
        let archive = self.archive.as_mut()?;
        let request = Request::builder().method(method).uri(path).body(Bytes::from(body));
        let response = archive.serve(&request.expect("the request is valid"));
        let is_success = response.status().is_success();
        let body = response.into_body().read(&archive.io()).ok()?;
        is_success.then_some(body)
    }

    /// Everything that a client can fetch. `None` if a request fails.
    fn fetch(&mut self) -> Option<Vec<ServedGeneration>> {
        let current = self.archive.as_ref()?.remote().generation();
        let mut served = Vec::new();
        for generation in (1..=current).rev() {
            let Some(snapshot) = self.request(Method::GET, &format!("/export/{generation}"), String::new())
            else {
                break;
            };
            let path = format!("/sync/{generation}/1/{}", u64::MAX);
            // A generation without frames is answered with a status.
            let frames = self.request(Method::GET, &path, String::new()).unwrap_or_default();
            served.push(ServedGeneration { generation, snapshot: snapshot.into(), frames: frames.into() });
        }
        served.reverse();
        (!served.is_empty()).then_some(served)
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
            let opened = self.open();
            if self.disk.is_down() {
                drop(opened);
                continue;
            }
            match opened {
                Ok(archive) => {
                    self.has_failed = false;
                    self.model
                        .judge_history(&archive.remote().history_id().unwrap_or_default(), self.is_copy)?;
                    self.is_copy = false;
                    self.archive = Some(archive);
                }
                Err(reason) if !self.note_errors() => return Err(ArchiveModel::refused(&reason)),
                Err(_) => self.disk.heal(),
            }
        }
        panic!("a start does not end after {STARTS_MAX} faults");
    }

    fn open(&self) -> Result<Archive, String> {
        let place = place(&self.disk.io(), REMOTE);
        Archive::open(place, self.options.clone()).map_err(|error| error_chain(&error))
    }

    fn note_crash(&mut self) {
        let Some(report) = self.disk.take_crash() else { return };
        match report.kind {
            CrashKind::Kill => self.counts.kills += 1,
            CrashKind::PowerLoss { .. } => self.counts.power_losses += 1,
        }
        self.counts.crashes_inside += u64::from(report.point.is_some());
        self.fault_outcomes.crashes.push((self.step, report));
    }

    /// Counts the errors that were injected. Returns whether there were any.
    fn note_errors(&mut self) -> bool {
        let injected = self.disk.take_injected_errors().len() as u64;
        self.counts.disk_errors += injected;
        self.has_failed |= injected > 0;
        injected > 0
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
            let remote = history.archive.as_ref().expect("the server runs").remote();
            let end = (remote.generation(), remote.frame_count());
            history.model.judge_end(end)?;
            let served = history.fetch().unwrap_or_default();
            history.model.judge_served(&served, end)
        })
    }

    /// The rows of the database, read over HTTP.
    fn rows(&mut self) -> Result<Rows, Violation> {
        let answer = self.execute("SELECT tx, count(*) FROM t GROUP BY tx ORDER BY tx").unwrap_or_default();
        let rows = answer["response"]["result"]["rows"].as_array();
        let rows =
            rows.ok_or_else(|| ArchiveModel::refused(&format!("its rows cannot be read: {answer}")))?;
        let number = |cell: &Json| cell["value"].as_str().and_then(|digits| digits.parse().ok());
        Ok(rows
            .iter()
            .map(|row| (number(&row[0]).unwrap_or(u32::MAX), number(&row[1]).unwrap_or(u32::MAX)))
            .collect())
    }

    /// The result of a statement that a client sends. `None` if the request fails.
    fn execute(&mut self, sql: &str) -> Option<Json> {
        let statement = json!({ "sql": sql, "args": [], "named_args": [], "want_rows": true });
        let body = json!({ "requests": [{ "type": "execute", "stmt": statement }] });
        let answer = self.request(Method::POST, "/v2/pipeline", body.to_string())?;
        let mut answer: Json = serde_json::from_slice(&answer).ok()?;
        Some(answer["results"][0].take())
    }

    /// Does something without faults.
    fn quiet<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.disk.suspend_errors(true);
        let done = work(self);
        self.disk.suspend_errors(false);
        done
    }

    fn files(&self) -> Files {
        let paths = self.disk.paths().into_iter().filter(|path| path.starts_with("remote/"));
        let content = |path: String| {
            let bytes = self.disk.read(&path).expect("the file was listed");
            (path[REMOTE.len() + 1..].to_owned(), bytes.to_vec())
        };
        paths.map(content).collect()
    }

    /// Changes the directory while no server runs. A server that starts on it either has lost nothing, or is refused.
    /// Then the change is undone. After an error, the directory is not changed: the server may not have been able to note
    /// what has to be there.
    fn tamper(&mut self, change: impl FnOnce(&Disk, &[String]) -> bool) -> Result<(), Violation> {
        if self.has_failed {
            return Ok(());
        }
        self.archive = None;
        self.disk.suspend_errors(true);
        let paths: Vec<String> =
            self.disk.paths().into_iter().filter(|path| path.starts_with("remote/")).collect();
        let (intact, intact_files) = (self.disk.copy(), self.files());
        let is_changed = change(&self.disk, &paths);
        self.disk.restart();
        let tampered = self.disk.copy();
        let before = self.files();
        let opened = self.open();
        if let Err(reason) = &opened {
            ArchiveModel::judge_refusal(&intact_files, &before, &self.files(), reason)?;
        }
        drop(opened);
        self.disk.suspend_errors(false);
        let is_refused = |history: &Self| history.files() == before;
        if is_changed && is_refused(self) {
            self.disk.put_back(&intact);
        } else {
            self.disk.put_back(&tampered);
        }
        Ok(())
    }

    /// Another program moves the frames of the WAL into the main file, and removes the WAL. If the server has copied all
    /// frames, it must notice that nothing is lost.
    fn move_wal(&mut self) -> Result<(), Violation> {
        self.archive = None;
        self.disk.restart();
        let (Some(main), Some(bytes)) = (self.disk.read(MAIN), self.disk.read(WAL)) else { return Ok(()) };
        let wal = Wal::parse(&bytes);
        let frames = wal.commit_boundary_at_or_before(wal.verified_frames());
        if frames == 0 {
            return Ok(());
        }
        let image = DatabaseImage::at(&main, &wal, frames);
        let moved: Vec<u8> =
            (1..=image.page_count()).filter_map(|no| image.page(no)).flatten().copied().collect();
        let committed = &bytes[..WAL_HEADER_BYTES + frames as usize * FRAME_BYTES];
        let is_copied =
            self.files().iter().any(|(name, copy)| name != "current.db-wal" && copy.starts_with(committed));
        let (intact, intact_files) = (self.disk.copy(), self.files());
        self.quiet(|history| {
            let io: Arc<dyn IO> = history.disk.io();
            io.remove_file(MAIN)
                .and_then(|()| files::write_all(&io, MAIN, &moved))
                .expect("there are no faults");
            io.remove_file(WAL).expect("there are no faults");
            history.disk.io().sync_dir(MAIN).expect("there are no faults");
        });
        if is_copied {
            return Ok(());
        }
        let before = self.files();
        if let Err(reason) = self.quiet(|history| history.open().map(drop)) {
            ArchiveModel::judge_refusal(&intact_files, &before, &self.files(), &reason)?;
            self.disk.put_back(&intact);
        }
        Ok(())
    }

    /// Replaces the directory by the last complete backup.
    fn restore_backup(&mut self) {
        let Some(copied) = self.backup.clone() else { return };
        self.stop();
        self.counts.remote_restores += 1;
        self.quiet(|history| {
            remove_all(&history.disk, REMOTE);
            let io: Arc<dyn IO> = history.disk.io();
            for path in history.disk.paths().into_iter().filter(|path| path.starts_with("backup/")) {
                let bytes = history.disk.read(&path).expect("the file was listed");
                let to = format!("{REMOTE}{}", &path[BACKUP.len()..]);
                files::write_all(&io, &to, &bytes).expect("there are no faults");
            }
            history.disk.io().sync_dir(MAIN).expect("there are no faults");
        });
        self.model.restored_to(&copied);
        self.is_copy = true;
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
