//! The context of a running step: its pending faults, and what has happened in the step so far.
//!
//! Every function that takes part in the step receives the context as an argument. A step inside another step
//! has its own context, with the few facts that it needs about the steps around it.

use plimsoll_engine::events::EventName;

use crate::fault::atlas::{FaultKind, Row};
use crate::fault::{Fault, RequestPlace, Route};
use crate::judge::marks::{ReportedEvent, StepEnd, WindowId};
use crate::schedule::{ActionKind, During, EngineEvent, Step, Wait};

#[derive(Debug, Default)]
pub(super) struct StepContext {
    pub id: u32,
    /// Faults that have not been injected yet, except those that are armed in a disk.
    pub pending: Vec<Fault>,
    /// Rows of the atlas whose faults have been injected.
    pub injected: Vec<&'static Row>,
    /// Steps that are still to run inside this one.
    pub during: Vec<During>,
    /// The engine's operations in this step. The last one may still be running.
    pub operations: Vec<OperationLog>,
    /// The client whose engine runs an operation in this step.
    pub operating: Option<u8>,
    /// How often the step's operations have suspended.
    pub suspensions: u32,
    /// The suspensions that count towards the maximum: those that did not wait for a chunk of a body.
    pub suspensions_counted: u32,
    /// The actions of the steps that have run inside this one.
    pub inside: Vec<ActionKind>,
    /// The crash windows in which the step's client crashed.
    pub windows: Vec<WindowId>,
    /// How this step's own action ended.
    pub end: StepEnd,
    /// The moments that the engine's events have reached since the last suspension.
    moments_reached: Vec<Wait>,
    /// The clients whose engines run operations in the steps around this one.
    operating_around: Vec<u8>,
    /// How often the remote was pruned or restored in the steps around this one.
    remote_forgot_around: usize,
    /// Whether two servers have answered in the steps around this one.
    forked_around: bool,
}

/// The log of one engine operation: the events that the engine reported, and the requests that it sent.
#[derive(Debug, Default)]
pub(super) struct OperationLog {
    pub is_opening: bool,
    pub reported: Vec<ReportedEvent>,
    pub requests: Vec<RequestPlace>,
}

impl OperationLog {
    /// Whether the engine has reported an event with this name.
    pub fn has_reported(&self, name: EventName) -> bool {
        self.reported.iter().any(|reported| reported.name == name)
    }

    /// Whether the operation has requested an export.
    pub fn asked_for_export(&self) -> bool {
        self.requests.iter().any(|place| place.route == Route::Export)
    }
}

impl StepContext {
    /// The context of a step that starts. The caller adds the faults that are not armed in a disk.
    pub fn new(step: &Step) -> Self {
        Self { id: step.id, during: step.during.clone(), ..Self::default() }
    }

    /// The context of the heal, which runs as a step without faults.
    pub fn of_heal(id: u32) -> Self {
        Self { id, ..Self::default() }
    }

    /// The context of a step that starts inside this one.
    pub fn inner(&self, step: &Step) -> Self {
        Self {
            operating_around: self.operating_around.iter().copied().chain(self.operating).collect(),
            remote_forgot_around: self.times_remote_forgot(),
            forked_around: self.was_forked(),
            ..Self::new(step)
        }
    }

    /// Removes the first pending fault that `matching` accepts, and returns the result of `matching`.
    pub fn take_pending<T>(&mut self, matching: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let index = self.pending.iter().position(|fault| matching(fault).is_some())?;
        matching(&self.pending.remove(index))
    }

    /// Whether this client's engine is running an operation, in this step or in one around it.
    pub fn is_operating(&self, client: u8) -> bool {
        self.operating == Some(client) || self.operating_around.contains(&client)
    }

    /// Whether a fault of this kind was injected in the step so far.
    pub fn has_injected(&self, kind: FaultKind) -> bool {
        self.injected.iter().any(|row| row.kind == kind)
    }

    /// How often the remote was pruned, restored or replaced by a copy, by steps inside this one and inside the steps around it.
    pub fn times_remote_forgot(&self) -> usize {
        let forgets = |action: &&ActionKind| {
            use ActionKind::{RemoteFork, RemoteJoin, RemotePrune, RemoteRestore};
            matches!(action, RemotePrune | RemoteRestore | RemoteFork | RemoteJoin)
        };
        let inside = self.inside.iter().filter(forgets);
        self.remote_forgot_around + inside.count()
    }

    /// Whether a second server was started or shut down, by steps inside this one or inside the steps around it.
    pub fn was_forked(&self) -> bool {
        let is_of_fork =
            |action: &ActionKind| matches!(action, ActionKind::RemoteFork | ActionKind::RemoteJoin);
        self.forked_around || self.inside.iter().any(is_of_fork)
    }

    /// All events that the engine has reported in this step.
    pub fn reported(&self) -> impl Iterator<Item = &ReportedEvent> {
        self.operations.iter().flat_map(|operation| &operation.reported)
    }

    /// The number of the events in [`reported`](Self::reported) that the engine reported while it was
    /// opening. They come first, because an engine opens before it runs any other operation.
    pub fn reported_while_opening(&self) -> usize {
        let openings = self.operations.iter().take_while(|operation| operation.is_opening);
        openings.map(|operation| operation.reported.len()).sum()
    }

    /// The operation that is running or that ended last.
    pub fn operation(&self) -> Option<&OperationLog> {
        self.operations.last()
    }

    fn operation_mut(&mut self) -> &mut OperationLog {
        self.operations.last_mut().expect("an operation has started in this step")
    }

    /// Adds events that the engine has reported, and the moments that they reach.
    pub fn add_events(&mut self, reported: Vec<ReportedEvent>) {
        for reported in reported {
            if !self.during.is_empty() {
                let earlier = self.reported().filter(|earlier| earlier.name == reported.name).count();
                self.moments_reached
                    .push(Wait::Reported { event: EngineEvent(reported.name), nth: earlier as u32 + 1 });
            }
            self.operation_mut().reported.push(reported);
        }
    }

    /// Takes the moments that the engine's events have reached since the last suspension.
    pub fn take_moments_reached(&mut self) -> Vec<Wait> {
        std::mem::take(&mut self.moments_reached)
    }

    /// Adds a request of the running operation and returns its place in the step.
    pub fn add_request(&mut self, route: Route) -> RequestPlace {
        let requests = self.operations.iter().flat_map(|operation| &operation.requests);
        let nth = requests.filter(|earlier| earlier.route == route).count() as u32 + 1;
        let place = RequestPlace { route, nth };
        self.operation_mut().requests.push(place);
        place
    }

    /// The last request of the running operation.
    pub fn last_request(&self) -> Option<RequestPlace> {
        self.operation()?.requests.last().copied()
    }
}
