//! That the world turns an engine which goes wrong inside a call into the right violation.

use std::sync::{Arc, Mutex};

use turso_core::{Completion, IO};

use super::*;
use crate::trace::Trace;

fn world() -> World {
    World::new(Header::new(1), Arc::new(Mutex::new(Trace::new(false))), Inbox::default(), true)
}

#[test]
fn a_wait_for_nothing_is_a_violation_and_no_hang() {
    let _in_virtual_time = clock::enter(0);
    let mut world = world();
    let io = world.client(0).disk.io();
    let waits = async {
        let never = Completion::new_sync(|_| ());
        io.wait_for_completion(never).is_ok()
    };
    let violation = world.drive(0, Operation::Push, waits).err().expect("it never ends");
    assert_eq!(violation.invariant, ENDS.name);
}

#[test]
fn an_operation_that_suspends_for_ever_is_a_violation_and_no_hang() {
    let _in_virtual_time = clock::enter(0);
    let violation =
        world().drive(0, Operation::Push, std::future::pending::<()>()).err().expect("it never ends");
    assert_eq!(violation.invariant, ENDS.name);
}

#[test]
fn a_panic_is_a_violation() {
    let _in_virtual_time = clock::enter(0);
    let violation = world()
        .drive(0, Operation::Push, async { panic!("on purpose") })
        .err()
        .map(|violation| violation.invariant);
    assert_eq!(violation, Some(NO_PANIC.name));
}

#[test]
fn an_error_without_a_fault_is_a_violation() {
    let _in_virtual_time = clock::enter(0);
    let mut world = world();
    let error = || Error::Busy { file: "x".into() };
    let violation = world.judge_error("operation", 0, &error()).err().map(|violation| violation.invariant);
    assert_eq!(violation, Some(NO_SURPRISE.name));
    world.strike(FaultKind::WriteFails, Target::File(crate::disk::FileClass::DraftWal));
    assert!(world.judge_error("operation", 0, &error()).is_ok(), "the atlas allows for it now");
}
