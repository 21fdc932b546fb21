//! The limits of generated schedules. They exclude combinations for which the engine makes no promise. Other
//! sources of schedules, for example the fuzzer, can check theirs here.

use crate::fault::Fault;
use crate::fault::{NetworkFault, Route};
use crate::schedule::{Action, Header, PushMode, Schedule};

/// Whether a schedule stays within these limits.
///
/// * A remote that sends no proofs must not be restored to an earlier generation under the same name or
///   without a name, because a client that holds only an export may not notice it.
/// * Two servers on copies of a remote that sends no proofs must stay in one generation, because a client cannot
///   tell them apart in the next one, and they must not get pushes of frames. For the same reason no cache may
///   keep their exports and frames.
/// * A remote that sends neither proofs nor a history id must not lag behind for more than one response in a
///   step, because that looks like a restore.
/// * After a restore that keeps the name, or of a remote without a name, a client that cannot compare its newest frame
///   recognizes the restore by proofs alone: no generation may be pruned without them. If the remote sends no
///   checksums, no replica may be lost either.
/// * There must not be two servers if the remote sends no checksums, because only these tell frames of two logs apart.
/// * There must be neither two servers nor a cache if the application is asked before a client follows another log:
///   it would be asked for ever.
/// * If the remote, a directory or a file can lose transactions, later transactions must not depend on them:
///   all writes are independent.
pub fn is_within_limits(schedule: &Schedule) -> bool {
    let steps = schedule.all_steps();
    let can_lose_transactions = |action: &Action| {
        matches!(
            action,
            Action::RemoteRestore { .. }
                | Action::RemoteFork { .. }
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
    let Header { remote_names_history, push_mode, remote_sends_checksums, asks_before_following, .. } =
        schedule.header;
    let has = |is: fn(&Action) -> bool| steps.iter().any(|step| is(&step.action));
    let forks = has(|action| matches!(action, Action::RemoteFork { .. }));
    let is_confusing = forks
        && (push_mode == PushMode::Frames || has(|action| matches!(action, Action::RemoteCheckpoint)))
        || has(|action| matches!(action, Action::RemoteCache { route } if *route != Route::Info));
    let is_unrecognizable = |action: &Action| match *action {
        Action::RemoteRestore { generations_back, keeps_name, .. } => {
            generations_back > 0 && (keeps_name || !remote_names_history)
        }
        _ => false,
    };
    let is_stale = |fault: &Fault| matches!(fault, Fault::Network { fault: NetworkFault::Stale { .. }, .. });
    let lags = steps.iter().any(|step| step.faults.iter().filter(|fault| is_stale(fault)).count() > 1);
    let is_recognizable = schedule.header.has_proofs()
        || !is_confusing
            && !steps.iter().any(|step| is_unrecognizable(&step.action))
            && (remote_names_history || !lags);
    let caches = has(|action| matches!(action, Action::RemoteCache { .. }));
    let hides = (!schedule.header.has_proofs() && has(|action| matches!(action, Action::RemotePrune)))
        || !remote_sends_checksums
            && has(|action| matches!(action, Action::LoseFile { .. } | Action::Rot { .. }));
    let is_nameless = |action: &Action| matches!(*action, Action::RemoteRestore { keeps_name, .. } if keeps_name || !remote_names_history);
    let is_hidden = hides && steps.iter().any(|step| is_nameless(&step.action));
    let is_unsettled =
        is_hidden || forks && !remote_sends_checksums || asks_before_following && (forks || caches);
    is_recognizable && !is_unsettled && (!may_lose || steps.iter().all(|step| is_independent(&step.action)))
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
