//! What can be drawn of a history besides its events: where everybody stands, and what a power loss would take.
//!
//! Guarantees: taking a snapshot changes nothing and is not in the trace. Left out: any judgement.

use std::ops::Range;

use crate::judge::Claims;
use crate::judge::MetadataVersion;
use crate::world::client::Client;

/// All that was kept of one history.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// One after each step.
    pub steps: Vec<Snapshot>,
    /// One for each version of a client's metadata that was renamed into place.
    pub metadata: Vec<MetadataSnapshot>,
}

/// Where everybody stands at the end of a step.
#[derive(Debug)]
pub struct Snapshot {
    /// How many events the trace had then.
    pub event_count: u64,
    /// The step.
    pub step: u32,
    /// The remote's generation and the frames in it.
    pub remote: (u64, u64),
    /// Each client.
    pub clients: Vec<ClientSnapshot>,
}

/// Where a client stands.
#[derive(Debug)]
pub struct ClientSnapshot {
    /// Whether its process is running.
    pub is_running: bool,
    /// The files that a power loss could change, and the bytes at stake in each; up to `u64::MAX` where the length or the very name
    /// of the file is.
    pub at_stake: Vec<(String, Vec<Range<u64>>)>,
}

/// What a version of the metadata says.
#[derive(Debug)]
pub struct MetadataSnapshot {
    /// How many events the trace had when it was renamed into place.
    pub event_count: u64,
    /// Whose it is.
    pub client: u8,
    /// The generation and the frame of the remote's that Synced has reached.
    pub progress: (u64, u64),
    /// Frames of Draft's WAL up to the watermark.
    pub draft_watermark: u64,
    /// Frames of Synced's WAL up to the watermark.
    pub synced_watermark: u64,
}

impl Snapshot {
    /// The clients' disks as they are.
    pub fn of(event_count: u64, step: u32, remote: (u64, u64), clients: &[Client]) -> Self {
        let clients = clients.iter().map(ClientSnapshot::of).collect();
        Self { event_count, step, remote, clients }
    }
}

impl ClientSnapshot {
    fn of(client: &Client) -> Self {
        let ranges = |path: String| (client.disk.unsynced_ranges(&path), path);
        let at_stake = client.disk.paths().into_iter().map(ranges).filter(|(ranges, _)| !ranges.is_empty());
        Self {
            is_running: client.process.is_some(),
            at_stake: at_stake.map(|(ranges, path)| (path, ranges)).collect(),
        }
    }
}

impl Snapshots {
    /// Takes note of versions of a client's metadata; one that does not parse has nothing to draw.
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
