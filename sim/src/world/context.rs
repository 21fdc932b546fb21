//! A step while it runs: its faults that have not struck yet, and what has happened in it so far.
//!
//! Everything that runs a step passes its context on explicitly. A step inside another has a context of its own, which knows what it
//! must about the steps around it.

use plimsoll_engine::events::EventName;

use crate::fault::atlas::Row;
use crate::fault::{Fault, RequestPlace, Route};
use crate::judge::marks::{Heard, StepEnd};
use crate::schedule::{During, EngineEvent, Step, Wait};

/// One running step.
#[derive(Debug, Default)]
pub(super) struct StepContext {
    /// Its id.
    pub id: u32,
    /// Faults that have not struck yet, without those that wait in a disk.
    pub pending: Vec<Fault>,
    /// Rows of the atlas that have struck.
    pub injected: Vec<&'static Row>,
    /// Steps that still have to run inside it.
    pub during: Vec<During>,
    /// The engine's operations in it, the last one perhaps still under way.
    pub operations: Vec<OperationLog>,
    /// The client whose engine is at work in it.
    pub operating: Option<u8>,
    /// How often its operations have suspended.
    pub suspensions: u32,
    /// How often they have suspended without waiting for a chunk of a body.
    pub suspensions_bounded: u32,
    /// The verbs of the steps that have run inside it.
    pub inside: Vec<&'static str>,
    /// The crash windows in which its client went down.
    pub windows: Vec<&'static str>,
    /// How its own action ended.
    pub end: StepEnd,
    /// Moments that have come since the last suspension because of what the engine reported.
    reported: Vec<Wait>,
    /// The clients that operate in the steps around it.
    operating_around: Vec<u8>,
    /// How often the remote lost part of its past in the steps around it.
    remote_forgot_around: usize,
}

/// One operation of an engine: what the engine has reported in it, and what it has asked for.
#[derive(Debug, Default)]
pub(super) struct OperationLog {
    /// Whether the operation opens the engine.
    pub is_opening: bool,
    /// The engine's events.
    pub heard: Vec<Heard>,
    /// Its requests.
    pub requests: Vec<RequestPlace>,
}

impl OperationLog {
    /// Whether the engine has reported an event of this name.
    pub fn has_heard(&self, name: EventName) -> bool {
        self.heard.iter().any(|heard| heard.name == name)
    }

    /// Whether it has asked for an export.
    pub fn asked_for_export(&self) -> bool {
        self.requests.iter().any(|place| place.route == Route::Export)
    }
}

impl StepContext {
    /// The context of a step that begins. The caller adds the faults that do not wait in a disk.
    pub fn new(step: &Step) -> Self {
        Self { id: step.id, during: step.during.clone(), ..Self::default() }
    }

    /// The context of the heal, which runs as a step without faults.
    pub fn of_heal(id: u32) -> Self {
        Self { id, ..Self::default() }
    }

    /// The context of a step that begins inside this one.
    pub fn inner(&self, step: &Step) -> Self {
        Self {
            operating_around: self.operating_around.iter().copied().chain(self.operating).collect(),
            remote_forgot_around: self.times_remote_forgot(),
            ..Self::new(step)
        }
    }

    /// Takes the first fault for which `matching` returns something.
    pub fn take_pending<T>(&mut self, matching: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let index = self.pending.iter().position(|fault| matching(fault).is_some())?;
        matching(&self.pending.remove(index))
    }

    /// Whether an operation of this client's engine is under way, in this step or in one around it.
    pub fn is_operating(&self, client: u8) -> bool {
        self.operating == Some(client) || self.operating_around.contains(&client)
    }

    /// How often the remote was pruned or restored by steps inside this one and inside those around it.
    pub fn times_remote_forgot(&self) -> usize {
        let inside = self.inside.iter().filter(|verb| matches!(**verb, "remote prune" | "remote restore"));
        self.remote_forgot_around + inside.count()
    }

    /// Everything that the engine has reported in this step.
    pub fn heard(&self) -> impl Iterator<Item = &Heard> {
        self.operations.iter().flat_map(|operation| &operation.heard)
    }

    /// The operation that is under way or ended last.
    pub fn operation(&self) -> Option<&OperationLog> {
        self.operations.last()
    }

    fn operation_mut(&mut self) -> &mut OperationLog {
        self.operations.last_mut().expect("an operation was begun")
    }

    /// Adds what the engine reports.
    pub fn hear(&mut self, heard: Vec<Heard>) {
        for heard in heard {
            if !self.during.is_empty() {
                let earlier = self.heard().filter(|earlier| earlier.name == heard.name).count();
                self.reported
                    .push(Wait::Reported { event: EngineEvent(heard.name), nth: earlier as u32 + 1 });
            }
            self.operation_mut().heard.push(heard);
        }
    }

    /// The moments that have come since the last suspension because of what the engine reported.
    pub fn take_reported(&mut self) -> Vec<Wait> {
        std::mem::take(&mut self.reported)
    }

    /// Adds a request of the operation under way; its place in the step.
    pub fn add_request(&mut self, route: Route) -> RequestPlace {
        let requests = self.operations.iter().flat_map(|operation| &operation.requests);
        let nth = requests.filter(|earlier| earlier.route == route).count() as u32 + 1;
        let place = RequestPlace { route, nth };
        self.operation_mut().requests.push(place);
        place
    }

    /// The last request of the operation under way.
    pub fn last_request(&self) -> Option<RequestPlace> {
        self.operation()?.requests.last().copied()
    }
}
