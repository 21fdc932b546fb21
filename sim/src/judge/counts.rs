//! What happened in a history, counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use strum::VariantArray;

use super::marks::MarkCounts;
use crate::fault::NetworkFaultKind;
use crate::fault::atlas::FaultKind;

/// What happened, counted. Faults are counted when they struck, not when they were planned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// How often each mark was reached.
    pub marks: MarkCounts,
    /// Histories.
    pub histories: u64,
    /// Histories that at least one crash and one fault of the network struck.
    pub histories_with_both: u64,
    /// Steps run.
    pub steps: u64,
    /// Steps that ran inside others.
    pub steps_inside: u64,
    /// Operations that were refused because another was in progress.
    pub second_operations: u64,
    /// Operations and transactions that found the database busy, and rightly so.
    pub busy: u64,
    /// Transactions that were held open across steps.
    pub held_open: u64,
    /// Readers that were held open across steps.
    pub readers_held: u64,
    /// Kills of a process.
    pub kills: u64,
    /// Power losses of a machine.
    pub power_losses: u64,
    /// Of both, those that struck inside an operation of the engine's and not between two.
    pub crashes_inside: u64,
    /// Requests that engines sent.
    pub requests: u64,
    /// Requests lost.
    pub requests_lost: u64,
    /// Responses lost after their request took effect.
    pub responses_lost: u64,
    /// File operations that failed.
    pub disk_errors: u64,
    /// Faults whose place was never reached.
    pub faults_unreached: u64,
    /// Transactions committed by clients' applications.
    pub client_commits: u64,
    /// Generation changes of remotes.
    pub generations: u64,
    /// Images of crashes that did not happen, opened and judged.
    pub images_opened: u64,
    /// Times that remotes stopped serving old generations.
    pub prunes: u64,
    /// Times that remotes were restored to an older state.
    pub remote_restores: u64,
    /// Re-bootstraps that clients reported.
    pub rebootstraps: u64,
    /// Older copies that became clients of their own.
    pub adoptions: u64,
    /// Judgements of an invariant.
    pub checks: u64,
    /// Operations that ended with an error that another try can help.
    pub errors_reported: u64,
    /// Operations that ended with an error that no retry can help.
    pub errors_refused: u64,
    /// How often each row of the atlas struck, by its name.
    pub injected: BTreeMap<String, u64>,
}

impl Counts {
    /// Adds another history's.
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
            histories_with_both,
            steps,
            steps_inside,
            second_operations,
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
            rebootstraps,
            adoptions,
            checks,
            errors_reported,
            errors_refused,
        );
    }

    /// Crashes of both kinds.
    pub fn crashes(&self) -> u64 {
        self.kills + self.power_losses
    }

    /// Lost messages of both kinds.
    pub fn messages_lost(&self) -> u64 {
        self.requests_lost + self.responses_lost
    }

    /// How often a sort of fault struck, wherever.
    pub fn injected_of(&self, kind: impl Into<FaultKind>) -> u64 {
        let kind = kind.into();
        let is_kind = |row: &str| row.split('/').next() == Some(kind.name());
        self.injected.iter().filter(|(row, _)| is_kind(row)).map(|(_, count)| count).sum()
    }

    /// Faults of the network, lost messages included.
    pub fn network_faults(&self) -> u64 {
        NetworkFaultKind::VARIANTS.iter().map(|&kind| self.injected_of(kind)).sum()
    }
}
