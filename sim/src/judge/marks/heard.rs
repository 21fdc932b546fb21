//! Events of the engine, as marks look at them.

use plimsoll_engine::events::EventName;

/// One event of the engine's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its name.
    pub name: EventName,
    /// Its fields, `name=value` separated by spaces.
    pub fields: String,
    /// How many events the trace had when it was said.
    pub event_count: u64,
}
