//! Draws an episode: a chain of steps that only together show whether a client tells one log from another.
//!
//! Step by step such a chain is drawn too rarely. There are three kinds. Each link of a chain is drawn by itself, and
//! most can be missing:
//!
//! * A client *follows* a replaced remote, and something else goes wrong before it has finished. The faults aim behind
//!   the events of the engine, because the number of a file operation says little about a re-bootstrap.
//! * A restored remote *outgrows* what a client has seen, and reaches the same generation and frames with other
//!   content.
//! * A client works with *two servers* on copies of the same files, which have different transactions.

use plimsoll_engine::events::EventName;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha12Rng;

use super::aim::LikelyState;
use super::faults::{crash_kind, lagging_answers};
use super::mix::{Kind, Mix, reveals_restore_after};
use super::writes::writes;
use super::{INSIDE_IDS, blackout, pick, remote_restore};
use crate::fault::{Fault, FileClass, NetworkFault, RequestPlace, Route};
use crate::schedule::workload::Write;
use crate::schedule::{
    Action, Alternation, During, EngineEvent, Header, PushMode, Step, TransactionEnd, Wait,
};

/// The events between the start of a re-bootstrap and the report of the operation.
const FOLLOWING: [EventName; 11] = [
    EventName::RebootstrapBegins,
    EventName::ReplacingSynced,
    EventName::RebootstrapEnds,
    EventName::RebootstrapEnds,
    EventName::RebaseBegins,
    EventName::DraftCommitted,
    EventName::DraftCommitted,
    EventName::TailCut,
    EventName::TailCut,
    EventName::BatchAcknowledged,
    EventName::MetadataWritten,
];

/// The kinds of episodes that are possible in histories of this mix.
fn possible(mix: &Mix, header: &Header) -> Vec<Draw> {
    let has = |kind: Kind| mix.weights.iter().any(|(drawn, _)| *drawn == kind);
    let restores = has(Kind::RemoteRestore);
    // Without proofs, a client may not recognize a restore to an earlier generation.
    let outgrows = restores && header.has_proofs() && !mix.keeps_generation;
    let forks = has(Kind::RemoteFork);
    // Pushed frames become a part of the replica before the log has been read again.
    let pushes_frames = forks && header.push_mode == PushMode::Frames;
    let kinds: [(bool, Draw); 7] = [
        (restores, Episode::follows),
        (restores, Episode::follows),
        (outgrows, Episode::outgrows),
        (forks, Episode::two_servers),
        (forks, Episode::two_servers),
        (pushes_frames, Episode::two_servers),
        (pushes_frames, Episode::two_servers),
    ];
    kinds.into_iter().filter(|(is_possible, _)| *is_possible).map(|(_, draw)| draw).collect()
}

/// The steps of one episode, the first with the id `id`; empty if none is possible.
pub(super) fn draw(
    rng: &mut ChaCha12Rng,
    mix: &Mix,
    header: &Header,
    id: u32,
    states: &[LikelyState],
) -> Vec<Step> {
    let possible = possible(mix, header);
    if possible.is_empty() {
        return Vec::new();
    }
    let client = rng.random_range(0..header.clients);
    let draw = *pick(rng, &possible);
    let newcomer = (0..header.clients).find(|number| !states[usize::from(*number)].was_opened);
    let mut episode = Episode { steps: Vec::new(), id, client, newcomer };
    draw(&mut episode, rng, mix, header);
    episode.steps
}

type Draw = fn(&mut Episode, &mut ChaCha12Rng, &Mix, &Header);

fn follow(rng: &mut impl Rng, client: u8) -> Action {
    if rng.random_bool(0.5) { Action::Pull { client } } else { Action::Sync { client } }
}

struct Episode {
    steps: Vec<Step>,
    /// The id of the next step.
    id: u32,
    client: u8,
    /// A client that has not been opened yet, if there is one.
    newcomer: Option<u8>,
}

impl Episode {
    fn follows(&mut self, rng: &mut ChaCha12Rng, mix: &Mix, header: &Header) {
        let client = self.client;
        // A row in a table of its own, which the remote may lose with the row.
        let work = match rng.random_bool(0.5) {
            true => vec![Write::Extra { number: rng.random_range(0..3), own: rng.random_range(0..mix.keys) }],
            false => writes(rng, mix),
        };
        for _ in 0..rng.random_range(1..=3) {
            self.commit(&work);
            self.add(Action::Sync { client });
        }
        self.add(remote_restore(rng, header));
        if rng.random_ratio(2, 3) {
            self.commit(&work);
        }
        if rng.random_ratio(1, 4) {
            self.add(Action::RemoteTransaction { writes: writes(rng, mix) });
        }
        self.follow_interrupted(rng, mix, header);
        self.second_event(rng, mix, header);
        if rng.random_ratio(1, 3) {
            self.follow_interrupted(rng, mix, header);
        }
        self.add(follow(rng, client));
    }

    fn outgrows(&mut self, rng: &mut ChaCha12Rng, mix: &Mix, _header: &Header) {
        // Someone who has nothing but an export has no frame to compare.
        let client = self.newcomer.filter(|_| rng.random_ratio(3, 4)).unwrap_or(self.client);
        self.add(Action::RemoteTransaction { writes: writes(rng, mix) });
        self.add(Action::RemoteCheckpoint);
        self.add(follow(rng, client));
        let (generations_back, transactions_back) = (1, rng.random_range(0..3));
        self.add(Action::RemoteRestore {
            generations_back,
            transactions_back,
            keeps_name: rng.random_ratio(3, 4),
        });
        for _ in 0..rng.random_range(1..=2) {
            self.add(Action::RemoteTransaction { writes: writes(rng, mix) });
        }
        if rng.random_ratio(3, 4) {
            self.add(Action::RemoteCheckpoint);
        }
        for _ in 0..rng.random_range(0..=2) {
            self.add(Action::RemoteTransaction { writes: writes(rng, mix) });
        }
        self.add(follow(rng, client));
    }

    fn two_servers(&mut self, rng: &mut ChaCha12Rng, mix: &Mix, _header: &Header) {
        let client = self.client;
        self.commit(&writes(rng, mix));
        self.add(Action::Sync { client });
        // A process that has just been opened knows less about the remote.
        if rng.random_ratio(3, 4) {
            self.add(Action::Close { client });
        }
        let alternates = *pick(
            rng,
            &[Alternation::Requests, Alternation::Requests, Alternation::Requests, Alternation::Operations],
        );
        self.add(Action::RemoteFork { alternates });
        for _ in 0..rng.random_range(1..=4) {
            // Several frames, so that the two logs have other lengths.
            let payload_bytes = *pick(rng, &[0, 9000, 9000]);
            self.add(Action::RemoteTransaction { writes: vec![Write::Append { payload_bytes }] });
        }
        for _ in 0..rng.random_range(1..=2) {
            self.commit(&writes(rng, mix));
            let operation =
                if rng.random_ratio(2, 3) { Action::Push { client } } else { follow(rng, client) };
            self.add(operation);
        }
        self.add(Action::RemoteJoin { keeps_other: rng.random_bool(0.5) });
        self.add(follow(rng, client));
    }

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
    fn follow_interrupted(&mut self, rng: &mut impl Rng, mix: &Mix, header: &Header) {
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
                // It walks from the start of the new log, and asks several times where that ends.
                let requests = 10 + u32::try_from(40 / header.pull_batch_frames).expect("it is at most 40");
                let mut nth = rng.random_range(1..=requests);
                let (fault, in_a_row) = match rng.random_range(0..4) {
                    0 => (NetworkFault::LoseRequest, 1),
                    1 => (NetworkFault::LoseResponse, 1),
                    _ => {
                        // It is believed if it lags where the walk of the new log begins, and goes on to.
                        nth = rng.random_range(1..=6);
                        let transactions = rng.random_range(1..4);
                        (NetworkFault::Stale { generations: 0, transactions }, lagging_answers(rng, header))
                    }
                };
                self.add(operation).faults.extend((nth..nth + in_a_row).map(|nth| {
                    let at = RequestPlace { route: Route::PullFrames, nth };
                    Fault::Network { at, fault: fault.clone() }
                }));
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
        match rng.random_range(0..8) {
            0..3 => {
                self.add(remote_restore(rng, header));
            }
            3 | 4 if reveals_restore_after(header, Kind::LoseFile) => {
                let file = *pick(rng, &[FileClass::Synced, FileClass::Synced, FileClass::SyncedWal]);
                self.add(Action::LoseFile { client, file });
            }
            5 if !mix.keeps_generation && reveals_restore_after(header, Kind::RemotePrune) => {
                self.add(Action::RemoteCheckpoint);
                self.add(Action::RemotePrune);
            }
            6 => {
                self.add(Action::Crash { client, kind: blackout() });
            }
            _ => {}
        }
    }
}
