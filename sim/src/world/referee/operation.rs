//! How an engine's operation may end: with an error, with a re-bootstrap, or with a replica that it takes for damaged.

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
use crate::world::trace::Lane;

fn surprise(message: String) -> Violation {
    Violation::of(NO_SURPRISE, message)
}

impl Referee {
    /// An operation may fail only where a fault struck whose row of the atlas allows for it.
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
        recorder.record(Lane::Application(number), "error", &error_chain(error), &[]);
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

    /// A transaction may fail where a disk error struck.
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
        // Its application in another transaction, or the engine in a rebase, may hold the write lock.
        let may_be_busy = client.holds_open() || context.is_operating(number);
        if matches!(error, Error::Busy { .. }) && may_be_busy {
            recorder.counts.busy += 1;
            return Ok(());
        }
        recorder.record(Lane::Client(number), "error", &error_chain(error), &[]);
        recorder.counts.errors_reported += 1;
        atlas::judge(&context.injected, Promise::Reported).map_err(|blame| {
            surprise(format!("client {number}'s transaction {blame}: {}", error_chain(error)))
        })
    }

    /// A re-bootstrap costs a download of everything: there is none where a walk would do. `expected` says whether something happened
    /// that a walk does not get over. A client that is only starting is not judged.
    ///
    /// # Errors
    /// A violation naming the client.
    pub(in crate::world) fn judge_exports(
        &self,
        number: u8,
        log: &OperationLog,
        expected: bool,
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
            )
        };
        // The engine does not believe one wrong answer. It cannot know better than two that agree.
        let is_misled = context.injected.iter().filter(is_untrue).count() > 1;
        if expected || is_misled {
            return Ok(());
        }
        Err(surprise(format!("client {number} re-bootstrapped where a walk would have done")))
    }

    /// An engine takes its replica for damaged only where something has happened to it.
    ///
    /// # Errors
    /// A violation naming the client.
    pub(in crate::world) fn judge_damage(
        &self,
        client: &Client,
        log: &OperationLog,
    ) -> Result<(), Violation> {
        if client.external_damage.iter().any(ExternalDamage::is_of_replica)
            || !log.has_heard(EventName::ReplicaDamaged)
        {
            return Ok(());
        }
        let number = client.number;
        Err(surprise(format!("client {number} takes its replica for damaged, and nothing has befallen it")))
    }

    /// An operation that has succeeded reports a re-bootstrap if there was one, and only then.
    ///
    /// # Errors
    /// A violation naming the client.
    pub(in crate::world) fn judge_reported_rebootstrap(
        &self,
        number: u8,
        log: &OperationLog,
        reported: Option<RebootstrapReason>,
    ) -> Result<(), Violation> {
        if reported.is_some() == log.asked_for_export() {
            return Ok(());
        }
        Err(surprise(format!("client {number} was asked whether it re-bootstrapped and said {reported:?}")))
    }

    /// Whether something has happened to this client that a plain walk does not get over.
    ///
    /// # Errors
    /// An invariant that its files break.
    pub(in crate::world) fn expects_rebootstrap(
        &self,
        client: &Client,
        server: &Server,
        header: &Header,
    ) -> Result<bool, Violation> {
        let Some(claims) = client.claims() else { return Ok(false) };
        if claims.is_being_replaced() || client.external_damage.iter().any(ExternalDamage::is_of_replica) {
            return Ok(true);
        }
        let history = server.history();
        let is_pruned = claims.progress().0 < history.first_served();
        let is_renamed = header.remote_names_history && claims.history_id != server.remote.history_id();
        // Without a name, the checksums of equal pages may show that the server is another one.
        let is_news = !header.remote_names_history && client.followed_epoch < history.epoch();
        let newest = client.epochs(&claims, history)?.map(|epochs| epochs.newest);
        let is_forgotten = history.epoch() > 0 && newest != Some(history.epoch());
        Ok(is_pruned || is_renamed || is_news || is_forgotten)
    }
}

/// The rows of the atlas under which a client's external_damage allow for an error, as far as they have to do with it.
fn rows_of_external_damage(client: &Client, error: &Error) -> Vec<&'static Row> {
    let row = |damage: &ExternalDamage| match (damage, error) {
        (ExternalDamage::Lost { file, .. }, _) => atlas::row(FaultKind::LoseFile, Target::File(*file)),
        (
            ExternalDamage::Rotten { file, path, .. },
            Error::Damaged { file: named, .. } | Error::BadMetadata { file: named, .. },
        ) if path == named => atlas::row(FaultKind::Rot, Target::File(*file)),
        (ExternalDamage::Rotten { .. }, _) => None,
        (ExternalDamage::Older(_), Error::ForeignAcknowledgement { .. }) => {
            atlas::row(FaultKind::RestoreDirectory, Target::Between)
        }
        (ExternalDamage::Older(_), _) => None,
    };
    client.external_damage.iter().filter_map(row).collect()
}
