//! The limits of generated schedules. They exclude combinations for which the engine makes no promise. Other
//! generators can check their schedules here.

use crate::fault::Fault;
use crate::fault::NetworkFault;
use crate::schedule::{Action, Schedule};

/// Whether a schedule stays within these limits.
///
/// * If the remote sends no lineage id, a restore in the middle of an operation looks like a remote that
///   contradicts itself. A restore to before the start of a generation is not detectable at all. So
///   a schedule without a lineage id contains neither.
/// * A remote without a lineage id must not lag behind for more than one response, because that looks like
///   a restore.
/// * If a remote, a directory or a file can lose transactions, later transactions must not depend on them.
///   All writes are independent then.
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
    let is_followed =
        schedule.header.remote_names_history || !(restores_inside || restores_generations || lags);
    is_followed && (!may_lose || steps.iter().all(|step| is_independent(&step.action)))
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
