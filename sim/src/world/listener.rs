//! Hears the engine's `tracing` events, on the one thread of a history.
//!
//! Everything else that is traced, by the core above all, is declined once and for all at its call site and costs nothing.

use std::fmt::{self, Write as _};
use std::sync::{Arc, LazyLock, Mutex};

use plimsoll_engine::events::{EventName, TARGET};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber};

use crate::judge::marks::Heard;
use crate::lock::lock;
use crate::world::trace::{SharedTrace, Trace};

/// What was heard since it was last asked for.
pub type Inbox = Arc<Mutex<Vec<Heard>>>;

/// Two listeners that nobody listens to, and that never go. What `tracing` caches about a call site it asks of all subscribers that are alive;
/// only while there is no more than one it asks the current thread's alone, and would then, on a thread without one, have the call
/// site silent for everybody.
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
    /// A listener, and the inbox that it fills; it looks at the trace to tell when something was said.
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
        lock(&self.inbox).push(Heard { name, fields: fields.0, event_count });
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// Writes fields down; the message repeats the name.
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
        write!(self.0, "{separator}{}={value:?}", field.name()).expect("a string takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_engines_events_are_heard_with_their_fields() {
        let (listener, inbox) = Listener::new(Arc::new(Mutex::new(Trace::new(false))));
        tracing::subscriber::with_default(listener, || {
            tracing::event!(name: "nothing to pull", target: TARGET, tracing::Level::DEBUG, { times = 2, who = "a b" }, "bell");
            tracing::info!(times = 3, "noise");
        });
        assert_eq!(
            *lock(&inbox),
            [Heard { name: EventName::NothingToPull, fields: "times=2 who=a b".into(), event_count: 0 }]
        );
    }

    /// The call site is first met on a thread that does not listen, while there is one listener.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "it is about threads")]
    fn what_a_silent_thread_has_met_first_is_heard_all_the_same() {
        fn ring() {
            tracing::event!(name: "nothing to pull", target: TARGET, tracing::Level::DEBUG, "bell");
        }
        let (listener, inbox) = Listener::new(Arc::new(Mutex::new(Trace::new(false))));
        tracing::subscriber::with_default(listener, || {
            std::thread::spawn(ring).join().expect("nothing panics");
            ring();
        });
        assert_eq!(lock(&inbox).len(), 1);
    }
}
