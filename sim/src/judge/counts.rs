//! Counters over the events of a history.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use strum::VariantArray;

use super::marks::MarkCounts;
use crate::fault::NetworkFaultKind;
use crate::fault::atlas::FaultKind;

/// Counters over one or more histories. A fault counts when it is injected, not when it is planned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub marks: MarkCounts,
    pub histories: u64,
    /// Histories with at least one injected crash and one injected network fault.
    #[serde(rename = "histories_with_both")]
    pub histories_with_crash_and_network_fault: u64,
    pub steps: u64,
    /// The statements of programs that succeeded.
    #[serde(default)]
    pub statements: u64,
    #[serde(default)]
    pub statements_failed: u64,
    /// Steps that ran inside other steps.
    pub steps_inside: u64,
    /// Operations that were refused because another one was in progress.
    pub second_operations: u64,
    /// Second processes on a client's database that were refused.
    pub second_processes: u64,
    /// Operations and transactions that correctly found the database busy.
    pub busy: u64,
    /// Transactions that were held open across steps.
    pub held_open: u64,
    /// Readers that were held open across steps.
    pub readers_held: u64,
    pub kills: u64,
    pub power_losses: u64,
    /// Kills and power losses inside an operation of the engine, not between two.
    pub crashes_inside: u64,
    pub requests: u64,
    pub requests_lost: u64,
    /// Responses lost after their request took effect.
    pub responses_lost: u64,
    /// File operations that failed because of an injected error.
    pub disk_errors: u64,
    /// Faults whose place was never reached.
    pub faults_unreached: u64,
    /// Transactions committed by the clients' applications.
    pub client_commits: u64,
    /// Generation changes of the remotes.
    pub generations: u64,
    /// Crash images opened and judged. Their crashes did not happen in the history.
    pub images_opened: u64,
    /// Times a remote stopped serving old generations.
    pub prunes: u64,
    /// Times a remote was restored to an older state.
    pub remote_restores: u64,
    /// Times a second server started on a copy of a remote's files.
    #[serde(default)]
    pub remote_forks: u64,
    pub rebootstraps: u64,
    /// Older copies of a client's files that were reopened as a new client.
    pub adoptions: u64,
    /// Invariants judged.
    pub checks: u64,
    /// Operations that ended with a retryable error.
    pub errors_reported: u64,
    /// Operations that ended with an error that no retry can fix.
    pub errors_refused: u64,
    /// Injected faults by the name of their row in the atlas.
    pub injected: BTreeMap<String, u64>,
}

impl Counts {
    /// Adds the counters of other histories.
    pub fn add(&mut self, other: &Self) {
        // Every field is named here, so a new one does not compile until it is added as well.
        macro_rules! add {
            ($($number:ident),* $(,)?) => {
                let Self { marks, injected, $($number),* } = other;
                self.marks.add_all(marks);
                for (row, count) in injected {
                    *self.injected.entry(row.clone()).or_default() += count;
                }
                $(self.$number += $number;)*
            };
        }
        add!(
            histories,
            histories_with_crash_and_network_fault,
            steps,
            statements,
            statements_failed,
            steps_inside,
            second_operations,
            second_processes,
            busy,
            held_open,
            readers_held,
            kills,
            power_losses,
            crashes_inside,
            requests,
            requests_lost,
            responses_lost,
            disk_errors,
            faults_unreached,
            client_commits,
            generations,
            images_opened,
            prunes,
            remote_restores,
            remote_forks,
            rebootstraps,
            adoptions,
            checks,
            errors_reported,
            errors_refused,
        );
    }

    /// Kills and power losses.
    pub fn crashes(&self) -> u64 {
        self.kills + self.power_losses
    }

    /// Lost requests and lost responses.
    pub fn messages_lost(&self) -> u64 {
        self.requests_lost + self.responses_lost
    }

    /// The number of injected faults of a kind, on any file or route.
    pub fn injected_of(&self, kind: impl Into<FaultKind>) -> u64 {
        let kind = kind.into();
        let is_kind = |row: &str| row.split('/').next() == Some(kind.name());
        self.injected.iter().filter(|(row, _)| is_kind(row)).map(|(_, count)| count).sum()
    }

    /// The number of injected network faults, lost messages included.
    pub fn network_faults(&self) -> u64 {
        NetworkFaultKind::VARIANTS.iter().map(|&kind| self.injected_of(kind)).sum()
    }
}
