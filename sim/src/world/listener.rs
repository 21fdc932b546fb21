//! Collects the engine's `tracing` events on the thread of a history.
//!
//! All other events, most of them the core's, are declined once per call site and cost nothing after that.

use std::fmt::{self, Write as _};
use std::sync::{Arc, LazyLock, Mutex};

use plimsoll_engine::events::{EventName, TARGET};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber};

use crate::judge::marks::ReportedEvent;
use crate::lock::lock;
use crate::world::trace::{SharedTrace, Trace};

/// Events that have not been collected yet.
pub type Inbox = Arc<Mutex<Vec<ReportedEvent>>>;

/// Two listeners that are never used and never dropped. `tracing` caches the interest in a call site. While
/// at most one subscriber is alive, it asks only the subscriber of the current thread. A thread without a
/// subscriber would then disable the call site for all threads. With at least two subscribers alive,
/// `tracing` asks all of them.
static ANCHORS: LazyLock<[Dispatch; 2]> = LazyLock::new(|| {
    [(); 2].map(|()| {
        let trace = Arc::new(Mutex::new(Trace::new(false)));
        Dispatch::new(Listener { inbox: Inbox::default(), trace })
    })
});

/// A subscriber that puts the engine's events into an inbox.
pub struct Listener {
    inbox: Inbox,
    trace: SharedTrace,
}

impl Listener {
    /// Creates a listener and the inbox that it fills. The listener stamps each event with the trace's event
    /// count.
    pub fn new(trace: SharedTrace) -> (Self, Inbox) {
        LazyLock::force(&ANCHORS);
        let inbox = Inbox::default();
        (Self { inbox: inbox.clone(), trace }, inbox)
    }
}

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == TARGET
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if !self.enabled(event.metadata()) {
            return;
        }
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        let event_count = lock(&self.trace).event_count();
        let name =
            EventName::named(event.metadata().name()).expect("the engine emits the events that it lists");
        lock(&self.inbox).push(ReportedEvent { name, fields: fields.0, event_count });
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// Formats the fields of an event. The field `message` is skipped, because it repeats the event's name.
struct Fields(String);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            return;
        }
        let separator = if self.0.is_empty() { "" } else { " " };
        write!(self.0, "{separator}{}={value:?}", field.name()).expect("writing to a string does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_engine_events_are_collected_with_their_fields() {
        let (listener, inbox) = Listener::new(Arc::new(Mutex::new(Trace::new(false))));
        tracing::subscriber::with_default(listener, || {
            tracing::event!(name: "nothing to pull", target: TARGET, tracing::Level::DEBUG, { times = 2, who = "a b" }, "bell");
            tracing::info!(times = 3, "noise");
        });
        assert_eq!(
            *lock(&inbox),
            [ReportedEvent {
                name: EventName::NothingToPull,
                fields: "times=2 who=a b".into(),
                event_count: 0
            }]
        );
    }

    /// The call site is first reached on a thread without a subscriber, while one listener is alive.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test needs a second thread")]
    fn a_call_site_first_reached_on_a_thread_without_a_listener_is_still_collected() {
        fn ring() {
            tracing::event!(name: "nothing to pull", target: TARGET, tracing::Level::DEBUG, "bell");
        }
        let (listener, inbox) = Listener::new(Arc::new(Mutex::new(Trace::new(false))));
        tracing::subscriber::with_default(listener, || {
            std::thread::spawn(ring).join().expect("the thread does not panic");
            ring();
        });
        assert_eq!(lock(&inbox).len(), 1);
    }
}
