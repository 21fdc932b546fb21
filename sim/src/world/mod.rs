//! Where it happens: clients, the remote and the network between them, and the steps of one schedule.
//!
//! Everything runs on one thread. An operation of the engine is a future that the world polls by hand; whenever it suspends, the world
//! looks whether the machine went down meanwhile and what the engine waits for. A crash takes an image of the disk at its very moment; the
//! process runs on as a zombie to its next suspension and is dropped there, and nothing it still did is seen.
//!
//! Start at [`run`]: it builds a [`World`] and passes it the steps of a schedule. `World` only coordinates; its parts own their state:
//!
//! | part | owns | in |
//! |---|---|---|
//! | `Clients` | machines with a [`disk`], and the processes on them | `clients`, [`client`], [`application`] |
//! | `Server` | the [`remote`] and its machine | `server` |
//! | `LateRequests` | requests under way that nobody waits for | [`network`] |
//! | `Referee` | what was acknowledged, and when it is judged | `referee` |
//! | `Recorder` | [`trace`], counts, marks, what happened to the faults, [`snapshot`]s | `recorder`, [`listener`] |
//! | `Copies` | older copies of clients' directories | `damage` |
//! | `Steering` | a pilot that decides from outside what strikes | [`pilot`] |
//!
//! A running step has a `StepContext` (`context`), which every part of the step gets passed.
//!
//! | steps and what they do | in |
//! |---|---|
//! | a step from begin to end, and steps inside others | `step`, `interleave` |
//! | an engine's operation, its suspensions and its requests | `operations`, `drive`, `exchange` |
//! | transactions, readers | `transactions`, [`application`], [`writes`], [`sql`] |
//! | damage to a client's files | `damage` |
//! | the heal | `heal` |
//!
//! For use without faults and checkers: [`driver`], [`in_process`], [`memory`]. Time is [`clock`]'s.

pub mod application;
pub mod client;
mod clients;
pub mod clock;
mod context;
mod damage;
pub mod disk;
mod drive;
pub mod driver;
mod exchange;
pub mod fault_outcomes;
pub mod final_databases;
mod heal;
pub mod in_process;
mod interleave;
pub mod listener;
pub mod memory;
pub mod network;
mod operations;
pub mod pilot;
mod recorder;
mod referee;
pub mod remote;
pub mod run;
mod server;
pub mod snapshot;
pub mod sql;
mod step;
pub mod trace;
mod transactions;
pub mod writes;

use crate::judge::counts::Counts;
use crate::schedule::{Header, Step};
use clients::Clients;
use damage::Copies;
use fault_outcomes::FaultOutcomes;
use final_databases::FinalDatabase;
use listener::Inbox;
use network::late::LateRequests;
use pilot::{SharedPilot, Steering};
use recorder::Recorder;
use referee::Referee;
use server::Server;
use snapshot::Snapshots;
use trace::{Lane, SharedTrace};

/// Everything there is in one history.
pub struct World {
    header: Header,
    clients: Clients,
    server: Server,
    late: LateRequests,
    referee: Referee,
    recorder: Recorder,
    copies: Copies,
    steering: Steering,
}

impl World {
    /// A remote with its schema, and clients that have never run. Invariants are judged unless `is_judging` says otherwise.
    pub fn new(header: Header, trace: SharedTrace, inbox: Inbox, is_judging: bool) -> Self {
        Self {
            server: Server::new(&header, trace.clone()),
            clients: Clients::new(&header, &trace),
            late: LateRequests::default(),
            referee: Referee::new(is_judging),
            recorder: Recorder::new(trace, inbox),
            copies: Copies::default(),
            steering: Steering::default(),
            header,
        }
    }

    /// Lets `pilot` decide what strikes client `number`.
    pub fn set_pilot(&mut self, pilot: SharedPilot, number: u8) {
        self.clients[number].disk.set_pilot(pilot.clone());
        self.steering.set(pilot);
    }

    /// Keeps the copies of clients' directories that these steps put back.
    pub fn keep_copies_for(&mut self, steps: &[Step]) {
        self.copies.keep_for(steps);
    }

    /// Records an event.
    pub fn record(&self, lane: Lane, verb: &'static str, place: &str, numbers: &[u64]) {
        self.recorder.record(lane, verb, place, numbers);
    }

    /// The databases of the remote and of all running clients.
    ///
    /// # Panics
    /// When one cannot be read.
    pub(crate) fn final_databases(&self) -> Vec<FinalDatabase> {
        let clients = self.clients.all().iter().filter_map(client::Client::final_database);
        std::iter::once(self.server.final_database()).chain(clients).collect()
    }

    /// The counts of a history that is over, and what happened to its faults; its databases are closed.
    pub fn finish(self) -> (Counts, FaultOutcomes, Snapshots) {
        let Recorder { mut counts, fault_outcomes, snapshots, .. } = self.recorder;
        counts.client_commits = self.referee.ledger.client_commits() as u64;
        counts.histories_with_both = u64::from(counts.crashes() > 0 && counts.network_faults() > 0);
        (counts.checks, counts.images_opened) = self.referee.counts();
        (counts, fault_outcomes, snapshots)
    }

    fn inform_pilot(&self) {
        self.steering.inform(&self.server, &self.referee.ledger);
    }
}

#[cfg(test)]
mod tests;
