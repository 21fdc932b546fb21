//! The events of a history as rows, each with a line of English. Each row belongs to a lane. Consecutive
//! writes to one file share a row.
//!
//! Guarantees: every event is in exactly one row, in order, except that the end of a step has no row. Not in
//! this module: layout.

use std::borrow::Cow;

use crate::fault::atlas::FaultKind;
use crate::fault::{FileClass, OperationKind};
use crate::text::counted;
use crate::world::trace::{Event, Lane, Verb};

const WRITE: Verb = Verb::Operation(OperationKind::Write);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The index of its first event.
    pub first: usize,
    /// The number of its events.
    pub count: usize,
    /// The lane of its events.
    pub lane: Lane,
    /// The text of the line.
    pub text: String,
    /// The emphasis of the line.
    pub mark: Mark,
}

/// The emphasis of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Plain,
    /// The start of a step or of the heal.
    Step,
    /// An injected fault, or its consequence.
    Fault,
    /// A planned fault that was not reached.
    Missed,
    /// A broken invariant.
    Violation,
}

pub fn rows(events: &[Event]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut first = 0;
    for run in events.chunk_by(are_one) {
        let (lane, mark) = (run[0].lane, mark(&run[0]));
        // A step ends where the next one starts, so this event needs no row.
        if run[0].verb != Verb::EndOfStep {
            rows.push(Row { first, count: run.len(), lane, text: text(run), mark });
        }
        first += run.len();
    }
    rows
}

/// Consecutive writes to one file form one row.
fn are_one(one: &Event, next: &Event) -> bool {
    one.verb == WRITE && (one.lane, one.verb, &one.place) == (next.lane, next.verb, &next.place)
}

fn mark(event: &Event) -> Mark {
    match (event.lane, event.verb) {
        (Lane::Verdict, _) => Mark::Violation,
        (_, Verb::NeverReached) => Mark::Missed,
        (_, Verb::Step | Verb::Heal) => Mark::Step,
        (_, Verb::Fault | Verb::Injected(_) | Verb::CutOff) => Mark::Fault,
        _ => Mark::Plain,
    }
}

fn text(run: &[Event]) -> String {
    let event = &run[0];
    let number = |index: usize| event.numbers.get(index).copied().unwrap_or(0);
    let place = short(&event.place);
    match (event.lane, event.verb) {
        (_, Verb::Step) => format!("step {}: {place}", number(0)),
        (_, Verb::NeverReached) => format!("never reached: {place}"),
        (_, Verb::StepInside) => format!("meanwhile, step {}: {place}", number(0)),
        (_, Verb::EndOfStepInside) => format!("end of step {}", number(0)),
        (Lane::Verdict, _) | (_, Verb::Fault) => event.place.clone(),
        (_, WRITE) => {
            let bytes = run.iter().map(|event| event.byte_count as u64).sum();
            let times = if run.len() > 1 { format!(" ×{}", run.len()) } else { String::new() };
            format!("write {place}{times}, {}", size(bytes))
        }
        (_, Verb::Operation(OperationKind::Truncate)) => format!("truncate {place} to {}", size(number(0))),
        (_, Verb::Injected(FaultKind::Kill)) => "the process is killed; its writes are still there".into(),
        (_, Verb::Injected(FaultKind::PowerLoss)) => {
            format!("the power fails; {} of {} unsynced operations survive", number(0), number(1))
        }
        (_, Verb::Restart) => format!("the machine restarts, {} operations unsynced", number(0)),
        (_, Verb::Request) => {
            let body = if event.byte_count > 0 {
                format!(", {}", size(event.byte_count as u64))
            } else {
                String::new()
            };
            format!("client {} → {place}{body}", number(0))
        }
        (_, Verb::Response) => format!("{} ← {place}, {}", number(0), size(event.byte_count as u64)),
        (_, Verb::StandsAt) => format!("at generation {}, frame {}", number(0), number(1)),
        (_, Verb::Transaction) => {
            format!("transaction of {}: {place}", counted(number(0), "write"))
        }
        _ => {
            let text = format!("{} {place}", event.verb.name());
            text.trim_end().to_owned()
        }
    }
}

/// The role of the file, if the whole place is a file's path. A path inside a sentence stays as it is.
pub fn short(place: &str) -> Cow<'_, str> {
    match FileClass::of(place) {
        FileClass::Any => Cow::Borrowed(place),
        class => Cow::Owned(class.to_string()),
    }
}

/// A number of bytes in a readable unit.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
