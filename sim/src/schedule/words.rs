//! Steps and faults in English, for timelines and reports.

use std::fmt;

use super::{Action, Damage, Fault, Step, TransactionEnd, Wait};
use crate::network::{Arrival, Contradiction, NetworkFault, RequestPlace};
use crate::report::counted;
use crate::workload::Write;

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transaction { client, writes, end } => {
                let ends = match end {
                    TransactionEnd::Commit => "commits",
                    TransactionEnd::Rollback => "rolls back",
                    TransactionEnd::HeldOpen => "begins and holds open",
                };
                write!(f, "client {client} {ends} a transaction of {}", rows(writes))
            }
            Self::EndTransaction { client, end } => {
                let ends = match end {
                    TransactionEnd::Commit => "commits",
                    TransactionEnd::Rollback => "rolls back",
                    TransactionEnd::HeldOpen => "goes on holding",
                };
                write!(f, "client {client} {ends} the transaction that it has held open")
            }
            Self::OpenReader { client } => write!(f, "client {client} begins to read"),
            Self::CloseReader { client } => write!(f, "client {client} reads to the end"),
            Self::Pull { client } => write!(f, "client {client} pulls"),
            Self::Push { client } => write!(f, "client {client} pushes"),
            Self::Sync { client } => write!(f, "client {client} syncs"),
            Self::Close { client } => write!(f, "client {client} closes"),
            Self::Crash { client, kind } => write!(f, "client {client} goes down: {kind}"),
            Self::RemoteTransaction { writes } => {
                write!(f, "another writer commits a transaction of {} on the remote", rows(writes))
            }
            Self::RemoteCheckpoint => write!(f, "the remote begins a new generation"),
            Self::RemoteRestart => write!(f, "the remote's server restarts"),
            Self::RemoteCrash { kind } => write!(f, "the remote's machine goes down: {kind}"),
            Self::RemotePrune => write!(f, "the remote no longer serves any generation but the current one"),
            Self::RemoteRestore { generations_back, transactions_back } => write!(
                f,
                "the remote is restored to {transactions_back} transactions before the end of the generation {generations_back} back"
            ),
            Self::RestoreDirectory { client, to_step } => {
                write!(f, "client {client}'s directory is again as it was after step {to_step}")
            }
            Self::LoseFile { client, file } => write!(f, "client {client} loses its {file}"),
            Self::Rot { client, file, offset, damage: Damage::Bit(bit) } => {
                write!(f, "bit {} of byte {offset} of client {client}'s {file} flips", bit % 8)
            }
            Self::Rot { client, file, offset, damage: Damage::Sector { .. } } => {
                write!(f, "the sector of byte {offset} of client {client}'s {file} goes bad")
            }
        }
    }
}

/// The log's row that every transaction writes counts.
fn rows(writes: &[Write]) -> String {
    counted(writes.len() as u64 + 1, "write")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: {}", self.id, self.action)
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(place) => write!(f, "before the {place} arrives"),
            Self::Response(place) => write!(f, "before the response to the {place} arrives"),
            Self::Chunk { of, nth } => {
                write!(f, "before the {} chunk of the response to the {of}", Ordinal(*nth))
            }
            Self::Told { event, nth: 1 } => {
                write!(f, "once the engine has told \u{201c}{}\u{201d}", event.name())
            }
            Self::Told { event, nth } => {
                write!(
                    f,
                    "once the engine has told \u{201c}{}\u{201d} for the {} time",
                    event.name(),
                    Ordinal(*nth)
                )
            }
            Self::Suspension { nth } => write!(f, "at the {} suspension", Ordinal(*nth)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash(point) => point.fmt(f),
            Self::CrashSuspended { nth, kind } => write!(f, "{kind} at the {} suspension", Ordinal(*nth)),
            Self::Abandon { nth, arrives } => {
                let fate = if *arrives { "arrives" } else { "does not arrive" };
                write!(f, "given up at the {} suspension; a request under way {fate}", Ordinal(*nth))
            }
            Self::Disk(error) => error.fmt(f),
            Self::Network { at, fault } => write_network(f, at, fault),
        }
    }
}

fn write_network(f: &mut fmt::Formatter<'_>, at: &RequestPlace, fault: &NetworkFault) -> fmt::Result {
    match fault {
        NetworkFault::LoseRequest => write!(f, "the {at} is lost on its way to the remote"),
        NetworkFault::LoseResponse => write!(f, "the response to the {at} is lost"),
        NetworkFault::RemoteCrash { operation, kind } => {
            let nth = Ordinal(*operation);
            write!(f, "the remote's machine goes down at its {nth} file operation for the {at}: {kind}")
        }
        NetworkFault::Delay { until } => write!(f, "the {at} is given up and arrives {until}"),
        NetworkFault::Duplicate { until } => write!(f, "the {at} arrives a second time {until}"),
        NetworkFault::Cut { bytes } => {
            write!(f, "the connection is cut after {bytes} bytes of the response to the {at}")
        }
        NetworkFault::EndEarly { bytes } => write!(f, "the response to the {at} ends after {bytes} bytes"),
        NetworkFault::Chunks { bytes } => {
            write!(f, "the response to the {at} arrives in chunks of {bytes} bytes")
        }
        NetworkFault::Garbage { bytes } => write!(f, "the response to the {at} is {bytes} bytes of garbage"),
        NetworkFault::WrongStatus { code, takes_effect: true } => {
            write!(f, "the {at} takes effect and is answered with status {code}")
        }
        NetworkFault::WrongStatus { code, takes_effect: false } => {
            write!(f, "the {at} is answered with status {code} and without effect")
        }
        NetworkFault::Contradict(Contradiction::Generation(by)) => {
            write!(f, "the response to the {at} has a generation that is off by {by}")
        }
        NetworkFault::Contradict(Contradiction::MaxFrameNo(by)) => {
            write!(f, "the response to the {at} has a last frame that is off by {by}")
        }
        NetworkFault::Contradict(Contradiction::Word) => {
            write!(f, "the response to the {at} has another status word")
        }
        NetworkFault::Stale { generations: 0, transactions } => {
            write!(f, "the {at} is answered as it would have been {transactions} transactions ago")
        }
        NetworkFault::Stale { generations, .. } => {
            write!(f, "the {at} is answered as it would have been {generations} generations ago")
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtOnce => f.write_str("at once"),
            Self::AfterRequests(count) => write!(f, "after {count} more requests"),
            Self::AtStep(step) => write!(f, "when step {step} begins"),
            Self::AfterNextStep => f.write_str("after the next step"),
        }
    }
}

/// "1st", "2nd", "11th".
pub struct Ordinal(pub u32);

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match (self.0 % 10, self.0 % 100) {
            (_, 11..=13) => "th",
            (1, _) => "st",
            (2, _) => "nd",
            (3, _) => "rd",
            _ => "th",
        };
        write!(f, "{}{suffix}", self.0)
    }
}
