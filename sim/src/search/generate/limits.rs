//! The limits of generated schedules. They exclude combinations for which the engine makes no promise. Other
//! sources of schedules, for example the fuzzer, can check theirs here.

use crate::fault::Fault;
use crate::fault::NetworkFault;
use crate::schedule::{Action, Schedule};

/// Whether a schedule stays within these limits.
///
/// * A remote without a history id must not be restored in the middle of an operation, because the engine
///   could combine halves of two transactions. It must not be restored to an earlier generation either,
///   because a client that holds only an export may not notice it.
/// * A remote without a history id must not lag behind for more than one response in a step, because that
///   looks like a restore.
/// * If the remote, a directory or a file can lose transactions, later transactions must not depend on them:
///   all writes are independent.
pub fn is_within_limits(schedule: &Schedule) -> bool {
    let steps = schedule.all_steps();
    let can_lose_transactions = |action: &Action| {
        matches!(
            action,
            Action::RemoteRestore { .. }
                | Action::RestoreDirectory { .. }
                | Action::LoseFile { .. }
                | Action::Rot { .. }
        )
    };
    let may_lose = steps.iter().any(|step| can_lose_transactions(&step.action));
    let is_independent = |action: &Action| match action {
        Action::Transaction { writes, .. } | Action::RemoteTransaction { writes } => {
            writes.iter().all(|write| write.is_independent())
        }
        _ => true,
    };
    let is_restore = |action: &Action| matches!(action, Action::RemoteRestore { .. });
    let restores_inside = schedule.steps.iter().any(|step| {
        step.all().iter().filter(|inside| inside.id != step.id).any(|inside| is_restore(&inside.action))
    });
    let restores_generations = steps.iter().any(
        |step| matches!(step.action, Action::RemoteRestore { generations_back, .. } if generations_back > 0),
    );
    let is_stale = |fault: &Fault| matches!(fault, Fault::Network { fault: NetworkFault::Stale { .. }, .. });
    let lags = steps.iter().any(|step| step.faults.iter().filter(|fault| is_stale(fault)).count() > 1);
    let log_is_identifiable =
        schedule.header.remote_names_history || !(restores_inside || restores_generations || lags);
    log_is_identifiable && (!may_lose || steps.iter().all(|step| is_independent(&step.action)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::generate::{Profile, generate};

    #[test]
    fn generated_schedules_stay_within_the_limits() {
        for seed in 0..2000 {
            assert!(is_within_limits(&generate(seed, Profile::Swarm)), "seed {seed}");
        }
    }
}
