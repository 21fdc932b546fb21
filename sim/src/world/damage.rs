//! External damage to a client's directory and to the remote's log, and how the clients' users react to it.
//!
//! The simulated user decides at once. If the engine refuses a client's files or finds them corrupt, the user
//! deletes the directory and starts over. If the directory turns out to be an older copy, the user gives up
//! the transactions that may or may not be on the remote.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_engine::{Error, InDoubt};

use super::World;
use super::client::{Client, Engine, ExternalDamage};
use super::context::StepContext;
use super::disk::DiskCopy;
use super::operations::{Driven, Operation};
use super::trace::{Lane, Verb};
use crate::fault::atlas::{FaultKind, Target};
use crate::fault::{Damage, FileClass};
use crate::judge;
use crate::judge::ledger::{Ledger, Moment};
use crate::judge::verdict::{NO_SURPRISE, Violation};
use crate::schedule::{Action, Step};
use crate::text::error_chain;

/// Copies of clients' directories, each taken at the end of a step.
#[derive(Default)]
pub(super) struct Copies {
    /// The copies that a later step restores, by client and step. `None` before the copy is taken and after
    /// it is outdated.
    wanted: BTreeMap<(u8, u32), Option<DirectoryCopy>>,
}

impl Copies {
    /// Records which copies these steps restore.
    pub fn keep_for(&mut self, steps: &[Step]) {
        for step in steps {
            if let Action::RestoreDirectory { client, to_step } = step.action {
                self.wanted.insert((client, to_step), None);
            }
        }
    }

    /// Makes the copies that are due at the end of this step: those that a later step restores.
    pub fn make_due(&mut self, step: u32, clients: &[Client], ledger: &Ledger) {
        for client in clients {
            if let Some(copy) = self.wanted.get_mut(&(client.number, step)) {
                *copy = Some(DirectoryCopy {
                    disk: client.disk.copy(),
                    moment: ledger.moment(),
                    external_damage: client.external_damage.clone(),
                    follows_wrong_server: client.follows_wrong_server,
                    followed_epoch: client.followed_epoch,
                });
            }
        }
    }

    /// Drops the copies of a client after an adoption. The adopted directory sends its transactions under a
    /// new identity. A copy from before the adoption also holds these transactions, but does not know
    /// that they were sent under that identity, and would send them again. The engine's documentation
    /// describes this limit.
    fn outdate(&mut self, client: u8) {
        self.wanted.iter_mut().filter(|((of, _), _)| *of == client).for_each(|(_, copy)| *copy = None);
    }
}

/// A client's directory at one moment, its damage, and the state of the ledger.
#[derive(Clone)]
struct DirectoryCopy {
    disk: DiskCopy,
    moment: Moment,
    external_damage: Vec<ExternalDamage>,
    follows_wrong_server: bool,
    followed_epoch: usize,
}

impl World {
    /// Restores a copy. Does nothing if the copy has not been taken yet or is outdated.
    pub(super) fn restore_directory(&mut self, number: u8, to_step: u32, context: &mut StepContext) {
        let Some(Some(copy)) = self.copies.wanted.get(&(number, to_step)).cloned() else {
            self.recorder.counts.faults_unreached += 1;
            return;
        };
        self.kill_if_running(number, context);
        self.referee.ledger.go_back(number, &copy.moment);
        self.note_injected(FaultKind::RestoreDirectory, Target::Between, context);
        let client = &mut self.clients[number];
        client.disk.put_back(&copy.disk);
        client.durable = None;
        client.external_damage = copy.external_damage;
        client.follows_wrong_server = copy.follows_wrong_server;
        client.followed_epoch = copy.followed_epoch;
        client.external_damage.push(ExternalDamage::Older(copy.moment));
    }

    /// Deletes the file of this role, if there is one.
    pub(super) fn lose_file(&mut self, number: u8, file: FileClass, context: &mut StepContext) {
        let client = &self.clients[number];
        let path = client.paths.of(file).map(str::to_owned);
        let Some(path) = path.filter(|path| client.disk.read(path).is_some()) else {
            self.recorder.counts.faults_unreached += 1;
            return;
        };
        self.kill_if_running(number, context);
        assert!(self.clients[number].disk.lose(&path), "the file exists");
        self.note_injected(FaultKind::LoseFile, Target::File(file), context);
        self.clients[number].external_damage.push(ExternalDamage::Lost { file, path });
    }

    /// Changes bytes that checksums cover, between two runs of the client's process. Does nothing if no
    /// checksum covers bytes of this file; see
    /// [`Claims::checksummed_bytes`](crate::judge::Claims::checksummed_bytes).
    pub(super) fn rot(
        &mut self,
        number: u8,
        file: FileClass,
        offset: u32,
        damage: Damage,
        context: &mut StepContext,
    ) {
        let client = &self.clients[number];
        let checksummed = client.claims().map_or(0, |claims| {
            claims.checksummed_bytes(file, &client.disk.read(&client.paths.draft_wal).unwrap_or_default())
        });
        let path = client.paths.of(file).map(str::to_owned);
        let found = path.and_then(|path| client.disk.read(&path).map(|content| (path, content)));
        let Some((path, content)) = found.filter(|(_, content)| checksummed.min(content.len() as u64) > 0)
        else {
            self.recorder.counts.faults_unreached += 1;
            return;
        };
        self.kill_if_running(number, context);
        let offset = (u64::from(offset) % checksummed.min(content.len() as u64)) as usize;
        let (offset, bytes) = damage.of(&content, offset);
        self.clients[number].disk.overwrite(&path, offset, &bytes);
        self.note_injected(FaultKind::Rot, Target::File(file), context);
        self.clients[number].external_damage.push(ExternalDamage::Rotten { file, path, offset, bytes });
    }

    /// Restores the remote to an older state. The remote thereby loses acknowledged transactions, which is
    /// not a finding.
    pub(super) fn restore_remote(
        &mut self,
        generations_back: u64,
        transactions_back: u64,
        keeps_name: bool,
    ) -> Result<(), Violation> {
        self.referee.judge_remote(&self.server)?;
        self.server.restore(generations_back, transactions_back, keeps_name);
        let (log, quiet) = self.server.tokens();
        let started = self.referee.ledger.begin_epoch(&log, &quiet);
        started.map_err(|finding| judge::violation(finding, "the restored remote"))?;
        self.recorder.counts.remote_restores += 1;
        Ok(())
    }

    /// Lets the user react to an open that the engine refused because of a file. If external damage explains
    /// the error, the user starts over in an empty directory. Otherwise the error is a violation.
    pub(super) fn start_over_if_explained(
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
        let client = &self.clients[number];
        let explains = |damage: &ExternalDamage| match damage {
            ExternalDamage::Lost { file: FileClass::Metadata, .. } => {
                matches!(error, Error::ForeignFile { .. })
            }
            ExternalDamage::Lost { path, .. } | ExternalDamage::Rotten { path, .. } => path == named.path(),
            ExternalDamage::Older(_) => false,
        };
        let is_explained = client.external_damage.iter().any(explains);
        let is_untouched = client.disk.totals().bytes_written == written_before;
        if !is_explained || !is_untouched {
            let message = format!(
                "the engine refused client {number}'s files{}: {}",
                if is_untouched { "" } else { " and wrote to them" },
                error_chain(error)
            );
            return Err(Violation::of(NO_SURPRISE, message));
        }
        self.referee.ledger.start_over(number);
        let client = &mut self.clients[number];
        client.disk.wipe();
        client.durable = None;
        client.external_damage.clear();
        self.record(Lane::Client(number), Verb::StartsOver, "", &[]);
        Ok(())
    }

    /// Lets the user react to an error by which the engine refuses an older copy of the directory: the user
    /// adopts the copy, and discards the transactions in doubt. Does nothing after any other error.
    pub(super) fn adopt_older_copy(
        &mut self,
        number: u8,
        engine: &Arc<Engine>,
        error: &Error,
        context: &mut StepContext,
    ) -> Result<(), Violation> {
        let Error::ForeignAcknowledgement { .. } = error else { return Ok(()) };
        // The simulator cannot see which of the transactions since the copy was taken are in doubt, so each
        // of them may be missing from now on.
        for damage in self.clients[number].external_damage.clone() {
            if let ExternalDamage::Older(moment) = damage {
                self.referee.ledger.withdraw(number, &moment);
            }
        }
        self.copies.outdate(number);
        let adoption =
            self.drive(number, Operation::Pull, context, async { engine.adopt(InDoubt::Discard).await })?;
        match adoption {
            Driven::Crashed | Driven::Abandoned => Ok(()),
            Driven::Done(Ok(_)) => {
                self.recorder.counts.adoptions += 1;
                self.clients[number]
                    .external_damage
                    .retain(|damage| !matches!(damage, ExternalDamage::Older(_)));
                self.record(Lane::Client(number), Verb::Adopts, "", &[]);
                Ok(())
            }
            Driven::Done(Err(Error::Busy { .. })) if self.clients[number].holds_open() => {
                self.recorder.counts.busy += 1;
                Ok(())
            }
            Driven::Done(Err(error)) => self.judge_error(number, "adoption", &error, context),
        }
    }
}
