//! What befalls a client's directory and the remote's history from outside, and what their users decide then.
//!
//! The simulated user decides at once. Whose files are refused because local transactions were lost with one of them, gives the
//! copy up and begins anew; so does he whose files have gone bad. Whose directory turns out to be an older copy, gives up what may or may not be on the remote.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_engine::{Error, InDoubt, RebootstrapReason, Storage};

use super::operations::{Driven, Operation};
use super::{REMOTE_PATH, World};
use crate::fault::Damage;
use crate::fault::Route;
use crate::fault::atlas::{self, FaultKind, Row, Target};
use crate::fault::{CrashKind, FileClass};
use crate::judge::ledger::Moment;
use crate::judge::verdict::{NO_SURPRISE, Violation};
use crate::judge::violation;
use crate::schedule::workload::{LOG, QUIET};
use crate::schedule::{Action, Step};
use crate::text::error_chain;
use crate::world::client::{Engine, Mishap};
use crate::world::disk::DiskCopy;
use crate::world::trace::Lane;

/// Copies of clients' directories as they were at the ends of steps.
#[derive(Default)]
pub(super) struct Copies {
    /// By client and step, those that a later step asks for; `None` until they are taken, and once they are outdated.
    wanted: BTreeMap<(u8, u32), Option<DirectoryCopy>>,
}

impl Copies {
    /// A copy of before an adoption is not put in place any more: it cannot know what was sent under the identity that its successor got, and
    /// that it sends it again is a limit that the engine's documentation names.
    fn outdate(&mut self, client: u8) {
        self.wanted.iter_mut().filter(|((of, _), _)| *of == client).for_each(|(_, copy)| *copy = None);
    }
}

/// A client's directory at one moment, what was known of it, and what the ledger held.
#[derive(Clone)]
struct DirectoryCopy {
    disk: DiskCopy,
    moment: Moment,
    mishaps: Vec<Mishap>,
}

impl World {
    /// Has the copies kept that these steps will put back.
    pub fn keep_copies_for(&mut self, steps: &[Step]) {
        for step in steps {
            if let Action::RestoreDirectory { client, to_step } = step.action {
                self.copies.wanted.insert((client, to_step), None);
            }
        }
    }

    pub(super) fn copy_directories(&mut self, step: u32) {
        for client in &self.clients {
            if let Some(copy) = self.copies.wanted.get_mut(&(client.number, step)) {
                *copy = Some(DirectoryCopy {
                    disk: client.disk.copy(),
                    moment: self.ledger.moment(),
                    mishaps: client.mishaps.clone(),
                });
            }
        }
    }

    /// Puts a copy back; one of a step that has not been is none, nor is an outdated one.
    pub(super) fn restore_directory(&mut self, number: u8, to_step: u32) {
        let Some(Some(copy)) = self.copies.wanted.get(&(number, to_step)).cloned() else {
            self.counts.faults_unreached += 1;
            return;
        };
        self.kill_if_running(number);
        self.ledger.go_back(number, &copy.moment);
        self.strike(FaultKind::RestoreDirectory, Target::Between);
        let client = self.client_mut(number);
        client.disk.put_back(&copy.disk);
        client.durable = None;
        client.mishaps = copy.mishaps;
        client.mishaps.push(Mishap::Older(copy.moment));
    }

    /// Loses a file, if there is one of that role.
    pub(super) fn lose_file(&mut self, number: u8, file: FileClass) {
        let client = self.client(number);
        let path = client.paths.of(file).map(str::to_owned);
        let Some(path) = path.filter(|path| client.disk.read(path).is_some()) else {
            self.counts.faults_unreached += 1;
            return;
        };
        self.kill_if_running(number);
        assert!(self.client(number).disk.lose(&path), "it was there");
        self.strike(FaultKind::LoseFile, Target::File(file));
        self.client_mut(number).mishaps.push(Mishap::Lost { file, path });
    }

    /// Lets bytes of a file go bad, between two runs of the client's process, if any are there that the metadata names; see
    /// [`Claims::named_bytes`](crate::judge::Claims::named_bytes).
    pub(super) fn rot(&mut self, number: u8, file: FileClass, offset: u32, damage: Damage) {
        let client = self.client(number);
        let named = client.claims().map_or(0, |claims| {
            claims.named_bytes(file, &client.disk.read(&client.paths.draft_wal).unwrap_or_default())
        });
        let path = client.paths.of(file).map(str::to_owned);
        let found = path.and_then(|path| client.disk.read(&path).map(|content| (path, content)));
        let Some((path, content)) = found.filter(|(_, content)| named.min(content.len() as u64) > 0) else {
            self.counts.faults_unreached += 1;
            return;
        };
        self.kill_if_running(number);
        let offset = (u64::from(offset) % named.min(content.len() as u64)) as usize;
        let (offset, bytes) = damage.of(&content, offset);
        self.client(number).disk.overwrite(&path, offset, &bytes);
        self.strike(FaultKind::Rot, Target::File(file));
        self.client_mut(number).mishaps.push(Mishap::Rotten { file, path, offset, bytes });
    }

    fn kill_if_running(&mut self, number: u8) {
        if self.client(number).process.is_some() {
            self.client(number).disk.crash_now(&CrashKind::Kill);
            self.bury(number, false);
        }
    }

    /// The remote goes back; what was acknowledged and is gone is nobody's fault.
    pub(super) fn restore_remote(
        &mut self,
        generations_back: u64,
        transactions_back: u64,
    ) -> Result<(), Violation> {
        self.judge_remote()?;
        self.remote.restore(generations_back, transactions_back);
        self.remote_disk.io().sync_dir(REMOTE_PATH).expect("a machine's disk works");
        let tokens = |sql: &str| -> Vec<String> {
            self.remote.query(sql).iter().map(|row| row[0].to_string()).collect()
        };
        let (log, quiet) = (tokens(LOG), tokens(QUIET));
        self.ledger.begin_epoch(&log, &quiet).map_err(|finding| violation(finding, "the restored remote"))?;
        self.counts.remote_restores += 1;
        Ok(())
    }

    /// The rows of the atlas under which a client's mishaps allow for an error, as far as they have to do with it.
    pub(super) fn mishap_rows(&self, number: u8, error: &Error) -> Vec<&'static Row> {
        let row = |mishap: &Mishap| match (mishap, error) {
            (Mishap::Lost { file, .. }, _) => atlas::row(FaultKind::LoseFile, Target::File(*file)),
            (
                Mishap::Rotten { file, path, .. },
                Error::Damaged { file: named, .. } | Error::BadMetadata { file: named, .. },
            ) if path == named => atlas::row(FaultKind::Rot, Target::File(*file)),
            (Mishap::Rotten { .. }, _) => None,
            (Mishap::Older(_), Error::ForeignAcknowledgement { .. }) => {
                atlas::row(FaultKind::RestoreDirectory, Target::Between)
            }
            (Mishap::Older(_), _) => None,
        };
        self.client(number).mishaps.iter().filter_map(row).collect()
    }

    /// Whether something has happened to this client that a plain walk does not get over.
    pub(super) fn expects_rebootstrap(&self, number: u8) -> Result<bool, Violation> {
        let client = self.client(number);
        let Some(claims) = client.claims() else { return Ok(false) };
        if claims.is_being_replaced() || client.mishaps.iter().any(Mishap::is_of_replica) {
            return Ok(true);
        }
        let history = self.remote.history();
        let is_pruned = claims.progress().0 < history.first_served();
        let is_renamed = self.header.remote_names_history && claims.history_id != self.remote.history_id();
        // A server without a name may be known for another one by the checksums of equal pages.
        let is_news = !self.header.remote_names_history && client.followed_epoch < history.epoch();
        let newest = self.epochs_of(number, &claims)?.map(|epochs| epochs.newest);
        let is_forgotten = history.epoch() > 0 && newest != Some(history.epoch());
        Ok(is_pruned || is_renamed || is_news || is_forgotten)
    }

    /// Whether the next push rebases, as only a pull does otherwise.
    pub(super) fn is_detached(&self, number: u8) -> bool {
        self.client(number).claims().is_some_and(|claims| claims.is_detached())
    }

    /// Whether the remote was pruned or restored while the running step was under way.
    pub(crate) fn remote_forgot_inside(&self) -> bool {
        self.times_forgotten_inside() > 0
    }

    /// How often it was.
    pub(super) fn times_forgotten_inside(&self) -> usize {
        let inside = self.running.iter().flat_map(|running| &running.inside);
        inside.filter(|verb| matches!(**verb, "remote prune" | "remote restore")).count()
    }

    /// Whether the operation that has just run has asked for an export: the remote knows, whatever the engine says.
    fn asked_for_export(&mut self) -> bool {
        let running = self.running();
        running.requests[running.requests_before..].contains(&Route::Export)
    }

    /// A re-bootstrap costs a download of everything: there is none where a walk would have done. Not for a client that is just beginning.
    pub(super) fn judge_exports(&mut self, number: u8, expected: bool) -> Result<(), Violation> {
        if !self.asked_for_export() {
            return Ok(());
        }
        self.counts.rebootstraps += 1;
        let is_untrue = |row: &&&Row| {
            matches!(
                row.kind,
                FaultKind::UntrueAnswer
                    | FaultKind::StaleAnswer
                    | FaultKind::WrongStatus
                    | FaultKind::Garbage
            )
        };
        // One wrong answer is not believed; of two that agree, nobody can know.
        let is_misled = self.running().struck.iter().filter(is_untrue).count() > 1;
        if expected || is_misled {
            return Ok(());
        }
        let message = format!("client {number} re-bootstrapped where a walk would have done");
        Err(Violation::of(NO_SURPRISE, message))
    }

    /// A replica is damaged only where something has befallen it.
    pub(super) fn judge_damage(&mut self, number: u8) -> Result<(), Violation> {
        let is_explained = self.client(number).mishaps.iter().any(Mishap::is_of_replica);
        if is_explained || !self.has_heard("replica damaged") {
            return Ok(());
        }
        let message = format!("client {number} takes its replica for damaged, and nothing has befallen it");
        Err(Violation::of(NO_SURPRISE, message))
    }

    /// An operation that has succeeded says that it has re-bootstrapped if it has, and only then.
    pub(super) fn judge_told_rebootstrap(
        &mut self,
        number: u8,
        told: Option<RebootstrapReason>,
    ) -> Result<(), Violation> {
        if told.is_some() != self.asked_for_export() {
            let message = format!("client {number} was asked whether it re-bootstrapped and said {told:?}");
            return Err(Violation::of(NO_SURPRISE, message));
        }
        if let Some(reason) = told {
            self.record(Lane::Client(number), "re-bootstrap", &format!("{reason:?}"), &[]);
            self.client_mut(number).mishaps.retain(|mishap| !mishap.is_of_replica());
        }
        Ok(())
    }

    /// What the user does whose files were refused: if a mishap explains it, he begins anew in an empty directory.
    pub(super) fn decide_after_refused_open(
        &mut self,
        number: u8,
        error: &Error,
        written_before: u64,
    ) -> Result<(), Violation> {
        let named = match error {
            Error::MissingFile { file }
            | Error::ForeignFile { file }
            | Error::Damaged { file, .. }
            | Error::BadMetadata { file, .. } => file,
            _ => return Ok(()),
        };
        let client = self.client(number);
        let explains = |mishap: &Mishap| match mishap {
            Mishap::Lost { file: FileClass::Metadata, .. } => matches!(error, Error::ForeignFile { .. }),
            Mishap::Lost { path, .. } | Mishap::Rotten { path, .. } => path == named,
            Mishap::Older(_) => false,
        };
        let is_explained = client.mishaps.iter().any(explains);
        let is_untouched = client.disk.totals().bytes_written == written_before;
        if !is_explained || !is_untouched {
            let message = format!(
                "client {number}'s files were refused{}: {}",
                if is_untouched { "" } else { " and written to" },
                error_chain(error)
            );
            return Err(Violation::of(NO_SURPRISE, message));
        }
        self.ledger.begin_anew(number);
        let client = self.client_mut(number);
        client.disk.wipe();
        client.durable = None;
        client.mishaps.clear();
        self.record(Lane::Client(number), "begins anew", "", &[]);
        Ok(())
    }

    /// What the user does whose directory turned out to be an older copy.
    pub(super) fn decide_after_refusal(
        &mut self,
        number: u8,
        engine: &Arc<Engine>,
        error: &Error,
    ) -> Result<(), Violation> {
        let Error::ForeignAcknowledgement { .. } = error else { return Ok(()) };
        // Which of the transactions since then are in doubt cannot be seen from here.
        for mishap in self.client(number).mishaps.clone() {
            if let Mishap::Older(moment) = mishap {
                self.ledger.withdraw(number, &moment);
            }
        }
        self.copies.outdate(number);
        let adoption = self.drive(number, Operation::Pull, async { engine.adopt(InDoubt::Discard).await })?;
        match adoption {
            Driven::Crashed | Driven::Abandoned => Ok(()),
            Driven::Done(Ok(_)) => {
                self.counts.adoptions += 1;
                self.client_mut(number).mishaps.retain(|mishap| !matches!(mishap, Mishap::Older(_)));
                self.record(Lane::Client(number), "adopts", "", &[]);
                Ok(())
            }
            Driven::Done(Err(Error::Busy { .. })) if self.holds_open(number) => {
                self.counts.busy += 1;
                Ok(())
            }
            Driven::Done(Err(error)) => self.judge_error("adoption", number, &error),
        }
    }
}
