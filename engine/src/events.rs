//! The engine's `tracing` events: one at every decision point, with stable names and fields.
//!
//! They have the target [`TARGET`] and the level DEBUG. An event's name is its metadata's name and its message. [`EventName`] lists them
//! all. Programs that read them can rely on names and fields; a new version may add some.

/// The target of every event here.
pub const TARGET: &str = "plimsoll::engine";

macro_rules! events {
    ($($variant:ident = $name:literal, $fields:literal, $meaning:literal;)*) => {
        /// An event that the engine emits.
        ///
        /// | name | fields | when |
        /// |---|---|---|
        $(#[doc = concat!("| `", $name, "` | ", $fields, " | ", $meaning, " |")])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum EventName {
            $(#[doc = $meaning] $variant,)*
        }

        impl EventName {
            /// All events, in the order in which an operation usually emits them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The event's name, as its `tracing` metadata has it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The names of the event's fields, separated by spaces.
            pub const fn fields(self) -> &'static str {
                match self {
                    $(Self::$variant => $fields,)*
                }
            }

            /// When the engine emits the event.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)*
                }
            }
        }
    };
}

events! {
    OpenBegins = "open begins", "", "before the metadata is read";
    IdentityChosen = "identity chosen", "client", "a client without files begins";
    Resume = "resume", "phase", "metadata was found and read";
    OpenEnds = "open ends", "", "the database was in step with the remote at least once";
    BootstrapBegins = "bootstrap begins", "generation", "the snapshot of a generation is about to be downloaded";
    BootstrapEnds = "bootstrap ends", "bytes", "the snapshot is in both databases";
    DirtyReset = "dirty reset", "frames", "Synced is about to be cut back to the frames that the metadata names";
    TailCut = "tail cut", "bytes", "a file was longer and was cut back to so many bytes";
    FramesCommitted = "frames committed", "frames wal_frames", "remote frames are durable in Synced's WAL and named";
    GenerationCrossed = "generation crossed", "generation frames", "the remote's next generation begins after so many frames of this one";
    EndOfHistory = "end of history", "generation frames", "the remote has nothing more";
    NothingToPull = "nothing to pull", "", "Draft hangs on Synced's end already";
    RebaseBegins = "rebase begins", "acknowledged pending", "Draft is locked; the number that the remote has applied, and how many transactions it has not";
    NothingToReplay = "nothing to replay", "", "the rebase only brings what is the remote's";
    DraftCommitted = "draft committed", "watermark", "the rebase's commit frame is written";
    MetadataWritten = "metadata written", "members", "a new version is durable; which members it changes, `none` when it repeats them";
    CheckpointAnnounced = "checkpoint announced", "frames", "Synced's WAL is about to be moved into its main file";
    CheckpointDone = "checkpoint done", "", "it was moved";
    CheckpointFoundDone = "checkpoint found done", "", "a checkpoint that was announced had emptied the WAL before";
    CompactionAnnounced = "compaction announced", "frames ranges", "Draft's WAL is about to be moved; frames of it, ranges of pages that are claimed no more";
    CompactionCheckpointed = "compaction checkpointed", "is_busy", "the core was asked to move it; whether a writer or a reader was in the way";
    CompactionDone = "compaction done", "", "it was moved, or found moved";
    CompactionDeferred = "compaction deferred", "", "a writer or a reader is in the way, or a crash was";
    ChangeLogLong = "change log long", "records", "a push pulls as well, because so many records are in the change log";
    NothingToSend = "nothing to send", "", "a push finds everything acknowledged";
    BatchSent = "batch sent", "transactions statements last_no", "a push's request leaves";
    BatchAcknowledged = "batch acknowledged", "last_no", "the remote has applied it";
    GuardStale = "guard stale", "", "the remote's acknowledgement row was another; the push starts over";
    PushRefused = "push refused", "cause", "the remote refused a statement of a local transaction; it is tried out on the replica";
    ReplicaDamaged = "replica damaged", "cause", "Synced is missing, too short or rotten; a re-bootstrap is due";
    RebootstrapBegins = "rebootstrap begins", "reason generation", "the snapshot of a generation is about to be downloaded, to take Synced's place";
    ReplacingSynced = "replacing Synced", "is_waiting", "the snapshot is named; whether it still waits to be put in Synced's place";
    RebootstrapEnds = "rebootstrap ends", "", "the new Synced is in place, and Draft hangs on it no more until the next rebase";
    IdentityAdopted = "identity adopted", "client acknowledged settled", "an older copy becomes a client of its own; what others had sent, and up to where nothing is sent";
    Request = "request", "request body_bytes", "a request leaves";
    Poisoned = "poisoned", "cause", "nothing goes on before the engine was opened anew";
}

impl EventName {
    /// The event with this name; `None` if the engine has none.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|event| event.name() == name)
    }
}

/// Emits an event.
macro_rules! event {
    ($event:ident $(, $field:ident = $value:expr)* $(,)?) => {{
        const NAME: &str = crate::events::EventName::$event.name();
        tracing::event!(
            name: NAME,
            target: crate::events::TARGET,
            tracing::Level::DEBUG,
            { $($field = $value),* },
            "{NAME}"
        )
    }};
}
pub(crate) use event;
