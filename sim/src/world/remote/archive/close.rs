//! Ends a generation, and removes old ones.
//!
//! A generation is closed in these steps:
//!
//! 1. The log is completed and synced. It then has all frames of the core's WAL.
//! 2. The next snapshot is written from the snapshot and the log, and synced. Then the directory is synced.
//! 3. A manifest that names both files is put in place, durably.
//! 4. The core moves its WAL into its main file, syncs the main file, and empties the WAL.
//!
//! A crash before the end of step 3 leaves the generation open; its next close overwrites the snapshot. A crash after
//! step 3 is completed at the next start. If a step fails, the server continues with the open generation. If it was
//! step 4, or the last part of step 3, the manifest already names the next generation. The transactions that follow
//! continue the WAL beyond the closed log, and a start recognizes by this that the generation is still open (see
//! `check`).
//!
//! A generation is pruned in two steps: a manifest without the generation is put in place, then the files are removed.

use std::sync::Arc;

use turso_core::File;

use super::Archive;
use super::error::ArchiveError;
use super::manifest::{LogEndStamp, Manifest};
use super::place::{CURRENT, CURRENT_WAL, Name, Place, log_name, snapshot_name};
use super::scan::{Database, Log, log_bytes};
use crate::world::remote::files;

impl Archive {
    /// Step 1. Returns `None` if the generation has no frames.
    pub(super) fn begin_close(&mut self) -> Result<Option<Closing>, ArchiveError> {
        // The core moves all frames, also those that could not be recorded after their commit.
        self.record().map_err(self.remote.log.place.failed("read", CURRENT_WAL))?;
        let log = &mut self.remote.log;
        let Some(end) = log.end() else { return Ok(None) };
        // The manifest of an earlier attempt may be in place, and the files that it names are overwritten now.
        log.settle()?;
        let file = log.complete()?;
        check_free(&log.place, log.manifest.current)?;
        Ok(Some(Closing { place: log.place.clone(), manifest: log.manifest.clone(), file, end }))
    }

    /// Steps 3 and 4. Then prunes, if there are more generations than the options allow.
    ///
    /// # Errors
    /// [`ArchiveError`] if the generation could not be closed. It stays open, and nothing is lost.
    pub(super) fn finish_close(&mut self, next: Manifest) -> Result<(), ArchiveError> {
        let next = self.remote.log.put(next)?;
        self.move_wal(next)?;
        if let Some(count) = self.options.keep_generations
            && let Err(error) = self.prune(count.get())
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "old generations were not pruned");
        }
        Ok(())
    }

    /// Step 4. From here on, `next` is in place.
    fn move_wal(&mut self, next: Manifest) -> Result<(), ArchiveError> {
        self.remote.log.is_uncertain = true;
        let moved = self.remote.store.checkpoint();
        self.closing = Some(next);
        let Err(source) = moved else {
            self.end_close();
            return Ok(());
        };
        self.watch.note();
        self.heal()?;
        // The core may have emptied the WAL before the error.
        if self.remote.frame_count() == 0 {
            return Ok(());
        }
        let path = self.remote.log.place.path(CURRENT);
        Err(ArchiveError::Database { operation: "move the WAL into", path, source })
    }

    /// Continues with the generation of the manifest in [`closing`](Self::closing), whose WAL the core has emptied.
    fn end_close(&mut self) {
        let next = self.closing.take().expect("a generation is being closed");
        self.remote.open = None;
        self.remote.log.begin_generation(next);
        self.remote.log.is_uncertain = false;
    }

    /// After a failed write or sync of the core's database, nobody knows which of its earlier writes will become
    /// durable, and the core's memory may differ from the files. So the WAL is written again, without the frames of
    /// transactions that have failed, and the database is opened again.
    ///
    /// # Errors
    /// [`ArchiveError`] if the disk still fails.
    pub(super) fn heal(&mut self) -> Result<(), ArchiveError> {
        if !self.watch.take() {
            return Ok(());
        }
        let healed = self.rewrite_and_reopen();
        if healed.is_err() {
            self.watch.note();
        }
        healed
    }

    fn rewrite_and_reopen(&mut self) -> Result<(), ArchiveError> {
        let place = self.remote.log.place.clone();
        let wal = place.open_shared(CURRENT_WAL)?;
        let known = self.remote.log.end().map_or(0, |end| log_bytes(end.frames));
        let size = place.size(CURRENT_WAL, &wal)?.min(known);
        files::truncate(&place.io, &wal, size).map_err(place.failed("cut", CURRENT_WAL))?;
        place.rewrite(CURRENT_WAL, &wal, size)?;
        let path = place.path(CURRENT);
        let database = |source| ArchiveError::Database { operation: "open", path: path.clone(), source };
        self.remote.store = self.remote.store.renewed().map_err(database)?;
        self.remote.open = None;
        let found = self.remote.store.frame_count().map_err(database)?;
        if found == 0 && self.closing.is_some() {
            self.end_close();
            return Ok(());
        }
        self.closing = None;
        if found != self.remote.frame_count() {
            let problem = format!("has {found} frames, but it has had {}", self.remote.frame_count());
            return Err(ArchiveError::damaged(&place.path(CURRENT_WAL), problem));
        }
        Ok(())
    }

    /// Removes the oldest generations until `count` are left. Returns whether there was one to remove.
    ///
    /// # Errors
    /// [`ArchiveError`]. The generations may or may not be served any more.
    pub(super) fn prune(&mut self, count: u64) -> Result<bool, ArchiveError> {
        let log = &mut self.remote.log;
        if (log.manifest.closed.len() as u64) < count.max(1) {
            return Ok(false);
        }
        log.settle()?;
        let mut next = log.manifest.clone();
        let gone = next.closed.len() - (count.max(1) as usize - 1);
        for closed in next.closed.drain(..gone) {
            next.before_oldest = Some(closed.end);
            next.removing.extend([snapshot_name(closed.generation), log_name(closed.generation)]);
        }
        log.manifest = log.put(next)?;
        log.remove_pruned()?;
        Ok(true)
    }
}

/// A generation that is being closed. Its log is complete and durable.
pub(super) struct Closing {
    place: Place,
    manifest: Manifest,
    file: Arc<dyn File>,
    end: LogEndStamp,
}

impl Closing {
    /// Step 2. Returns the manifest of the next generation. It reads and writes only files that do not change while there
    /// is no writer, so that the archive can answer in the meantime.
    pub(super) fn write_snapshot(self) -> Result<Manifest, ArchiveError> {
        let Self { place, manifest, file, end } = self;
        let generation = manifest.current;
        let name = log_name(generation);
        let log_stamp = place.stamp(&name, &file, place.size(&name, &file)?)?;
        let log = Log::read(&place, &name, file, end.frames)?;
        if log.end != Some(end) {
            return Err(ArchiveError::damaged(&place.path(&name), "differs from the WAL that it follows"));
        }
        let name = snapshot_name(generation);
        let snapshot = place.open(&name)?;
        let snapshot_bytes = manifest.snapshot.bytes;
        let database = Database { name: &name, snapshot: &snapshot, snapshot_bytes, log: &log };
        let stamp = place.write(&snapshot_name(generation + 1), database.pieces(&place))?;
        place.sync()?;
        Ok(manifest.close(log_stamp, end, stamp))
    }
}

/// Checks that no file has one of the names that the next generation needs.
fn check_free(place: &Place, generation: u64) -> Result<(), ArchiveError> {
    let is_in_the_way = |name: &String| match Name::parse(name) {
        Name::Snapshot(no) => no > generation + 1,
        Name::Log(no) => no > generation,
        _ => false,
    };
    let foreign = place.names()?.into_iter().find(is_in_the_way);
    foreign.map_or(Ok(()), |name| {
        let reason = "the server needs the name";
        Err(ArchiveError::Foreign { path: place.path(&name), reason })
    })
}
