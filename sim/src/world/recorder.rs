//! The record of a history: its trace, counts, marks, fault outcomes and snapshots.
//!
//! The recorder makes no decisions. It records the same whether or not the trace keeps its events.

use std::mem::take;

use super::client::Client;
use super::disk::CrashReport;
use super::fault_outcomes::FaultOutcomes;
use super::listener::Inbox;
use super::snapshot::{Snapshot, Snapshots};
use super::trace::{Lane, SharedTrace, Verb};
use crate::fault::NetworkFaultKind;
use crate::fault::atlas::{self, FaultKind, Row, Target};
use crate::fault::{CrashKind, Fault};
use crate::judge::MetadataVersion;
use crate::judge::counts::Counts;
use crate::judge::marks::{self, CrashSite, FinishedStep, ReportedEvent, WindowId};
use crate::lock::lock;
use crate::schedule::workload::Writer;
use crate::schedule::{During, Step};

pub(super) struct Recorder {
    pub counts: Counts,
    pub fault_outcomes: FaultOutcomes,
    /// Empty unless the trace keeps its events.
    pub snapshots: Snapshots,
    trace: SharedTrace,
    /// Engine events that have not been collected yet.
    inbox: Inbox,
}

impl Recorder {
    pub fn new(trace: SharedTrace, inbox: Inbox) -> Self {
        Self {
            counts: Counts { histories: 1, ..Counts::default() },
            fault_outcomes: FaultOutcomes::default(),
            snapshots: Snapshots::default(),
            trace,
            inbox,
        }
    }

    pub fn record(&self, lane: Lane, verb: Verb, place: &str, numbers: &[u64]) {
        self.record_bytes(lane, verb, place, numbers, &[]);
    }

    pub fn record_bytes(&self, lane: Lane, verb: Verb, place: &str, numbers: &[u64], bytes: &[u8]) {
        lock(&self.trace).record(lane, verb, place, numbers, bytes);
    }

    /// Collects the events that a client's engine has reported since the last call.
    pub fn collect_events(&mut self, client: u8) -> Vec<ReportedEvent> {
        let reported = take(&mut *lock(&self.inbox));
        for event in &reported {
            self.record(Lane::Client(client), Verb::Engine(event.name), &event.fields, &[]);
            self.counts.marks.reach_event(event.name);
        }
        reported
    }

    /// Counts an injected fault and returns its row of the atlas.
    ///
    /// # Panics
    /// If the atlas has no such row. No fault is injected without a promise about it.
    pub fn note_injected(&mut self, kind: FaultKind, target: Target) -> &'static Row {
        let row = atlas::row(kind, target).unwrap_or_else(|| panic!("the atlas has no row {kind}/{target}"));
        *self.counts.injected.entry(row.name()).or_default() += 1;
        match kind {
            FaultKind::Network(NetworkFaultKind::LoseRequest) => self.counts.requests_lost += 1,
            FaultKind::Network(NetworkFaultKind::LoseResponse) => self.counts.responses_lost += 1,
            _ => {}
        }
        row
    }

    /// Adds the faults of a step that were not reached.
    pub fn add_unreached_faults(&mut self, step: u32, faults: Vec<Fault>) {
        for fault in faults {
            self.count_unreached(step, &fault.to_string());
            self.fault_outcomes.unreached.push((step, fault));
        }
    }

    /// Adds steps that were to run inside another step, at moments that were not reached.
    pub fn add_unreached_steps(&mut self, during: &[During]) {
        for step in during.iter().flat_map(|during| during.step.all()) {
            self.add_skipped_step(step);
        }
    }

    /// Adds a step that was to run inside another step, but did not run.
    pub fn add_skipped_step(&mut self, step: &Step) {
        self.count_unreached(step.id, &step.to_string());
        self.fault_outcomes.not_run.push(step.id);
    }

    fn count_unreached(&mut self, step: u32, what: &str) {
        self.record(Lane::World, Verb::NeverReached, what, &[u64::from(step)]);
        self.counts.faults_unreached += 1;
    }

    /// Counts a crash of a client in a step, notes the marks of the crash windows that contain the crash, and
    /// returns these windows.
    pub fn note_crash(&mut self, step: u32, report: CrashReport, site: &CrashSite<'_>) -> Vec<WindowId> {
        let crash = match report.kind {
            CrashKind::Kill => {
                self.counts.kills += 1;
                FaultKind::Kill
            }
            CrashKind::PowerLoss { .. } => {
                self.counts.power_losses += 1;
                FaultKind::PowerLoss
            }
        };
        self.fault_outcomes.crashes.push((step, report));
        let windows = marks::WINDOWS.iter().filter(|window| (window.holds)(site));
        let reached = windows.map(|window| {
            self.counts.marks.reach_window(crash, window);
            window.id
        });
        reached.collect()
    }

    /// Notes the marks for the shapes of a committed transaction's statements.
    pub fn note_shapes(&mut self, writer: Writer, shapes: impl IntoIterator<Item = &'static str>) {
        for shape in shapes {
            self.counts.marks.reach_shape(writer.into(), shape);
        }
    }

    /// Notes the marks that a finished step has reached.
    pub fn note_marks(&mut self, done: &FinishedStep<'_>) {
        for fault in marks::FAULTS.iter().filter(|fault| (fault.holds)(done)) {
            self.counts.marks.reach_fault(fault);
        }
    }

    /// Takes a snapshot for the timeline page, if events are kept.
    pub fn snapshot(&mut self, step: u32, remote: (u64, u64), clients: &[Client]) {
        if self.keeps_events() {
            let event_count = lock(&self.trace).event_count();
            self.snapshots.steps.push(Snapshot::of(event_count, step, remote, clients));
        }
    }

    /// Keeps the claims of a client's metadata versions, if events are kept.
    pub fn observe_metadata(&mut self, client: u8, versions: &[MetadataVersion]) {
        if self.keeps_events() {
            self.snapshots.observe_metadata(client, versions);
        }
    }

    fn keeps_events(&self) -> bool {
        lock(&self.trace).keeps_events()
    }
}
