//! The marks of histories of the archive behind `plimsoll serve`.
//!
//! There are three kinds:
//!
//! * each durable step of each flow ([`STEPS`]), once for a kill, once for a power loss and, where the step makes a file
//!   longer, once for a full disk;
//! * each kind of disk error in each flow;
//! * what a start has found and how it has continued ([`Situation`]).

use std::sync::LazyLock;

use strum::{IntoStaticStr, VariantArray};

use super::Mark;
use crate::fault::atlas::FaultKind;
use crate::fault::{DiskErrorKind, OperationKind};

/// What is done with the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Flow {
    /// A client writes.
    Commit,
    /// A generation is closed.
    Close,
    /// Old generations are removed.
    Prune,
    /// The directory is copied.
    Backup,
    /// A server starts.
    Start,
    /// A server starts with a database that SQLite has written.
    Import,
    /// A server starts on a directory from before there were manifests.
    Adopt,
}

/// The role of a file in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Part {
    Manifest,
    /// The database at the start of a generation.
    Snapshot,
    /// The log of a generation.
    Log,
    /// The main file of the core's database.
    Main,
    /// The WAL of the core's database.
    Wal,
    /// The directory's entries.
    Directory,
    /// A file that is not one of the archive's.
    Other,
}

impl Part {
    pub fn of(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        match name {
            "manifest" | "manifest.tmp" => Self::Manifest,
            "current.db" => Self::Main,
            "current.db-wal" => Self::Wal,
            _ if name.starts_with("generation-") && name.ends_with(".db") => Self::Snapshot,
            _ if name.starts_with("generation-") && name.ends_with(".wal") => Self::Log,
            _ => Self::Other,
        }
    }

    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Flow {
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The flow to which an operation on this part belongs, while the server or an operator is in this one. A request
    /// that writes may close the generation, and a close may remove old ones.
    pub fn at(self, part: Part, operation: Option<OperationKind>) -> Self {
        match (self, part) {
            (Self::Commit | Self::Close, Part::Snapshot | Part::Log)
                if operation == Some(OperationKind::Remove) =>
            {
                Self::Prune
            }
            (Self::Commit, Part::Snapshot | Part::Manifest | Part::Main) => Self::Close,
            _ => self,
        }
    }
}

/// A durable step: a flow changes a part.
struct DurableStep {
    flow: Flow,
    part: Part,
    /// Whether it makes a file longer, so that the disk can be full.
    grows: bool,
}

const fn step(flow: Flow, part: Part, grows: bool) -> DurableStep {
    DurableStep { flow, part, grows }
}

const STEPS: &[DurableStep] = &[
    step(Flow::Commit, Part::Wal, true),
    step(Flow::Commit, Part::Log, true),
    step(Flow::Commit, Part::Directory, false),
    step(Flow::Close, Part::Log, false),
    step(Flow::Close, Part::Snapshot, true),
    step(Flow::Close, Part::Manifest, true),
    step(Flow::Close, Part::Main, true),
    step(Flow::Close, Part::Wal, false),
    step(Flow::Close, Part::Directory, false),
    step(Flow::Prune, Part::Manifest, true),
    step(Flow::Prune, Part::Snapshot, false),
    step(Flow::Prune, Part::Log, false),
    step(Flow::Prune, Part::Directory, false),
    step(Flow::Backup, Part::Snapshot, true),
    step(Flow::Backup, Part::Log, true),
    step(Flow::Backup, Part::Main, true),
    step(Flow::Backup, Part::Wal, true),
    step(Flow::Backup, Part::Manifest, true),
    step(Flow::Backup, Part::Directory, false),
    step(Flow::Start, Part::Manifest, true),
    step(Flow::Start, Part::Wal, false),
    step(Flow::Start, Part::Log, false),
    step(Flow::Start, Part::Snapshot, true),
    step(Flow::Start, Part::Directory, false),
    step(Flow::Start, Part::Main, false),
    step(Flow::Import, Part::Manifest, true),
    step(Flow::Import, Part::Main, true),
    step(Flow::Import, Part::Snapshot, true),
    step(Flow::Import, Part::Directory, false),
    step(Flow::Adopt, Part::Manifest, true),
    step(Flow::Adopt, Part::Log, true),
    step(Flow::Adopt, Part::Wal, false),
    step(Flow::Adopt, Part::Directory, false),
];

/// Something that a history of the archive has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
pub enum Situation {
    #[strum(serialize = "a missing file is refused")]
    MissingRefused,
    #[strum(serialize = "a changed file is refused")]
    ChangedRefused,
    #[strum(serialize = "a foreign file is refused")]
    ForeignRefused,
    #[strum(serialize = "a moved WAL begins the next generation")]
    MovedWalNoticed,
    #[strum(serialize = "a moved WAL is refused")]
    MovedWalRefused,
    #[strum(serialize = "a start completes a close")]
    CloseCompleted,
    #[strum(serialize = "a start goes on with a generation whose close was given up")]
    CloseGivenUp,
    #[strum(serialize = "a generation ends by itself")]
    ClosedByItself,
    #[strum(serialize = "a close has failed and the generation stays open")]
    CloseFailed,
    #[strum(serialize = "a write after a failed one succeeds")]
    Healed,
    #[strum(serialize = "a restored backup begins a new history")]
    CopyRenamed,
    #[strum(serialize = "an interrupted import is repeated")]
    ImportRepeated,
    #[strum(serialize = "a crash between two requests: kill")]
    KilledBetween,
    #[strum(serialize = "a crash between two requests: power loss")]
    PowerLostBetween,
}

impl Situation {
    fn meaning(self) -> &'static str {
        match self {
            Self::MissingRefused | Self::ChangedRefused | Self::ForeignRefused => {
                "the start has named the file and changed nothing"
            }
            Self::MovedWalNoticed => {
                "another program's checkpoint has lost nothing, because the log has all frames"
            }
            Self::MovedWalRefused => {
                "another program's checkpoint has taken frames that the log does not have"
            }
            Self::CloseCompleted => "the manifest named the next generation before a crash",
            Self::CloseGivenUp => "the next generation's snapshot is there, and the generation is still open",
            Self::ClosedByItself => "a client's write was the last of its generation",
            Self::CloseFailed => "an operation of the close has failed",
            Self::Healed => "the server has written its WAL again",
            Self::CopyRenamed => "the manifest was that of a copy",
            Self::ImportRepeated => "a crash or an error has ended the first attempt",
            Self::KilledBetween | Self::PowerLostBetween => "no operation was in progress",
        }
    }

    pub(super) fn mark(self) -> String {
        format!("archive: {}", <&str>::from(self))
    }
}

pub(super) fn step_mark(kind: FaultKind, flow: Flow, part: Part) -> String {
    format!("{}: {}, {}", kind.words(), flow.name(), part.name())
}

pub(super) fn flow_mark(kind: DiskErrorKind, flow: Flow) -> String {
    format!("{}: {}", FaultKind::from(kind).words(), flow.name())
}

/// Whether a flow has an access that can fail in this way.
fn can_fail(flow: Flow, kind: DiskErrorKind) -> bool {
    match kind {
        // A short read of the core's WAL is a panic of the core, so it is not generated.
        DiskErrorKind::ShortRead => false,
        DiskErrorKind::RenameFails => flow != Flow::Commit,
        DiskErrorKind::ReadFails => flow != Flow::Prune,
        _ => true,
    }
}

/// Every mark of the archive, in display order.
pub static ARCHIVE_MARKS: LazyLock<Vec<Mark>> = LazyLock::new(|| {
    let steps = STEPS.iter().flat_map(|step| {
        let full = step.grows.then_some(FaultKind::Disk(DiskErrorKind::NoSpace));
        let crashes = [FaultKind::Kill, FaultKind::PowerLoss];
        crashes.into_iter().chain(full).map(|kind| Mark {
            name: step_mark(kind, step.flow, step.part),
            meaning: "it happens at an operation of this flow on this file",
        })
    });
    let errors = Flow::VARIANTS.iter().flat_map(|flow| {
        DiskErrorKind::ALL.into_iter().filter(|kind| can_fail(*flow, *kind)).map(|kind| Mark {
            name: flow_mark(kind, *flow),
            meaning: "an operation of this flow fails in this way",
        })
    });
    let situations = Situation::VARIANTS
        .iter()
        .map(|situation| Mark { name: situation.mark(), meaning: situation.meaning() });
    steps.chain(errors).chain(situations).collect()
});
