//! The engine's `tracing` events: one at every decision point, with stable names and fields.
//!
//! They are of target [`TARGET`] and level DEBUG; the event's name is its metadata's name and its message. [`EVENTS`] lists them all, and
//! the engine does not compile with an event that is not in the list. Whoever reads them (the simulator turns them into marks) can rely
//! on names and fields; a new version may add some.

/// The target of every event here.
pub const TARGET: &str = "plimsoll::engine";

/// One event that the engine emits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Its name.
    pub name: &'static str,
    /// The names of its fields, separated by spaces.
    pub fields: &'static str,
    /// When it is emitted.
    pub meaning: &'static str,
}

macro_rules! events {
    ($($name:literal, $fields:literal, $meaning:literal;)*) => {
        /// All of them.
        ///
        /// | name | fields | when |
        /// |---|---|---|
        $(#[doc = concat!("| `", $name, "` | ", $fields, " | ", $meaning, " |")])*
        pub const EVENTS: &[Event] = &[$(Event { name: $name, fields: $fields, meaning: $meaning }),*];
    };
}

events! {
    "open begins", "", "before the metadata is read";
    "identity chosen", "client", "a client without files begins";
    "resume", "phase", "metadata was found and read";
    "open ends", "", "the database was in step with the remote at least once";
    "bootstrap begins", "generation", "the snapshot of a generation is about to be downloaded";
    "bootstrap ends", "bytes", "the snapshot is in both databases";
    "dirty reset", "frames", "Synced is about to be cut back to the frames that the metadata names";
    "tail cut", "bytes", "a file was longer and was cut back to so many bytes";
    "frames committed", "frames wal_frames", "remote frames are durable in Synced's WAL and named";
    "generation crossed", "generation frames", "the remote's next generation begins after so many frames of this one";
    "end of history", "generation frames", "the remote has nothing more";
    "nothing to pull", "", "Draft hangs on Synced's end already";
    "rebase begins", "acknowledged pending", "Draft is locked; the number that the remote has applied, and how many transactions it has not";
    "nothing to replay", "", "the rebase only brings what is the remote's";
    "draft committed", "watermark", "the rebase's commit frame is written";
    "metadata written", "members", "a new version is durable; which members it changes, `none` when it repeats them";
    "checkpoint announced", "frames", "Synced's WAL is about to be moved into its main file";
    "checkpoint done", "", "it was moved";
    "checkpoint found done", "", "a checkpoint that was announced had emptied the WAL before";
    "compaction announced", "frames ranges", "Draft's WAL is about to be moved; frames of it, ranges of pages that are claimed no more";
    "compaction checkpointed", "is_busy", "the core was asked to move it; whether a writer or a reader was in the way";
    "compaction done", "", "it was moved, or found moved";
    "compaction deferred", "", "a writer or a reader is in the way, or a crash was";
    "change log long", "records", "a push pulls as well, because so many records are in the change log";
    "nothing to send", "", "a push finds everything acknowledged";
    "batch sent", "transactions statements last_no", "a push's request leaves";
    "batch acknowledged", "last_no", "the remote has applied it";
    "guard stale", "", "the remote's acknowledgement row was another; the push starts over";
    "push refused", "cause", "the remote refused a statement of a local transaction; it is tried out on the replica";
    "replica damaged", "cause", "Synced is missing, too short or rotten; a re-bootstrap is due";
    "rebootstrap begins", "reason generation", "the snapshot of a generation is about to be downloaded, to take Synced's place";
    "replacing Synced", "is_waiting", "the snapshot is named; whether it still waits to be put in Synced's place";
    "rebootstrap ends", "", "the new Synced is in place, and Draft hangs on it no more until the next rebase";
    "identity adopted", "client acknowledged settled", "an older copy becomes a client of its own; what others had sent, and up to where nothing is sent";
    "request", "request body_bytes", "a request leaves";
    "poisoned", "cause", "nothing goes on before the engine was opened anew";
}

/// Whether an event is in the list.
pub(crate) const fn is_known(name: &str) -> bool {
    let mut index = 0;
    while index < EVENTS.len() {
        if is_same(EVENTS[index].name.as_bytes(), name.as_bytes()) {
            return true;
        }
        index += 1;
    }
    false
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// Emits an event of the list.
macro_rules! event {
    ($name:literal $(, $field:ident = $value:expr)* $(,)?) => {{
        const _: () = assert!(crate::events::is_known($name), "the event is not in the list");
        tracing::event!(
            name: $name,
            target: crate::events::TARGET,
            tracing::Level::DEBUG,
            { $($field = $value),* },
            $name
        )
    }};
}
pub(crate) use event;
