//! The world of one history: the clients, the remote, the network between them, and the code that runs a
//! schedule's steps.
//!
//! Everything runs on one thread. An engine operation is a future that the world polls by hand. Whenever the
//! future suspends, the world checks whether the machine has crashed and what the engine waits for. When a
//! machine crashes, its disk is copied at that very moment. The process keeps running as a zombie, which no
//! other process sees, until it suspends. Then the world drops it.
//!
//! Start at [`run`]: it builds a [`World`] and passes it the steps of a schedule. `World` only coordinates.
//! Its parts own their state:
//!
//! | part | owns | in |
//! |---|---|---|
//! | `Clients` | machines with a [`disk`], and their processes | `clients`, [`client`], [`application`] |
//! | `Server` | the [`remote`] and its machine | `server` |
//! | `LateRequests` | requests in transit whose sender has given up | [`network`] |
//! | `Referee` | the ledger of acknowledged transactions; it decides when invariants are judged | `referee` |
//! | `Recorder` | [`trace`], counts, marks, fault outcomes, [`snapshot`]s | `recorder`, [`listener`] |
//! | `Copies` | older copies of clients' directories | `damage` |
//! | `Steering` | a pilot that chooses faults from outside | [`pilot`] |
//!
//! A running step has a `StepContext` (`context`), which is passed to every function that takes part in the
//! step.
//!
//! | steps and what they do | in |
//! |---|---|
//! | a step from start to end; steps that run inside another | `step`, `interleave` |
//! | an engine operation, its suspensions and its requests | `operations`, `drive`, `exchange` |
//! | transactions and readers | `transactions`, [`application`], [`writes`], [`sql`] |
//! | programs, and queries that show what a copy holds | `programs` |
//! | a second engine on a client's database | `second_process` |
//! | damage to a client's files | `damage` |
//! | the heal | `heal` |
//! | a history of the archive behind `plimsoll serve` | `archive_history` |
//!
//! [`driver`], [`in_process`] and [`memory`] run the engine without faults and checkers. [`clock`] is the
//! virtual clock.

pub mod application;
mod archive_history;
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
mod impostors;
pub mod in_process;
mod interleave;
pub mod listener;
mod locks;
pub mod memory;
pub mod network;
mod operations;
pub mod pilot;
mod programs;
mod recorder;
mod referee;
pub mod remote;
pub mod run;
mod second_process;
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
use trace::{Lane, SharedTrace, Verb};

/// The state of one history.
pub struct World {
    header: Header,
    clients: Clients,
    server: Server,
    late: LateRequests,
    referee: Referee,
    recorder: Recorder,
    copies: Copies,
    steering: Steering,
    /// How often a client may suspend in one step.
    suspensions_max: u32,
}

impl World {
    /// Creates a remote that holds the workload's schema, and clients that have never run. Invariants are
    /// judged if `is_judging` is set.
    pub fn new(header: Header, trace: SharedTrace, inbox: Inbox, is_judging: bool) -> Self {
        Self {
            server: Server::new(&header, trace.clone()),
            clients: Clients::new(&header, &trace),
            late: LateRequests::default(),
            referee: Referee::new(header.workload, is_judging),
            recorder: Recorder::new(trace, inbox),
            copies: Copies::default(),
            steering: Steering::default(),
            suspensions_max: drive::SUSPENSIONS_MAX,
            header,
        }
    }

    /// Lets `pilot` choose the faults of client `number`.
    pub fn set_pilot(&mut self, pilot: SharedPilot, number: u8) {
        self.clients[number].disk.set_pilot(pilot.clone());
        self.steering.set(pilot);
    }

    /// Prepares for these steps: records which copies of clients' directories they restore, and how much their
    /// operations may have to transfer.
    pub fn prepare_for(&mut self, steps: &[Step]) {
        self.copies.keep_for(steps);
        self.suspensions_max = drive::suspensions_max(steps);
    }

    #[cfg(test)]
    pub(crate) fn disk(&self, client: u8) -> &disk::Disk {
        &self.clients[client].disk
    }

    pub fn record(&self, lane: Lane, verb: Verb, place: &str, numbers: &[u64]) {
        self.recorder.record(lane, verb, place, numbers);
    }

    /// The databases of the remote and of all running clients.
    ///
    /// # Panics
    /// If a database cannot be read.
    pub(crate) fn final_databases(&self) -> Vec<FinalDatabase> {
        let clients = self.clients.all().iter().filter_map(client::Client::final_database);
        std::iter::once(self.server.final_database()).chain(clients).collect()
    }

    /// Ends the history and closes its databases. Returns its counts, its fault outcomes and its snapshots.
    pub fn finish(self) -> (Counts, FaultOutcomes, Snapshots) {
        let Recorder { mut counts, fault_outcomes, snapshots, .. } = self.recorder;
        counts.client_commits = self.referee.ledger.client_commits() as u64;
        counts.histories_with_crash_and_network_fault =
            u64::from(counts.crashes() > 0 && counts.network_faults() > 0);
        (counts.checks, counts.images_opened) = self.referee.counts();
        (counts, fault_outcomes, snapshots)
    }

    fn inform_pilot(&self) {
        self.steering.inform(&self.server, &self.referee.ledger);
    }
}

#[cfg(test)]
mod tests;
