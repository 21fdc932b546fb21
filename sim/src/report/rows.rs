//! The events of a history as lines in English. Each line belongs to a lane; consecutive writes to one file
//! share a line.
//!
//! Guarantees: every event is in exactly one row, in order. Absent: layout.

use std::borrow::Cow;

use crate::fault::FileClass;
use crate::text::counted;
use crate::world::trace::{Event, Lane};

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
        if run[0].verb != "end of step" {
            rows.push(Row { first, count: run.len(), lane, text: text(run), mark });
        }
        first += run.len();
    }
    rows
}

/// Consecutive writes to one file form one row.
fn are_one(one: &Event, next: &Event) -> bool {
    one.verb == "write" && (one.lane, one.verb, &one.place) == (next.lane, next.verb, &next.place)
}

fn mark(event: &Event) -> Mark {
    match (event.lane, event.verb) {
        (Lane::Verdict, _) => Mark::Violation,
        (Lane::World, "never reached") => Mark::Missed,
        (Lane::World, "step" | "heal") => Mark::Step,
        (
            _,
            "fault" | "kill" | "power loss" | "cut off" | "request lost" | "response lost" | "write fails"
            | "partial write" | "no space" | "read fails" | "short read" | "sync fails" | "sync drops"
            | "truncate fails" | "open fails" | "rename fails" | "sync dir fails",
        ) => Mark::Fault,
        _ => Mark::Plain,
    }
}

fn text(run: &[Event]) -> String {
    let event = &run[0];
    let number = |index: usize| event.numbers.get(index).copied().unwrap_or(0);
    let place = short(&event.place);
    match (event.lane, event.verb) {
        (Lane::World, "step") => format!("step {}: {place}", number(0)),
        (Lane::World, "never reached") => format!("never reached: {place}"),
        (Lane::World, "step inside") => format!("meanwhile, step {}: {place}", number(0)),
        (Lane::World, "end of step inside") => format!("end of step {}", number(0)),
        (Lane::Verdict, _) | (_, "fault") => event.place.clone(),
        (_, "write") => {
            let bytes = run.iter().map(|event| event.byte_count as u64).sum();
            let times = if run.len() > 1 { format!(" ×{}", run.len()) } else { String::new() };
            format!("write {place}{times}, {}", size(bytes))
        }
        (_, "truncate") => format!("truncate {place} to {}", size(number(0))),
        (_, "kill") => "the process is killed; its writes are still there".into(),
        (_, "power loss") => {
            format!("the power fails; {} of {} unsynced operations survive", number(0), number(1))
        }
        (_, "restart") => format!("the machine restarts, {} operations unsynced", number(0)),
        (Lane::Network, "request") => {
            let body = if event.byte_count > 0 {
                format!(", {}", size(event.byte_count as u64))
            } else {
                String::new()
            };
            format!("client {} → {place}{body}", number(0))
        }
        (Lane::Remote, "response") => format!("{} ← {place}, {}", number(0), size(event.byte_count as u64)),
        (Lane::Remote, "stands at") => format!("at generation {}, frame {}", number(0), number(1)),
        (Lane::Application(_), "transaction") => {
            format!("transaction of {}: {place}", counted(number(0), "write"))
        }
        _ => {
            let text = format!("{} {place}", event.verb);
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
