//! An event of the engine, in the form that marks use.

use plimsoll_engine::events::EventName;

/// One event that the engine emitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedEvent {
    pub name: EventName,
    /// The fields as `name=value`, separated by spaces.
    pub fields: String,
    /// The number of trace events when this one was emitted.
    pub event_count: u64,
}
