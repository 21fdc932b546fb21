//! What happens to the directory while no server runs: operators and other programs act, without faults.

use std::sync::Arc;

use plimsoll_engine::Storage;
use turso_core::{Database, IO, OpenOptions, SqliteDialect};

use super::client::insert;
use super::{ArchiveHistory, BACKUP, Beginning, MAIN, REMOTE, SOURCE, WAL, place, remove_all};
use crate::fault::atlas::FaultKind;
use crate::judge::archive::{ArchiveModel, Files};
use crate::judge::format::{DatabaseImage, FRAME_BYTES, WAL_HEADER_BYTES, Wal};
use crate::judge::marks::{Part, Situation};
use crate::judge::verdict::Violation;
use crate::schedule::ArchiveAction;
use crate::world::disk::{Disk, DiskCopy};
use crate::world::remote::files;

impl ArchiveHistory {
    pub(super) fn prepare(&mut self, step: u32, action: &ArchiveAction) -> Result<(), Violation> {
        match action {
            ArchiveAction::RestoreBackup => self.restore_backup(),
            ArchiveAction::MoveWal => return self.move_wal(),
            ArchiveAction::Import { rows, payload_bytes } => {
                self.begin_import(step, (*rows).max(1), *payload_bytes);
            }
            ArchiveAction::Adopt => self.remove_manifest(),
            ArchiveAction::Backup => {
                self.quiet(|history| remove_all(&history.disk, BACKUP));
                self.backup = None;
            }
            ArchiveAction::Lose { file, second } => {
                return self.tamper(Situation::MissingRefused, |disk, paths| {
                    let path_of = |file: u8| &paths[usize::from(file) % paths.len()];
                    let path = path_of(*file);
                    if let Some(second) = second.map(path_of).filter(|second| *second != path) {
                        assert!(disk.lose(second), "the file was listed");
                    }
                    disk.lose(path).then(|| (FaultKind::LoseFile.name(), path.clone()))
                });
            }
            ArchiveAction::Change { file, offset } => {
                return self.tamper(Situation::ChangedRefused, |disk, paths| {
                    let path = &paths[usize::from(*file) % paths.len()];
                    let bytes = disk.read(path).expect("the file was listed");
                    let offset = (*offset as usize).checked_rem(bytes.len())?;
                    disk.overwrite(path, offset, &[bytes[offset] ^ 0x5a]);
                    Some((FaultKind::Rot.name(), path.clone()))
                });
            }
            ArchiveAction::AddForeign { ahead, is_snapshot } => {
                let generation = self.generation();
                let ahead = u64::from(*ahead);
                let name = match is_snapshot {
                    true => format!("generation-{}.db", generation + 2 + ahead),
                    false => format!("generation-{}.wal", generation + 1 + ahead),
                };
                return self.tamper(Situation::ForeignRefused, |disk, _| {
                    let io: Arc<dyn IO> = disk.io();
                    let path = format!("{REMOTE}/{name}");
                    files::write_all(&io, &path, b"foreign").expect("the disk has no faults now");
                    Some(("foreign-file", path))
                });
            }
            ArchiveAction::Write { .. } | ArchiveAction::Fetch => {}
        }
        Ok(())
    }

    pub(super) fn files(&self) -> Files {
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
    fn tamper(
        &mut self,
        refused: Situation,
        change: impl FnOnce(&Disk, &[String]) -> Option<(&'static str, String)>,
    ) -> Result<(), Violation> {
        if self.has_failed {
            return Ok(());
        }
        self.archive = None;
        self.disk.suspend_errors(true);
        let paths: Vec<String> =
            self.disk.paths().into_iter().filter(|path| path.starts_with("remote/")).collect();
        let (intact, intact_files) = (self.disk.copy(), self.files());
        let changed = change(&self.disk, &paths);
        if let Some((fault, path)) = &changed {
            self.count_injected(fault, Part::of(path));
        }
        self.disk.restart();
        let tampered = self.disk.copy();
        let before = self.files();
        let opened = self.open();
        if let Err(reason) = &opened {
            self.judge_refusal(&intact_files, &before, reason)?;
            self.reach(refused);
        }
        drop(opened);
        self.disk.suspend_errors(false);
        let is_refused = self.files() == before;
        self.disk.put_back(if changed.is_some() && is_refused { &intact } else { &tampered });
        Ok(())
    }

    fn judge_refusal(&mut self, intact: &Files, before: &Files, reason: &str) -> Result<(), Violation> {
        self.counts.errors_refused += 1;
        ArchiveModel::judge_refusal(intact, before, &self.files(), reason)
    }

    /// Another program moves the frames of the WAL into the main file, and removes the WAL. If the server has copied all
    /// frames durably, it must notice that nothing is lost.
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
        // After an error, the server may not have been able to make its log durable before it has ended.
        let holds = |path: &String| self.disk.durable(path).is_some_and(|copy| copy.starts_with(committed));
        let is_copied =
            self.disk.paths().iter().any(|path| path.starts_with("remote/generation-") && holds(path));
        let (intact, intact_files) = (self.disk.copy(), self.files());
        self.quiet(|history| history.replace_main(&moved));
        if is_copied {
            self.beginning = Beginning::AfterMovedWal { generation: self.model.generation() };
            return Ok(());
        }
        self.refuse_moved(&intact, &intact_files)
    }

    fn replace_main(&self, bytes: &[u8]) {
        let io: Arc<dyn IO> = self.disk.io();
        let replaced = io.remove_file(MAIN).and_then(|()| files::write_all(&io, MAIN, bytes));
        replaced.and_then(|()| io.remove_file(WAL)).expect("there are no faults");
        self.disk.io().sync_dir(MAIN).expect("there are no faults");
    }

    /// The log does not have all frames that another program has moved. Only a refusal or a complete database is right.
    fn refuse_moved(&mut self, intact: &DiskCopy, intact_files: &Files) -> Result<(), Violation> {
        let before = self.files();
        if let Err(reason) = self.quiet(|history| history.open().map(drop)) {
            self.judge_refusal(intact_files, &before, &reason)?;
            self.reach(Situation::MovedWalRefused);
            self.disk.put_back(intact);
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
        self.beginning = Beginning::Copy;
    }

    /// Deletes the directory, and writes the database that the next start imports.
    fn begin_import(&mut self, transaction: u32, rows: u8, payload_bytes: u16) {
        self.stop();
        self.quiet(|history| {
            for directory in [REMOTE, SOURCE] {
                remove_all(&history.disk, directory);
            }
            let io: Arc<dyn IO> = history.disk.io();
            let path = format!("{SOURCE}/source.db");
            let database = Database::open(io, &path, OpenOptions::new(Arc::new(SqliteDialect)));
            let connection = database.and_then(|database| database.connect()).expect("there are no faults");
            let insert = insert(transaction, rows, payload_bytes);
            for sql in ["CREATE TABLE t (tx, n, v)", &insert, "PRAGMA wal_checkpoint(TRUNCATE)"] {
                connection.execute(sql).expect("there are no faults");
            }
            drop(connection);
            history.disk.io().sync_dir(&path).expect("there are no faults");
        });
        self.disk.restart();
        self.has_failed = false;
        self.model = ArchiveModel::default();
        self.model.attempt(transaction, rows.into());
        self.model.acknowledge(transaction);
        self.beginning = Beginning::Import { attempts: 0 };
    }

    /// Makes the directory one from before there were manifests, if it has all generations: there is a history id, and no
    /// log of the current generation.
    fn remove_manifest(&mut self) {
        let generation = self.generation();
        if self.has_failed || self.disk.read(&format!("{REMOTE}/generation-1.db")).is_none() {
            return;
        }
        // The rest of a close that did not get further: there was no such rest then.
        if self.disk.read(&format!("{REMOTE}/generation-{}.db", generation + 1)).is_some() {
            return;
        }
        self.stop();
        self.quiet(|history| {
            let io: Arc<dyn IO> = history.disk.io();
            let id = history.model.history_id().as_bytes();
            files::write_all(&io, &format!("{REMOTE}/history-id"), id).expect("there are no faults");
            for name in ["manifest".to_owned(), format!("generation-{generation}.wal")] {
                let path = format!("{REMOTE}/{name}");
                if history.disk.read(&path).is_some() {
                    io.remove_file(&path).expect("there are no faults");
                }
            }
            history.disk.io().sync_dir(MAIN).expect("there are no faults");
        });
        self.beginning = Beginning::Adoption;
    }

    pub(super) fn back_up(&mut self) {
        let io = self.disk.io();
        let copied = super::Archive::backup(&place(&io, REMOTE), &place(&io, BACKUP));
        if self.disk.is_down() {
            return;
        }
        match copied {
            Ok(()) => self.backup = Some(self.model.clone()),
            Err(_) => self.counts.errors_reported += 1,
        }
    }
}
