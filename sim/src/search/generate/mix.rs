//! The mix of a seed: the kinds of steps, writes and faults that can occur, and how often.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use strum::VariantArray;

use super::writes::{WriteKind, features};
use super::{Profile, pick};
use crate::fault::NetworkFaultKind;
use crate::schedule::workload::Table;
use crate::schedule::{Header, PushMode};

/// The frequencies that one seed has drawn.
pub(super) struct Mix {
    pub(super) crash_percent: u32,
    pub(super) network_percent: u32,
    pub(super) disk_percent: u32,
    pub(super) abandon_percent: u32,
    pub(super) kill_percent: u32,
    pub(super) tables: Vec<Table>,
    pub(super) big_rows: bool,
    pub(super) keys: u8,
    pub(super) writes_max: u32,
    pub(super) weights: Vec<(Kind, u32)>,
    pub(super) write_weights: Vec<(WriteKind, u32)>,
    /// Whether all writes must be independent of earlier transactions, because those may be lost.
    pub(super) independent_writes: bool,
    pub(super) network: Vec<(NetworkFaultKind, u32)>,
    pub(super) inside_percent: u32,
    /// Whether the remote must stay in its generation, because a client could not tell two servers apart in the
    /// next one.
    pub(super) keeps_generation: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Transaction,
    Pull,
    Push,
    Sync,
    Close,
    Crash,
    RemoteTransaction,
    RemoteCheckpoint,
    RemoteRestart,
    RemoteCrash,
    HoldOpen,
    EndTransaction,
    OpenReader,
    CloseReader,
    SecondProcess,
    LeftoverConnection,
    RemotePrune,
    RemoteRestore,
    RemoteFork,
    RemoteJoin,
    RemoteCache,
    RemoteCacheExpires,
    WrongServer,
    RestoreDirectory,
    LoseFile,
    Rot,
}

impl Mix {
    pub(super) fn draw(rng: &mut impl Rng, profile: Profile, header: &Header) -> Self {
        let (crashes, network, disk_errors) = match profile {
            Profile::Archive => unreachable!("a history of the archive has no mix"),
            Profile::Calm => (false, false, false),
            Profile::Crash => (true, false, false),
            Profile::Network => (false, true, false),
            Profile::DiskErrors => (false, false, true),
            Profile::Programs if rng.random_ratio(1, 3) => (false, false, false),
            Profile::Programs | Profile::Swarm => {
                (rng.random_ratio(9, 10), rng.random_ratio(9, 10), rng.random_ratio(3, 4))
            }
        };
        let mut weights = vec![(Kind::Transaction, rng.random_range(20..40))];
        for (kind, from, to) in [
            (Kind::Pull, 5, 20),
            (Kind::Push, 5, 20),
            (Kind::Sync, 5, 25),
            (Kind::RemoteTransaction, 0, 15),
            (Kind::RemoteCheckpoint, 0, 12),
            (Kind::Close, 0, 4),
        ] {
            weights.push((kind, rng.random_range(from..to)));
        }
        if crashes {
            weights.push((Kind::Crash, rng.random_range(0..8)));
        }
        if network {
            weights.push((Kind::RemoteRestart, rng.random_range(0..4)));
            weights.push((Kind::RemoteCrash, rng.random_range(0..5)));
        }
        let is_concurrent = matches!(profile, Profile::Network | Profile::Swarm) && rng.random_ratio(3, 4);
        if is_concurrent {
            for (kind, to) in [
                (Kind::HoldOpen, 6),
                (Kind::EndTransaction, 12),
                (Kind::OpenReader, 5),
                (Kind::CloseReader, 8),
                (Kind::SecondProcess, 3),
                (Kind::LeftoverConnection, 3),
            ] {
                weights.push((kind, rng.random_range(0..to)));
            }
        }
        // Rare events of servers and directories. At most half of the seeds have events that may lose
        // transactions. In the other seeds, writes can depend on earlier writes.
        let forgets = matches!(profile, Profile::DiskErrors | Profile::Swarm) && rng.random_bool(0.5);
        let restores = profile == Profile::Swarm && forgets && rng.random_ratio(67, 100);
        let hides_nothing = |kind| !restores || reveals_restore_after(header, kind);
        let rare = [
            (Kind::RemoteRestore, restores, 100),
            (Kind::RemotePrune, profile == Profile::Swarm && hides_nothing(Kind::RemotePrune), 25),
            (Kind::RestoreDirectory, profile == Profile::Swarm && forgets, 25),
            (Kind::LoseFile, profile == Profile::Swarm && forgets && hides_nothing(Kind::LoseFile), 25),
            (Kind::Rot, disk_errors && forgets && hides_nothing(Kind::Rot), 50),
        ];
        for (kind, may_occur, percent) in rare {
            if may_occur && rng.random_ratio(percent, 100) {
                weights.push((kind, rng.random_range(2..6)));
            }
        }
        let may_fork = (header.has_proofs()
            || header.remote_sends_checksums && header.push_mode == PushMode::Statements)
            && !header.asks_before_following;
        if profile == Profile::Swarm && forgets && may_fork && rng.random_ratio(1, 3) {
            weights.push((Kind::RemoteFork, rng.random_range(2..6)));
            weights.push((Kind::RemoteJoin, rng.random_range(1..4)));
        }
        if profile == Profile::Swarm && !header.asks_before_following && rng.random_ratio(1, 3) {
            weights.push((Kind::RemoteCache, rng.random_range(3..9)));
            weights.push((Kind::RemoteCacheExpires, rng.random_range(1..4)));
        }
        if profile == Profile::Swarm && rng.random_ratio(1, 6) {
            weights.push((Kind::WrongServer, rng.random_range(1..4)));
        }
        let has = |kind: Kind| weights.iter().any(|(drawn, _)| *drawn == kind);
        let keeps_generation = has(Kind::RemoteFork) && !header.has_proofs();
        let forgetful =
            [Kind::RemoteRestore, Kind::RemoteFork, Kind::RestoreDirectory, Kind::LoseFile, Kind::Rot];
        let independent_writes = weights.iter().any(|(kind, _)| forgetful.contains(kind));
        // With a single table, changes of the same row are more frequent.
        let tables = if rng.random_bool(0.5) { vec![*pick(rng, &Table::ALL)] } else { Table::ALL.to_vec() };
        Self {
            write_weights: features(rng, independent_writes),
            independent_writes,
            tables,
            crash_percent: if crashes { rng.random_range(15..60) } else { 0 },
            network_percent: if network { rng.random_range(25..80) } else { 0 },
            disk_percent: if disk_errors { rng.random_range(15..55) } else { 0 },
            abandon_percent: if network { *pick(rng, &[0, 0, 5, 20]) } else { 0 },
            kill_percent: *pick(rng, &[0, 20, 50, 100]),
            big_rows: rng.random_ratio(1, 4),
            keys: rng.random_range(1..6),
            writes_max: rng.random_range(1..7),
            weights,
            network: network_weights(rng),
            inside_percent: if is_concurrent { rng.random_range(10..60) } else { 0 },
            keeps_generation,
        }
    }

    pub(super) fn kind(&self, rng: &mut impl Rng) -> Kind {
        let (kind, _) =
            self.weights.choose_weighted(rng, |(_, weight)| *weight).expect("transactions have a weight");
        *kind
    }
}

/// Whether a client recognizes every restore of the remote although an event of this kind took what it would have
/// compared: its generation on the remote, or its replica.
pub(super) fn reveals_restore_after(header: &Header, kind: Kind) -> bool {
    match kind {
        Kind::RemotePrune => header.has_proofs(),
        Kind::LoseFile | Kind::Rot => header.remote_sends_checksums,
        _ => true,
    }
}

/// Weights of the network faults. Losses always occur; each other fault occurs in about half of the seeds.
fn network_weights(rng: &mut impl Rng) -> Vec<(NetworkFaultKind, u32)> {
    let mut weights = vec![(NetworkFaultKind::LoseRequest, 4), (NetworkFaultKind::LoseResponse, 6)];
    for &kind in &NetworkFaultKind::VARIANTS[2..] {
        if rng.random_bool(0.5) {
            weights.push((kind, rng.random_range(1..12)));
        }
    }
    weights
}
