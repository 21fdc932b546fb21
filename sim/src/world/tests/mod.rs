//! Tests that the world reports an engine that hangs, panics or fails in a call as the right violation.

mod files;
mod planted;

use std::sync::{Arc, Mutex};

use plimsoll_engine::{Error, RebootstrapReason};
use turso_core::{Completion, IO};

use super::*;
use crate::fault::atlas::{FaultKind, Target};
use crate::judge::verdict::{ENDS, NO_PANIC, NO_SURPRISE};
use crate::schedule::Action;
use crate::world::client::Engine;
use crate::world::context::StepContext;
use crate::world::operations::{Operation, Reported};
use crate::world::trace::Trace;

fn world() -> World {
    World::new(Header::new(1), Arc::new(Mutex::new(Trace::new(false))), Inbox::default(), true)
}

#[test]
fn a_wait_that_never_ends_is_a_violation_and_not_a_hang() {
    let _in_virtual_time = clock::enter(0);
    let mut world = world();
    let io = world.clients[0].disk.io();
    let waits = async {
        let never = Completion::new_sync(|_| ());
        io.wait_for_completion(never).is_ok()
    };
    let violation = world
        .drive(0, Operation::Push, &mut StepContext::default(), waits)
        .err()
        .expect("the operation does not end");
    assert_eq!(violation.invariant, ENDS.name);
}

#[test]
fn an_operation_that_suspends_forever_is_a_violation_and_not_a_hang() {
    let _in_virtual_time = clock::enter(0);
    let violation = world()
        .drive(0, Operation::Push, &mut StepContext::default(), std::future::pending::<()>())
        .err()
        .expect("the operation does not end");
    assert_eq!(violation.invariant, ENDS.name);
}

#[test]
fn a_panic_is_a_violation() {
    let _in_virtual_time = clock::enter(0);
    let violation = world()
        .drive(0, Operation::Push, &mut StepContext::default(), async { panic!("on purpose") })
        .err()
        .map(|violation| violation.invariant);
    assert_eq!(violation, Some(NO_PANIC.name));
}

#[test]
fn an_error_without_a_fault_is_a_violation() {
    let _in_virtual_time = clock::enter(0);
    let mut world = world();
    let mut context = StepContext::default();
    let error = || Error::PushOvertaken { attempts: 1 };
    let violation =
        world.judge_error(0, "operation", &error(), &mut context).err().map(|violation| violation.invariant);
    assert_eq!(violation, Some(NO_SURPRISE.name));
    world.note_injected(
        FaultKind::Disk(crate::fault::DiskErrorKind::WriteFails),
        Target::File(crate::fault::FileClass::DraftWal),
        &mut context,
    );
    assert!(
        world.judge_error(0, "operation", &error(), &mut context).is_ok(),
        "the atlas allows the error after the injected fault"
    );
}

/// Runs `operation` on client 0 after the actions in `before`. Returns the count of re-bootstraps, and the
/// result or the broken invariant.
fn found_in(
    before: &[Action],
    operation: impl AsyncFnOnce(&Engine) -> Result<Reported, Error>,
) -> (u64, Result<bool, &'static str>) {
    let _in_virtual_time = clock::enter(0);
    let mut world = world();
    for (id, action) in (1..).zip([Action::Pull { client: 0 }].iter().chain(before)) {
        world.step(&Step::new(id, action.clone())).expect("the preparation breaks no invariant");
    }
    let found = world.operate(0, Operation::Pull, &mut StepContext::default(), operation);
    (world.recorder.counts.rebootstraps, found.map_err(|violation| violation.invariant))
}

#[test]
fn an_unnecessary_re_bootstrap_is_counted_and_is_a_violation() {
    let requested = async |engine: &Engine| engine.rebootstrap().await.map(Reported::from);
    assert_eq!(found_in(&[], requested), (1, Err(NO_SURPRISE.name)));
    let lost = Action::LoseFile { client: 0, file: crate::fault::FileClass::Synced };
    assert_eq!(found_in(&[lost], requested), (1, Ok(true)));
    let pull = async |engine: &Engine| engine.pull().await.map(Reported::from);
    assert_eq!(found_in(&[], pull), (0, Ok(true)));
}

#[test]
fn an_unreported_or_falsely_reported_re_bootstrap_is_a_violation() {
    let lost = [Action::LoseFile { client: 0, file: crate::fault::FileClass::SyncedWal }];
    let unreported = async |engine: &Engine| {
        engine.pull().await.map(|_| Reported { rebootstrapped: None, forgotten: 0, conflicts: 0 })
    };
    assert_eq!(found_in(&lost, unreported), (1, Err(NO_SURPRISE.name)));
    let requested = Some(RebootstrapReason::Requested);
    let false_report = async |engine: &Engine| {
        engine.pull().await.map(|_| Reported { rebootstrapped: requested, forgotten: 0, conflicts: 0 })
    };
    assert_eq!(found_in(&[], false_report), (0, Err(NO_SURPRISE.name)));
}
