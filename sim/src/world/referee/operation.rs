//! Judges how an engine operation ends: with an error, with a re-bootstrap, or with the claim that the
//! replica is damaged.

use plimsoll_engine::events::EventName;
use plimsoll_engine::{Error, RebootstrapReason};

use super::Referee;
use crate::fault::NetworkFaultKind;
use crate::fault::atlas::{self, FaultKind, Promise, Row, Target};
use crate::judge::marks::StepEnd;
use crate::judge::verdict::{NO_SURPRISE, Violation};
use crate::schedule::Header;
use crate::text::error_chain;
use crate::world::client::{Client, ExternalDamage};
use crate::world::context::{OperationLog, StepContext};
use crate::world::recorder::Recorder;
use crate::world::server::Server;
use crate::world::trace::{Lane, Verb};

fn surprise(message: String) -> Violation {
    Violation::of(NO_SURPRISE, message)
}

impl Referee {
    /// Judges an error: an operation may fail only if the atlas row of an injected fault allows the error.
    ///
    /// # Errors
    /// A violation with the error.
    pub(in crate::world) fn judge_error(
        &self,
        client: &Client,
        what: &str,
        error: &Error,
        context: &mut StepContext,
        recorder: &mut Recorder,
    ) -> Result<(), Violation> {
        let number = client.number;
        context.end = StepEnd::Failed;
        recorder.record(Lane::Application(number), Verb::Error, &error_chain(error), &[]);
        let shown = if error.is_retryable() { Promise::Reported } else { Promise::Refused };
        if shown == Promise::Reported {
            recorder.counts.errors_reported += 1;
        } else {
            recorder.counts.errors_refused += 1;
        }
        if let Error::HistoryUnsettled { rebootstraps } = error
            && context.times_remote_forgot() >= *rebootstraps as usize
        {
            return Ok(());
        }
        let rows: Vec<&Row> =
            context.injected.iter().copied().chain(rows_of_external_damage(client, error)).collect();
        atlas::judge(&rows, shown)
            .map_err(|blame| surprise(format!("client {number}'s {what} {blame}: {}", error_chain(error))))
    }

    /// Judges a failed transaction: it may fail only if a disk error was injected.
    ///
    /// # Errors
    /// A violation with the error.
    pub(in crate::world) fn judge_failed_transaction(
        &self,
        client: &Client,
        error: &Error,
        context: &StepContext,
        recorder: &mut Recorder,
    ) -> Result<(), Violation> {
        let number = client.number;
        // The write lock may be held by another transaction of the application, or by a rebase of the engine.
        let may_be_busy = client.holds_open() || context.is_operating(number);
        if matches!(error, Error::Busy { .. }) && may_be_busy {
            recorder.counts.busy += 1;
            return Ok(());
        }
        recorder.record(Lane::Client(number), Verb::Error, &error_chain(error), &[]);
        recorder.counts.errors_reported += 1;
        atlas::judge(&context.injected, Promise::Reported).map_err(|blame| {
            surprise(format!("client {number}'s transaction {blame}: {}", error_chain(error)))
        })
    }

    /// Judges whether a re-bootstrap was necessary. It downloads the whole database, so it must not happen
    /// where a walk would suffice. `rebootstrap_expected` is set if something has happened that a walk cannot
    /// handle. The caller does not judge a client's first bootstrap.
    ///
    /// # Errors
    /// A violation that names the client.
    pub(in crate::world) fn judge_rebootstrap(
        &self,
        number: u8,
        log: &OperationLog,
        rebootstrap_expected: bool,
        context: &StepContext,
        recorder: &mut Recorder,
    ) -> Result<(), Violation> {
        if !log.asked_for_export() {
            return Ok(());
        }
        recorder.counts.rebootstraps += 1;
        let is_untrue = |row: &&&Row| {
            matches!(
                row.kind,
                FaultKind::Network(NetworkFaultKind::UntrueAnswer)
                    | FaultKind::Network(NetworkFaultKind::StaleAnswer)
                    | FaultKind::Network(NetworkFaultKind::WrongStatus)
                    | FaultKind::Network(NetworkFaultKind::Garbage)
                    | FaultKind::StaleCache
            )
        };
        // The engine does not trust a single wrong answer. It cannot detect two wrong answers that agree.
        let is_misled = context.injected.iter().filter(is_untrue).count() > 1;
        if rebootstrap_expected || is_misled {
            return Ok(());
        }
        Err(surprise(format!("client {number} re-bootstrapped although a walk would have sufficed")))
    }

    /// Checks that the engine reports a damaged replica only if the replica was damaged.
    ///
    /// # Errors
    /// A violation that names the client.
    pub(in crate::world) fn judge_damage(
        &self,
        client: &Client,
        log: &OperationLog,
    ) -> Result<(), Violation> {
        if client.external_damage.iter().any(ExternalDamage::is_of_replica)
            || !log.has_reported(EventName::ReplicaDamaged)
        {
            return Ok(());
        }
        let number = client.number;
        Err(surprise(format!("client {number} reports a damaged replica, but its replica was not damaged")))
    }

    /// Checks that a successful operation reports a re-bootstrap if and only if there was one.
    ///
    /// # Errors
    /// A violation that names the client.
    pub(in crate::world) fn judge_reported_rebootstrap(
        &self,
        number: u8,
        log: &OperationLog,
        reported: Option<RebootstrapReason>,
    ) -> Result<(), Violation> {
        if reported.is_some() == log.asked_for_export() {
            return Ok(());
        }
        Err(surprise(format!(
            "client {number} reported the re-bootstrap {reported:?}, which contradicts its requests"
        )))
    }

    /// Whether something has happened to this client that a walk cannot handle.
    ///
    /// # Errors
    /// An invariant that the client's files break.
    pub(in crate::world) fn expects_rebootstrap(
        &self,
        client: &Client,
        server: &Server,
        header: &Header,
    ) -> Result<bool, Violation> {
        let Some(claims) = client.claims() else { return Ok(false) };
        if server.is_forked() || client.follows_wrong_server {
            return Ok(true);
        }
        if claims.is_being_replaced() || client.external_damage.iter().any(ExternalDamage::is_of_replica) {
            return Ok(true);
        }
        let remote_log = server.log();
        let is_pruned = claims.progress().0 < remote_log.first_served();
        let has_other_history_id =
            header.remote_names_history && claims.history_id != server.remote.history_id();
        // The engine compares the frames' checksums. They can reveal a restore even if all pages are equal.
        let has_unseen_restore = client.followed_epoch < remote_log.epoch();
        let newest = client.epochs(&claims, remote_log)?.map(|epochs| epochs.newest);
        let is_forgotten = remote_log.epoch() > 0 && newest != Some(remote_log.epoch());
        Ok(is_pruned || has_other_history_id || has_unseen_restore || is_forgotten)
    }
}

/// The atlas rows of a client's external damage that can explain an error.
fn rows_of_external_damage(client: &Client, error: &Error) -> Vec<&'static Row> {
    let row = |damage: &ExternalDamage| match (damage, error) {
        (ExternalDamage::Lost { file, .. }, _) => atlas::row(FaultKind::LoseFile, Target::File(*file)),
        (
            ExternalDamage::Rotten { file, path, .. },
            Error::Damaged { file: named, .. } | Error::BadMetadata { file: named, .. },
        ) if path == named.path() => atlas::row(FaultKind::Rot, Target::File(*file)),
        (ExternalDamage::Rotten { .. }, _) => None,
        (ExternalDamage::Older(_), Error::ForeignAcknowledgement { .. }) => {
            atlas::row(FaultKind::RestoreDirectory, Target::Between)
        }
        (ExternalDamage::Older(_), _) => None,
    };
    client.external_damage.iter().filter_map(row).collect()
}
