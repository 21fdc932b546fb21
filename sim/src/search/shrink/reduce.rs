//! The candidates: smaller versions of a schedule. There is one pass for each kind of reduction.
//!
//! Guarantees: each candidate is smaller than its original. The search finds out whether it still fails.

use super::FaultOutcomes;
use super::moved::with_moved_faults;
use super::weaken::{fewer, kinds_mut, smaller_action, weaker_fault};
use crate::fault::Fault;
use crate::fault::{CrashKind, Survival};
use crate::schedule::{Action, Header, Schedule, Step, Workload};
use crate::world::disk::CrashReport;
use crate::world::run::Outcome;

#[derive(Debug, Clone, Copy)]
pub(super) enum Pass {
    /// Drop the steps after the violation, and the faults and inner steps that were not reached. Replace each
    /// crash by an explicit one with the same effect, which lists the survivors and names the file and
    /// operation.
    Settle,
    /// Drop this many steps in a row, starting from the end.
    Steps(usize),
    /// Drop any two steps.
    Pairs,
    /// Drop the steps inside others, or run them afterwards.
    Inside,
    /// Drop faults: all faults, all faults of one step, or one fault. Replace a step in which the client
    /// crashes with a crash between two steps.
    Faults,
    /// Replace a fault by a weaker one.
    WeakerFaults,
    SmallerActions,
    /// Drop clients, and use ordinary values of the header.
    Header,
    /// Drop a step or a fault, and move a remaining fault elsewhere. This is the last resort.
    Moved,
}

/// The maximum number of steps for which all pairs are tried.
const PAIRS_STEPS_MAX: usize = 14;

impl Pass {
    /// The passes of one round, in order, for a schedule with `steps` steps.
    pub(super) fn round(steps: usize) -> Vec<Self> {
        let mut passes = vec![Self::Settle];
        let mut chunk = steps / 2;
        while chunk > 1 {
            passes.push(Self::Steps(chunk));
            chunk /= 2;
        }
        passes.extend([
            Self::Steps(1),
            Self::Settle,
            Self::Inside,
            Self::Faults,
            Self::Steps(1),
            Self::Pairs,
        ]);
        passes.extend([Self::WeakerFaults, Self::SmallerActions, Self::Header]);
        passes
    }

    /// The candidates of the pass, the most promising first.
    pub(super) fn candidates(self, schedule: &Schedule, outcome: &Outcome) -> Vec<Schedule> {
        let candidates = match self {
            Self::Settle => settled(schedule, outcome),
            Self::Steps(chunk) => without_chunks(schedule, chunk),
            Self::Pairs => without_pairs(schedule),
            Self::Inside => without_steps_inside(schedule),
            Self::Faults => without_faults(schedule),
            Self::WeakerFaults => with_weaker_faults(schedule),
            Self::SmallerActions => with_smaller_actions(schedule),
            Self::Header => with_plainer_headers(schedule),
            Self::Moved => with_moved_faults(schedule),
        };
        candidates.into_iter().filter(|candidate| candidate != schedule).collect()
    }
}

fn with_steps(schedule: &Schedule, steps: Vec<Step>) -> Schedule {
    let mut comments = schedule.comments.clone();
    comments.before_step.retain(|id, _| steps.iter().any(|step| step.id == *id));
    Schedule { header: schedule.header.clone(), steps, comments }
}

fn changed(schedule: &Schedule, change: impl FnOnce(&mut Schedule)) -> Schedule {
    let mut candidate = schedule.clone();
    change(&mut candidate);
    candidate
}

fn settled(schedule: &Schedule, outcome: &Outcome) -> Vec<Schedule> {
    let violated = outcome.violation.as_ref().and_then(|violation| violation.step);
    let last = schedule.steps.iter().position(|step| Some(step.id) == violated);
    let cut = |schedule: &Schedule| {
        let end = last.map_or(schedule.steps.len(), |index| index + 1);
        with_steps(schedule, schedule.steps[..end].to_vec())
    };
    let reached =
        |schedule: &Schedule| changed(schedule, |schedule| drop_unreached(schedule, &outcome.fault_outcomes));
    let explicit =
        |schedule: &Schedule| changed(schedule, |schedule| be_explicit(schedule, &outcome.fault_outcomes));
    vec![explicit(&reached(&cut(schedule))), cut(schedule), reached(schedule), explicit(schedule)]
}

fn drop_unreached(schedule: &mut Schedule, fault_outcomes: &FaultOutcomes) {
    for (id, unreached) in &fault_outcomes.unreached {
        if let Some(step) = schedule.step_mut(*id)
            && let Some(index) = step.faults.iter().position(|fault| fault == unreached)
        {
            step.faults.remove(index);
        }
    }
    for id in &fault_outcomes.not_run {
        drop_inside(&mut schedule.steps, *id);
    }
}

/// Drops the step `id` from inside the step that contains it.
fn drop_inside(steps: &mut [Step], id: u32) {
    for step in steps {
        step.during.retain(|during| during.step.id != id);
        for during in &mut step.during {
            drop_inside(std::slice::from_mut(&mut during.step), id);
        }
    }
}

/// Replaces the plan of each crash by its actual effect.
fn be_explicit(schedule: &mut Schedule, fault_outcomes: &FaultOutcomes) {
    for (id, report) in &fault_outcomes.crashes {
        let Some(step) = schedule.step_mut(*id) else { continue };
        let armed = step.faults.iter_mut().find_map(|fault| match fault {
            Fault::Crash(point) if Some(&*point) == report.point.as_ref() => Some(point),
            _ => None,
        });
        match armed {
            Some(point) => {
                point.kind = explicit_kind(report);
                point.place = report.place.unwrap_or(point.place);
            }
            None => {
                if let Some(kind) = kinds_mut(step).into_iter().find(|kind| **kind == report.kind) {
                    *kind = explicit_kind(report);
                }
            }
        }
    }
}

fn explicit_kind(report: &CrashReport) -> CrashKind {
    match &report.kind {
        CrashKind::Kill => CrashKind::Kill,
        // File roles are easier to read than numbers.
        kind @ CrashKind::PowerLoss { survival: Survival::Files { .. }, .. } => kind.clone(),
        CrashKind::PowerLoss { torn, .. } => {
            let survival = if report.survivors.is_empty() {
                Survival::Nothing
            } else if report.survivors.len() == report.unsynced_operations as usize {
                Survival::Everything
            } else {
                Survival::List { indices: report.survivors.clone() }
            };
            CrashKind::PowerLoss { survival, torn: *torn }
        }
    }
}

pub(super) fn without_chunks(schedule: &Schedule, chunk: usize) -> Vec<Schedule> {
    fewer(&schedule.steps, chunk).into_iter().map(|steps| with_steps(schedule, steps)).collect()
}

pub(super) fn without_pairs(schedule: &Schedule) -> Vec<Schedule> {
    let count = schedule.steps.len();
    if count > PAIRS_STEPS_MAX {
        return Vec::new();
    }
    let pairs = (0..count).rev().flat_map(|second| (0..second).rev().map(move |first| (first, second)));
    pairs
        .map(|(first, second)| {
            let kept = (0..count).filter(|index| *index != first && *index != second);
            with_steps(schedule, kept.map(|index| schedule.steps[index].clone()).collect())
        })
        .collect()
}

fn without_faults(schedule: &Schedule) -> Vec<Schedule> {
    let ids: Vec<u32> = schedule.all_steps().iter().map(|step| step.id).collect();
    let mut candidates = vec![changed(schedule, |schedule| {
        for id in &ids {
            schedule.step_mut(*id).into_iter().for_each(|step| step.faults.clear());
        }
    })];
    candidates.extend(ids.iter().rev().map(|id| edited(schedule, *id, |step| step.faults.clear())));
    candidates.extend(without_each_fault(schedule));
    candidates.extend(schedule.steps.iter().rev().filter_map(|step| {
        let (client, kind) = (step.action.client()?, step.faults.iter().find_map(Fault::crash_kind)?.clone());
        let crash = Step::new(step.id, Action::Crash { client, kind });
        Some(edited(schedule, step.id, |step| *step = crash))
    }));
    candidates
}

pub(super) fn without_each_fault(schedule: &Schedule) -> Vec<Schedule> {
    let steps = schedule.all_steps().into_iter().rev();
    let numbers = steps.flat_map(|step| (0..step.faults.len()).rev().map(|number| (step.id, number)));
    numbers.map(|(id, number)| edited(schedule, id, |step| drop(step.faults.remove(number)))).collect()
}

/// For each step with steps inside it, a schedule without these inner steps. For each inner step, a schedule
/// without it, and one that runs it after the outer step.
fn without_steps_inside(schedule: &Schedule) -> Vec<Schedule> {
    let mut candidates = Vec::new();
    for step in schedule.steps.iter().filter(|step| !step.during.is_empty()).rev() {
        candidates.push(edited(schedule, step.id, |step| step.during.clear()));
        for inside in step.all().into_iter().skip(1) {
            candidates.push(changed(schedule, |schedule| drop_inside(&mut schedule.steps, inside.id)));
            candidates.push(changed(schedule, |schedule| {
                drop_inside(&mut schedule.steps, inside.id);
                let at = schedule.steps.iter().position(|outer| outer.id == step.id).map_or(0, |at| at + 1);
                schedule.steps.insert(at, inside.clone());
            }));
        }
    }
    candidates
}

pub(super) fn edited(schedule: &Schedule, id: u32, edit: impl FnOnce(&mut Step)) -> Schedule {
    changed(schedule, |schedule| {
        if let Some(step) = schedule.step_mut(id) {
            edit(step);
        }
    })
}

fn with_weaker_faults(schedule: &Schedule) -> Vec<Schedule> {
    let mut candidates = Vec::new();
    for step in schedule.all_steps() {
        for (number, fault) in step.faults.iter().enumerate() {
            for weaker in weaker_fault(fault) {
                candidates.push(edited(schedule, step.id, |step| step.faults[number] = weaker));
            }
        }
    }
    candidates
}

fn with_smaller_actions(schedule: &Schedule) -> Vec<Schedule> {
    let mut candidates = Vec::new();
    for step in schedule.all_steps() {
        for action in smaller_action(&step.action) {
            candidates.push(edited(schedule, step.id, |step| step.action = action));
        }
    }
    candidates
}

fn with_plainer_headers(schedule: &Schedule) -> Vec<Schedule> {
    let mut candidates = with_fewer_clients(schedule);
    let plain = Header::new(schedule.header.key);
    // The pattern lists all fields, so that a new field cannot be forgotten here.
    let Header {
        format: _,
        system: _,
        workload: _,
        key: _,
        clients: _,
        pull_batch_frames,
        push_batch_statements_max,
        push_mode,
        push_batch_frames,
        synced_wal_frames_max,
        draft_wal_frames_max,
        change_log_records_max,
        chunk_bytes,
        content_length,
        remote_names_history,
        remote_sends_proofs,
        remote_sends_checksums,
        asks_before_following,
    } = plain;
    candidates.extend([
        changed(schedule, |schedule| {
            let Header { clients, system, workload, .. } = schedule.header;
            schedule.header = Header { clients, system, workload, ..Header::new(schedule.header.key) };
        }),
        changed(schedule, |schedule| {
            if schedule.header.workload == Workload::TokensAndPrograms {
                schedule.header.workload = Workload::Programs;
            }
        }),
        changed(schedule, |schedule| schedule.header.pull_batch_frames = pull_batch_frames),
        changed(schedule, |schedule| schedule.header.push_batch_statements_max = push_batch_statements_max),
        changed(schedule, |schedule| schedule.header.push_mode = push_mode),
        changed(schedule, |schedule| schedule.header.push_batch_frames = push_batch_frames),
        changed(schedule, |schedule| schedule.header.synced_wal_frames_max = synced_wal_frames_max),
        changed(schedule, |schedule| schedule.header.draft_wal_frames_max = draft_wal_frames_max),
        changed(schedule, |schedule| schedule.header.change_log_records_max = change_log_records_max),
        changed(schedule, |schedule| schedule.header.chunk_bytes = chunk_bytes),
        changed(schedule, |schedule| schedule.header.content_length = content_length),
        changed(schedule, |schedule| schedule.header.remote_names_history = remote_names_history),
        changed(schedule, |schedule| {
            let header = &mut schedule.header;
            (header.remote_sends_checksums, header.remote_sends_proofs) =
                (remote_sends_checksums, remote_sends_proofs);
        }),
        changed(schedule, |schedule| schedule.header.remote_sends_checksums = remote_sends_checksums),
        changed(schedule, |schedule| schedule.header.asks_before_following = asks_before_following),
    ]);
    candidates
}

/// Drops the clients that do nothing, and moves the steps of one client to another.
fn with_fewer_clients(schedule: &Schedule) -> Vec<Schedule> {
    let mut used: Vec<u8> = schedule.all_steps().iter().filter_map(|step| step.action.client()).collect();
    used.sort_unstable();
    used.dedup();
    let renamed = |clients: u8, name: &dyn Fn(u8) -> u8| {
        changed(schedule, |schedule| {
            schedule.header.clients = clients;
            let ids: Vec<u32> = schedule.all_steps().iter().map(|step| step.id).collect();
            for id in ids {
                if let Some(client) = schedule.step_mut(id).and_then(|step| step.action.client_mut()) {
                    *client = name(*client);
                }
            }
        })
    };
    let position = |client: u8| used.iter().position(|known| *known == client).unwrap_or(0) as u8;
    let mut candidates = vec![renamed((used.len() as u8).max(1), &position)];
    for &gone in used.iter().rev() {
        for &other in used.iter().filter(|other| **other < gone) {
            let merged = |client: u8| if client == gone { other } else { client };
            candidates.push(renamed(schedule.header.clients, &merged));
        }
    }
    candidates
}
