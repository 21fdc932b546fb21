//! A history as an HTML page. It has lanes side by side, filters, details on a click, and plots. After each
//! step it shows the data that a power loss would remove.
//!
//! Guarantees: the page is a single file and makes no network requests. The content of the history cannot
//! end the script that contains it.
//!
//! Not in this module: the interpretation of the data. The template's JavaScript does that.

use serde::Serialize;

use super::rows::{Mark, Row, rows};
use super::timeline::in_words;
use crate::fault::Fault;
use crate::schedule::{Schedule, Step};
use crate::world::run::Outcome;
use crate::world::trace::{Lane, Verb};

const TEMPLATE: &str = include_str!("page.html");
/// The beginnings of the comments that hold a schedule's finding.
pub const FINDING: [&str; 2] = ["violation: ", "signature: "];
/// The placeholder for the history in the template.
const PLACE: &str = "\"HISTORY\"";

/// The text above the lanes.
#[derive(Debug, Clone, Serialize)]
pub struct Heading {
    /// The seed or the file.
    pub source: String,
    /// The command line that replays the history, ready to paste.
    pub replay: String,
    /// The command line that shrinks the schedule.
    pub shrink: String,
}

/// The page of a history whose events were kept.
pub fn page(heading: &Heading, schedule: &Schedule, outcome: &Outcome) -> String {
    let history = History::new(heading, schedule, outcome);
    let json = serde_json::to_string(&history).expect("plain data serializes");
    // Inside a script, only the start of a tag could end it.
    TEMPLATE.replacen(PLACE, &json.replace('<', "\\u003c"), 1)
}

#[derive(Serialize)]
struct History<'a> {
    heading: &'a Heading,
    violation: Option<String>,
    signature: Option<String>,
    hash: String,
    comments: Vec<&'a String>,
    schedule: String,
    clients: u8,
    sections: Vec<Section>,
    events: Vec<PageEvent<'a>>,
    plots: Vec<Plot>,
    /// The events at which a fault was injected, by index.
    fault_events: Vec<usize>,
    violation_event: Option<usize>,
}

/// Index, time, lane, verb, place, numbers, bytes, hash. A tuple keeps thousands of events small.
type PageEvent<'a> = (u64, u64, String, &'static str, &'a str, &'a [u64], usize, String);

/// A step, the time before the first step, or the heal.
#[derive(Serialize)]
struct Section {
    title: String,
    step: Option<u32>,
    faults: Vec<PageFault>,
    is_violated: bool,
    at_stake: Vec<String>,
    rows: Vec<PageRow>,
}

#[derive(Serialize)]
struct PageFault {
    text: String,
    is_reached: bool,
}

#[derive(Serialize)]
struct PageRow {
    first: usize,
    count: usize,
    lane: &'static str,
    client: Option<u8>,
    text: String,
    mark: &'static str,
}

/// Lines over the indices of events.
#[derive(Serialize)]
struct Plot {
    title: String,
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    name: String,
    points: Vec<(u64, u64)>,
}

impl<'a> History<'a> {
    fn new(heading: &'a Heading, schedule: &'a Schedule, outcome: &'a Outcome) -> Self {
        let rows = rows(&outcome.events);
        let marked = |mark| rows.iter().filter(move |row| row.mark == mark).map(|row| row.first);
        Self {
            heading,
            violation: outcome.violation.as_ref().map(ToString::to_string),
            signature: outcome.violation.as_ref().map(|violation| violation.signature().to_string()),
            hash: format!("{:016x}", outcome.hash),
            // The page shows the verdict anyway.
            comments: schedule.comments.head.iter().filter(|line| !is_of_verdict(line)).collect(),
            schedule: schedule.print(),
            clients: schedule.header.clients,
            fault_events: rows
                .iter()
                .filter(|row| row.mark == Mark::Fault && outcome.events[row.first].verb == Verb::Fault)
                .map(|row| row.first)
                .collect(),
            violation_event: marked(Mark::Violation).next(),
            sections: sections(schedule, outcome, &rows),
            events: outcome
                .events
                .iter()
                .map(|event| {
                    let hash = format!("{:016x}", event.bytes_hash);
                    let lane = event.lane.to_string();
                    let numbers = event.numbers.as_slice();
                    (
                        event.index,
                        event.time_ms,
                        lane,
                        event.verb.name(),
                        event.place.as_str(),
                        numbers,
                        event.byte_count,
                        hash,
                    )
                })
                .collect(),
            plots: plots(schedule, outcome),
        }
    }
}

fn is_of_verdict(comment: &str) -> bool {
    FINDING.iter().any(|prefix| comment.starts_with(prefix))
}

fn sections(schedule: &Schedule, outcome: &Outcome, rows: &[Row]) -> Vec<Section> {
    let mut sections = vec![Section { title: "before the first step".into(), ..Section::empty() }];
    for row in rows {
        let event = &outcome.events[row.first];
        match (row.mark, event.verb) {
            (Mark::Step, Verb::Step) => {
                let id = event.numbers.first().map(|id| *id as u32);
                sections.push(Section::of_step(schedule, outcome, id, &event.place));
            }
            (Mark::Step, _) => sections.push(Section { title: event.place.clone(), ..Section::empty() }),
            (Mark::Missed, _) => {}
            _ => {
                if let Some(section) = sections.last_mut() {
                    section.is_violated |= row.mark == Mark::Violation;
                    section.rows.push(PageRow::of(row));
                }
            }
        }
    }
    sections
}

impl Section {
    fn empty() -> Self {
        Self {
            title: String::new(),
            step: None,
            faults: Vec::new(),
            is_violated: false,
            at_stake: Vec::new(),
            rows: Vec::new(),
        }
    }

    fn of_step(schedule: &Schedule, outcome: &Outcome, id: Option<u32>, title: &str) -> Self {
        let step = schedule.steps.iter().find(|step| Some(step.id) == id);
        let faults = step.map(Step::all).unwrap_or_default().into_iter().flat_map(|carried| {
            let inside =
                if Some(carried.id) == id { String::new() } else { format!("in step {}: ", carried.id) };
            outcomes_of(carried, outcome)
                .into_iter()
                .map(move |(fault, is_reached)| PageFault { text: format!("{inside}{fault}"), is_reached })
        });
        let snapshot = outcome.snapshots.steps.iter().find(|snapshot| Some(snapshot.step) == id);
        let at_stake = snapshot.map_or(&[][..], |snapshot| &snapshot.clients).iter().enumerate().map(
            |(number, client)| match (client.at_stake.is_empty(), client.is_running) {
                (true, _) => format!("client {number}: everything is durable"),
                (false, true) => format!("client {number}: {}", in_words(client)),
                (false, false) => format!("client {number} (not running): {}", in_words(client)),
            },
        );
        Self {
            title: title.to_owned(),
            step: id,
            faults: faults.collect(),
            at_stake: at_stake.collect(),
            ..Self::empty()
        }
    }
}

/// Each planned fault of a step, and whether it was injected. If the step did not run, no fault was injected.
fn outcomes_of<'a>(step: &'a Step, outcome: &Outcome) -> Vec<(&'a Fault, bool)> {
    let is_run = !outcome.fault_outcomes.not_run.contains(&step.id);
    let mut unreached: Vec<&Fault> = outcome
        .fault_outcomes
        .unreached
        .iter()
        .filter(|(id, _)| *id == step.id)
        .map(|(_, fault)| fault)
        .collect();
    let fault_outcomes = step.faults.iter().map(|fault| {
        let missed = unreached.iter().position(|unreached| *unreached == fault);
        missed.map(|index| unreached.remove(index));
        (fault, is_run && missed.is_none())
    });
    fault_outcomes.collect()
}

impl PageRow {
    fn of(row: &Row) -> Self {
        let (lane, client) = match row.lane {
            Lane::World | Lane::Verdict => ("verdict", None),
            Lane::Application(number) => ("application", Some(number)),
            Lane::Client(number) => ("files", Some(number)),
            Lane::Network => ("network", None),
            Lane::Remote => ("remote", None),
        };
        let mark = match row.mark {
            Mark::Plain | Mark::Step | Mark::Missed => "",
            Mark::Fault => "fault",
            Mark::Violation => "violation",
        };
        Self { first: row.first, count: row.count, lane, client, text: row.text.clone(), mark }
    }
}

fn plots(schedule: &Schedule, outcome: &Outcome) -> Vec<Plot> {
    let snapshots = &outcome.snapshots;
    let of_remote = |value: &dyn Fn((u64, u64)) -> u64| {
        snapshots
            .steps
            .iter()
            .map(|snapshot| (snapshot.event_count, value(snapshot.remote)))
            .collect::<Vec<_>>()
    };
    let of_client = |client: u8, value: &dyn Fn(&crate::world::snapshot::MetadataSnapshot) -> u64| {
        let versions = snapshots.metadata.iter().filter(|version| version.client == client);
        versions.map(|version| (version.event_count, value(version))).collect::<Vec<_>>()
    };
    let progress = |title: &str, part: fn((u64, u64)) -> u64| {
        let mut lines = vec![Line { name: "remote".into(), points: of_remote(&part) }];
        lines.extend((0..schedule.header.clients).map(|client| Line {
            name: format!("client {client}"),
            points: of_client(client, &|version| part(version.progress)),
        }));
        Plot { title: title.into(), lines }
    };
    let mut plots = vec![progress("Generation", |at| at.0), progress("Frames in the generation", |at| at.1)];
    plots.extend((0..schedule.header.clients).map(|client| Plot {
        title: format!("Client {client}'s watermarks, in frames"),
        lines: vec![
            Line { name: "Draft".into(), points: of_client(client, &|version| version.draft_watermark) },
            Line { name: "Synced".into(), points: of_client(client, &|version| version.synced_watermark) },
        ],
    }));
    plots
}
