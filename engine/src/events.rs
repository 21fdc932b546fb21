//! The engine's `tracing` events: one at every decision point, with stable names and fields.
//!
//! The events have the target [`TARGET`] and the level DEBUG. An event's name is both its metadata's name and
//! its message. [`EventName`] lists all events. Names and fields are stable; a new version may add more.

/// The target of all events of the engine.
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

            /// The event's name in its `tracing` metadata.
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
    DatabaseInUse = "database in use", "", "another engine has the database open, so this one is refused";
    OpenBegins = "open begins", "", "before the metadata is read";
    IdentityChosen = "identity chosen", "client", "a client without files starts";
    Resume = "resume", "phase", "metadata was found and read";
    OpenEnds = "open ends", "", "the database has been in sync with the remote at least once";
    BootstrapBegins = "bootstrap begins", "generation", "the snapshot of a generation is about to be downloaded";
    BootstrapEnds = "bootstrap ends", "bytes", "the snapshot is in both databases";
    DirtyReset = "dirty reset", "frames", "Synced is about to be truncated to the frames that the metadata names";
    TailCut = "tail cut", "bytes", "a file was too long and was truncated to `bytes`";
    FramesCommitted = "frames committed", "frames wal_frames", "remote frames are durable in Synced's WAL, and the metadata names them";
    GenerationCrossed = "generation crossed", "generation frames", "the remote's next generation starts; the closed one had `frames`";
    EndOfHistory = "end of history", "generation frames", "the remote has nothing more";
    NothingToPull = "nothing to pull", "", "Draft is already based on Synced's end";
    RebaseBegins = "rebase begins", "acknowledged pending", "Draft is locked; `acknowledged` is the number that the remote has applied, `pending` counts the transactions above it";
    NothingToReplay = "nothing to replay", "", "the rebase has no local transactions to replay";
    DraftCommitted = "draft committed", "watermark", "the rebase's commit frame is written";
    MetadataWritten = "metadata written", "members", "a new version is durable; `members` lists the changed members, `none` if there are none";
    CheckpointAnnounced = "checkpoint announced", "frames", "Synced's WAL is about to be moved into its main file";
    CheckpointDone = "checkpoint done", "", "the WAL was moved";
    CheckpointFoundDone = "checkpoint found done", "", "an announced checkpoint had already emptied the WAL";
    CompactionAnnounced = "compaction announced", "frames ranges", "Draft's WAL is about to be moved; `ranges` counts the ranges of pages that may differ from Synced";
    CompactionCheckpointed = "compaction checkpointed", "is_busy", "the core has tried to move the WAL; `is_busy` if a writer or a reader prevented it";
    CompactionDone = "compaction done", "", "the WAL was moved now or earlier";
    CompactionDeferred = "compaction deferred", "", "a writer, a reader or an earlier crash prevented the compaction";
    ChangeLogLong = "change log long", "records", "a push also pulls, because the change log holds too many `records`";
    NothingToSend = "nothing to send", "", "a push finds everything acknowledged";
    BatchSent = "batch sent", "transactions statements last_no", "a push is about to send its request";
    BatchAcknowledged = "batch acknowledged", "last_no", "the remote has applied the batch";
    GuardStale = "guard stale", "", "the remote's acknowledgement row had changed, or another server answered; the push starts over";
    PushRefused = "push refused", "cause", "the remote refused a statement of a local transaction; the push tries it on the replica";
    ReplicaDamaged = "replica damaged", "cause", "Synced is missing, too short or corrupt; a re-bootstrap is due";
    RebootstrapBegins = "rebootstrap begins", "reason generation", "the snapshot of a generation is about to be downloaded, to replace Synced";
    ReplacingSynced = "replacing Synced", "is_waiting", "the metadata names the snapshot; `is_waiting` if the snapshot has not replaced Synced yet";
    RebootstrapEnds = "rebootstrap ends", "", "the new Synced is in place; Draft is detached until the next rebase";
    IdentityAdopted = "identity adopted", "client acknowledged settled", "an older copy becomes a separate client; `acknowledged` was sent under the old identity, nothing up to `settled` is sent again";
    Request = "request", "request body_bytes", "a request is about to be sent";
    Poisoned = "poisoned", "cause", "the engine refuses all work until it is reopened";
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
