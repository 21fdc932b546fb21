//! Snapshots of a history for the timeline page: the positions of the remote and the clients after each step,
//! and the bytes that a power loss could change.
//!
//! Guarantees: taking a snapshot changes nothing and does not appear in the trace. Snapshots are not judged.

use crate::judge::{Claims, MetadataVersion, Unsynced};
use crate::world::client::Client;

/// All snapshots of one history.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// One after each step.
    pub steps: Vec<Snapshot>,
    /// One for each version of a client's metadata that was renamed into place.
    pub metadata: Vec<MetadataSnapshot>,
}

/// The state of the remote and of each client at the end of a step.
#[derive(Debug)]
pub struct Snapshot {
    /// The trace's event count at that moment.
    pub event_count: u64,
    pub step: u32,
    /// The remote's current generation, and the number of frames in it.
    pub remote: (u64, u64),
    pub clients: Vec<ClientSnapshot>,
}

#[derive(Debug)]
pub struct ClientSnapshot {
    pub is_running: bool,
    /// The files that a power loss could change, and what is at risk in each.
    pub at_stake: Vec<(String, Unsynced)>,
}

/// The claims of one metadata version.
#[derive(Debug)]
pub struct MetadataSnapshot {
    /// The trace's event count when the version was renamed into place.
    pub event_count: u64,
    pub client: u8,
    /// The remote's generation that Synced has reached, and the frame in this generation.
    pub progress: (u64, u64),
    /// The number of frames of Draft's WAL up to the watermark.
    pub draft_watermark: u64,
    /// The number of frames of Synced's WAL up to the watermark.
    pub synced_watermark: u64,
}

impl Snapshot {
    pub fn of(event_count: u64, step: u32, remote: (u64, u64), clients: &[Client]) -> Self {
        let clients = clients.iter().map(ClientSnapshot::of).collect();
        Self { event_count, step, remote, clients }
    }
}

impl ClientSnapshot {
    fn of(client: &Client) -> Self {
        let unsynced = |path: String| (client.disk.unsynced(&path), path);
        let at_stake = client.disk.paths().into_iter().map(unsynced).filter(|(what, _)| !what.is_empty());
        Self {
            is_running: client.process.is_some(),
            at_stake: at_stake.map(|(what, path)| (path, what)).collect(),
        }
    }
}

impl Snapshots {
    /// Keeps the claims of a client's metadata versions. A version that does not parse is skipped.
    pub fn observe_metadata(&mut self, client: u8, versions: &[MetadataVersion]) {
        for version in versions {
            if let Some(claims) = Claims::parse(&version.bytes) {
                self.metadata.push(MetadataSnapshot {
                    event_count: version.event_count,
                    client,
                    progress: claims.progress(),
                    draft_watermark: claims.draft_wal_match_watermark,
                    synced_watermark: claims.synced_wal_match_watermark,
                });
            }
        }
    }
}
