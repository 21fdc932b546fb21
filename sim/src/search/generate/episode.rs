//! Draws an episode: a client follows a replaced remote, and something else goes wrong before it has finished.
//!
//! Step by step such a chain is drawn too rarely: transactions that the remote then loses, the replacement, more
//! work on what is lost, an interrupted pull, a second event, and another pull. Each link is drawn by itself, and most
//! can be missing. The faults aim behind the events of the engine, because the number of a request or of a file
//! operation says little about a re-bootstrap.

use plimsoll_engine::events::EventName;
use rand::{Rng, RngExt};

use super::faults::crash_kind;
use super::mix::{Kind, Mix, reveals_restore_after};
use super::writes::writes;
use super::{INSIDE_IDS, blackout, pick, remote_restore};
use crate::fault::{Fault, FileClass, NetworkFault, RequestPlace, Route};
use crate::schedule::workload::Write;
use crate::schedule::{Action, During, EngineEvent, Header, Step, TransactionEnd, Wait};

/// The events between the start of a re-bootstrap and the report of the operation.
const FOLLOWING: [EventName; 9] = [
    EventName::RebootstrapBegins,
    EventName::ReplacingSynced,
    EventName::RebootstrapEnds,
    EventName::RebootstrapEnds,
    EventName::RebaseBegins,
    EventName::DraftCommitted,
    EventName::TailCut,
    EventName::BatchAcknowledged,
    EventName::MetadataWritten,
];

/// Whether the remote can be replaced in histories of this mix.
pub(super) fn is_possible(mix: &Mix) -> bool {
    mix.weights.iter().any(|(kind, _)| *kind == Kind::RemoteRestore)
}

/// The steps of one episode. The first has the id `id`.
pub(super) fn draw(rng: &mut impl Rng, mix: &Mix, header: &Header, id: u32) -> Vec<Step> {
    let client = rng.random_range(0..header.clients);
    let mut episode = Episode { steps: Vec::new(), id, client };
    // A row in a table of its own, which the remote may lose with the row.
    let work = match rng.random_ratio(1, 2) {
        true => vec![Write::Extra { number: rng.random_range(0..3), own: rng.random_range(0..mix.keys) }],
        false => writes(rng, mix),
    };
    for _ in 0..rng.random_range(1..=3) {
        episode.commit(&work);
        episode.add(Action::Sync { client });
    }
    episode.add(remote_restore(rng, header));
    if rng.random_ratio(2, 3) {
        episode.commit(&work);
    }
    if rng.random_ratio(1, 4) {
        episode.add(Action::RemoteTransaction { writes: writes(rng, mix) });
    }
    episode.follow_interrupted(rng, mix);
    episode.second_event(rng, mix, header);
    if rng.random_ratio(1, 3) {
        episode.follow_interrupted(rng, mix);
    }
    let last = follow(rng, client);
    episode.add(last);
    episode.steps
}

fn follow(rng: &mut impl Rng, client: u8) -> Action {
    if rng.random_bool(0.5) { Action::Pull { client } } else { Action::Sync { client } }
}

struct Episode {
    steps: Vec<Step>,
    /// The id of the next step.
    id: u32,
    client: u8,
}

impl Episode {
    fn add(&mut self, action: Action) -> &mut Step {
        let id = self.id;
        self.id += 1;
        self.steps.push(Step::new(id, action));
        self.steps.last_mut().expect("a step was added")
    }

    fn commit(&mut self, work: &[Write]) {
        let (client, writes) = (self.client, work.to_vec());
        self.add(Action::Transaction { client, writes, end: TransactionEnd::Commit });
    }

    /// The client pulls or syncs, and does not get to the end.
    fn follow_interrupted(&mut self, rng: &mut impl Rng, mix: &Mix) {
        let client = self.client;
        let operation = follow(rng, client);
        match rng.random_range(0..6) {
            0..3 => {
                let event = EngineEvent(*pick(rng, &FOLLOWING));
                let at = Wait::Reported { event, nth: *pick(rng, &[1, 1, 1, 2, 3]) };
                let crash = Action::Crash { client, kind: crash_kind(rng, mix) };
                let step = self.add(operation);
                let inside = Step::new(step.id * INSIDE_IDS + 1, crash);
                step.during.push(During { at, step: inside });
            }
            3 | 4 => {
                let at = RequestPlace { route: Route::PullFrames, nth: rng.random_range(1..=14) };
                let fault =
                    if rng.random_bool(0.5) { NetworkFault::LoseRequest } else { NetworkFault::LoseResponse };
                self.add(operation).faults.push(Fault::Network { at, fault });
            }
            // The rebase finds the database busy.
            _ => {
                self.add(Action::Transaction { client, writes: Vec::new(), end: TransactionEnd::HeldOpen });
                self.add(operation);
                self.add(Action::EndTransaction { client, end: TransactionEnd::Commit });
            }
        }
    }

    /// Before the client has followed the remote, it has another reason to replace Synced, or less to work with.
    fn second_event(&mut self, rng: &mut impl Rng, mix: &Mix, header: &Header) {
        let client = self.client;
        match rng.random_range(0..7) {
            0 | 1 => {
                self.add(remote_restore(rng, header));
            }
            2 | 3 if reveals_restore_after(header, Kind::LoseFile) => {
                let file = *pick(rng, &[FileClass::Synced, FileClass::Synced, FileClass::SyncedWal]);
                self.add(Action::LoseFile { client, file });
            }
            4 if !mix.keeps_generation && reveals_restore_after(header, Kind::RemotePrune) => {
                self.add(Action::RemoteCheckpoint);
                self.add(Action::RemotePrune);
            }
            5 => {
                self.add(Action::Crash { client, kind: blackout() });
            }
            _ => {}
        }
    }
}
