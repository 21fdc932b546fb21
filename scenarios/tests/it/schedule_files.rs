//! Schedule files: every schedule can be printed and parsed without a change, comments included.

use std::collections::BTreeSet;

use arbitrary::{Arbitrary, Unstructured};
use plimsoll_sim::fault::FileClass;
use plimsoll_sim::fault::atlas::{is_rot_promised, rows_of};
use plimsoll_sim::schedule::{Action, Comments, Header, Schedule, ScheduleError, Step};
use proptest::prelude::*;

/// Any schedule that a file can hold, made from bytes: every variant of every action, and of every fault with
/// a row in the atlas.
fn any_schedule() -> impl Strategy<Value = Schedule> {
    (prop::collection::vec(any::<u8>(), 0..3000), comments()).prop_map(|(bytes, comments)| {
        let mut source = Unstructured::new(&bytes);
        let header = Header {
            format: plimsoll_sim::schedule::FORMAT,
            ..Header::arbitrary(&mut source).expect("an exhausted source yields defaults")
        };
        let mut schedule = Schedule::new(header, Vec::new());
        let mut ids = BTreeSet::new();
        while !source.is_empty() {
            let Ok(mut step) = Step::arbitrary(&mut source) else { break };
            keep_promised(&mut step);
            let has_client =
                |step: &Step| step.action.client().is_none_or(|client| client < schedule.header.clients);
            // Skipping a step skips its inner steps, too.
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

fn keep_promised(step: &mut Step) {
    step.faults.retain(|fault| !rows_of(fault).is_empty());
    if let Action::Rot { file, .. } = &mut step.action
        && !is_rot_promised(*file)
    {
        *file = FileClass::Metadata;
    }
    step.during.iter_mut().for_each(|during| keep_promised(&mut during.step));
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

#[test]
fn comments_stay_where_they_are() {
    let pull = Step::new(1, Action::Pull { client: 0 });
    let bare = Schedule::new(Header::new(7), vec![pull]).print();
    let (header, step) = bare.split_once('\n').unwrap();
    let text = format!("# A post-mortem.\n#\n#   indented\n{header}\n# why this step\n{step}# the end\n");
    let schedule = Schedule::parse(&text).unwrap();
    assert_eq!(schedule.comments.head, ["A post-mortem.", "", "  indented"]);
    assert_eq!(schedule.comments.before_step[&1], ["why this step"]);
    assert_eq!(schedule.comments.tail, ["the end"]);
    assert_eq!(schedule.print(), text);
}

#[test]
fn an_event_that_the_engine_does_not_have_is_refused_by_line_and_name() {
    let text = format!(
        "{}{}",
        Schedule::new(Header::new(7), Vec::new()).print(),
        r#"{"id":1,"action":{"pull":{"client":0}},"during":[{"at":{"told":{"event":"compacted","nth":1}},"step":{"id":2,"action":"remote_prune"}}]}"#
    );
    let error = Schedule::parse(&text).unwrap_err().to_string();
    assert!(error.starts_with("line 2, "), "{error}");
    assert!(
        error.ends_with("field `during[0].at.told.event`: the engine has no event `compacted`"),
        "{error}"
    );
}

#[test]
fn a_fault_that_nothing_is_promised_about_is_refused_by_line_and_field() {
    let text = format!(
        "{}{}",
        Schedule::new(Header::new(7), Vec::new()).print(),
        r#"{"id":1,"action":{"pull":{"client":0}},"faults":[{"disk":{"file":"metadata","nth":1,"error":"sync_drops","lasts":"once"}}]}"#
    );
    let error = Schedule::parse(&text).unwrap_err().to_string();
    assert!(error.starts_with("line 2, field `faults[0]`: the atlas has no promise"), "{error}");
}
