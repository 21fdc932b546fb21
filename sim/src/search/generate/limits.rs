//! What is left out of generated schedules because nothing can be promised of it, for whoever puts schedules together in another way.

use crate::fault::Fault;
use crate::fault::NetworkFault;
use crate::schedule::{Action, Schedule};

/// Whether a schedule stays within these limits.
///
/// * A remote that does not name its history cannot be told from one that contradicts itself when it is restored in the middle of an
///   operation, nor from itself when it is restored to before a generation's beginning.
/// * Nor can it be told from one that was restored when it lags behind for more than one answer.
/// * Where a remote, a directory or a file forgets, transactions are lost that later ones may have built on: the writes are such as do not.
pub fn is_within_limits(schedule: &Schedule) -> bool {
    let steps = schedule.all_steps();
    let is_forgetful = |action: &Action| {
        matches!(
            action,
            Action::RemoteRestore { .. }
                | Action::RestoreDirectory { .. }
                | Action::LoseFile { .. }
                | Action::Rot { .. }
        )
    };
    let forgets = steps.iter().any(|step| is_forgetful(&step.action));
    let builds_on_nothing = |action: &Action| match action {
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
    is_followed && (!forgets || steps.iter().all(|step| builds_on_nothing(&step.action)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::generate::{Profile, generate};

    #[test]
    fn generated_schedules_are_within_their_limits() {
        for seed in 0..2000 {
            assert!(is_within_limits(&generate(seed, Profile::Swarm)), "seed {seed}");
        }
    }
}
