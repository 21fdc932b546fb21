//! Tests that every schedule can be printed and parsed without a change, comments included.

use std::collections::BTreeSet;

use arbitrary::{Arbitrary, Unstructured};
use plimsoll_sim::fault::atlas::{is_rot_promised, rows_of};
use plimsoll_sim::fault::{Fault, FileClass};
use plimsoll_sim::schedule::workload::Write;
use plimsoll_sim::schedule::{Action, Comments, Header, Schedule, ScheduleError, Step, Wait};
use proptest::prelude::*;

/// Any schedule that a file can hold, made from bytes: every variant of every action, and of every fault with
/// a row in the atlas.
fn any_schedule() -> impl Strategy<Value = Schedule> {
    (prop::collection::vec(any::<u8>(), 0..3000), comments()).prop_map(|(bytes, comments)| {
        let mut source = Unstructured::new(&bytes);
        let drawn = Header::arbitrary(&mut source).expect("an exhausted source yields defaults");
        let header = Header {
            format: plimsoll_sim::schedule::FORMAT,
            clients: drawn.clients.clamp(1, 64),
            chunk_bytes: drawn.chunk_bytes.clamp(1, 1 << 30),
            ..drawn
        };
        let mut schedule = Schedule::new(header, Vec::new());
        let mut ids = BTreeSet::new();
        while !source.is_empty() {
            let Ok(mut step) = Step::arbitrary(&mut source) else { break };
            make_possible(&mut step);
            let has_client =
                |step: &Step| step.action.client().is_none_or(|client| client < schedule.header.clients);
            // A skipped step is skipped with its inner steps.
            if step.all().into_iter().all(|step| has_client(step) && ids.insert(step.id)) {
                schedule.steps.push(step);
            }
        }
        let (head, before_each, tail) = comments;
        let before_step = schedule.steps.iter().zip(before_each).filter(|(_, lines)| !lines.is_empty());
        let before_step = before_step.map(|(step, lines)| (step.id, lines)).collect();
        Schedule { comments: Comments { head, before_step, tail }, ..schedule }
    })
}

/// Makes a step possible: without faults that the atlas does not have, and with numbers in their ranges.
fn make_possible(step: &mut Step) {
    step.faults.retain(|fault| !rows_of(fault).is_empty());
    if let Action::Transaction { writes, .. } | Action::RemoteTransaction { writes } = &mut step.action {
        for write in writes {
            if let Write::Append { payload_bytes } = write {
                *payload_bytes %= 1 << 24;
            }
        }
    }
    for fault in &mut step.faults {
        let nth = match fault {
            Fault::Crash(point) => &mut point.place.nth,
            Fault::CrashSuspended { nth, .. } | Fault::Abandon { nth, .. } => nth,
            Fault::Disk(error) => &mut error.nth,
            Fault::Network { at, .. } => &mut at.nth,
        };
        *nth = (*nth).max(1);
    }
    for during in &mut step.during {
        let nth = match &mut during.at {
            Wait::Request(place) | Wait::Response(place) => &mut place.nth,
            Wait::Chunk { nth, .. } | Wait::Reported { nth, .. } | Wait::Suspension { nth } => nth,
        };
        *nth = (*nth).max(1);
    }
    if let Action::Rot { file, .. } = &mut step.action
        && !is_rot_promised(*file)
    {
        *file = FileClass::Metadata;
    }
    step.during.iter_mut().for_each(|during| make_possible(&mut during.step));
}

type Lines = Vec<String>;

fn comments() -> impl Strategy<Value = (Lines, Vec<Lines>, Lines)> {
    let lines = || prop::collection::vec("[^\\r\\n]{0,20}", 0..3);
    (lines(), prop::collection::vec(lines(), 0..5), lines())
}

proptest! {
    #[test]
    fn a_printed_schedule_is_read_back_as_it_was(schedule in any_schedule()) {
        let text = schedule.print();
        let read = Schedule::parse(&text);
        prop_assert!(read.is_ok(), "{}\n{text}", read.unwrap_err());
        prop_assert_eq!(read.unwrap(), schedule);
    }

    /// Any file is parsed or refused, without a panic.
    #[test]
    fn a_damaged_file_is_read_or_refused(schedule in any_schedule(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = schedule.print().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Err(error) = Schedule::parse(&String::from_utf8_lossy(&bytes)) {
            prop_assert!(matches!(error, ScheduleError::Empty) || error.to_string().starts_with("line "), "{error}");
        }
    }
}
