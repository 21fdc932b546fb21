//! Computes the checksums of changed WALs and metadata, so that the core and the engine accept them.

use plimsoll_sim::judge::format::{FRAME_BYTES, FRAME_HEADER_BYTES, WAL_HEADER_BYTES};

use crate::client::Client;

/// The bytes of the WAL header and of a frame header that the checksum covers.
const CHECKED_HEADER_BYTES: usize = 24;
const CHECKED_FRAME_HEADER_BYTES: usize = 8;
const MAGIC_BIG_ENDIAN: u32 = 0x377f_0683;

/// Seals both WALs, and makes the metadata name their frames.
pub fn seal(client: &Client) {
    let mut stamps = Vec::new();
    for ending in ["draft-wal", "synced-wal"] {
        let mut wal = client.read(ending);
        stamps.push(seal_wal(&mut wal));
        client.write(ending, &wal);
    }
    restamp(client, &stamps);
}

/// For each frame, its salts and its checksum.
type Stamps = Vec<([u32; 2], [u32; 2])>;

/// Computes a WAL's checksums (<https://www.sqlite.org/fileformat2.html#walformat>).
fn seal_wal(wal: &mut [u8]) -> Stamps {
    let Some((header, frames)) = wal.split_at_mut_checked(WAL_HEADER_BYTES) else { return Vec::new() };
    let is_big_endian = word(header, 0) == MAGIC_BIG_ENDIAN;
    let mut checksum = chain(is_big_endian, [0, 0], &header[..CHECKED_HEADER_BYTES]);
    put(header, CHECKED_HEADER_BYTES, checksum);
    let salts = [word(header, 16), word(header, 20)];
    let mut stamps = Stamps::new();
    for frame in frames.chunks_exact_mut(FRAME_BYTES) {
        put(frame, CHECKED_FRAME_HEADER_BYTES, salts);
        checksum = chain(is_big_endian, checksum, &frame[..CHECKED_FRAME_HEADER_BYTES]);
        checksum = chain(is_big_endian, checksum, &frame[FRAME_HEADER_BYTES..]);
        put(frame, 16, checksum);
        stamps.push((salts, checksum));
    }
    stamps
}

/// Writes the stamps of the named frames into the metadata.
fn restamp(client: &Client, stamps: &[Stamps]) {
    let bytes = client.read("info");
    let Ok(mut envelope) = serde_json::from_slice::<serde_json::Value>(&bytes) else { return };
    let metadata = &mut envelope["metadata"];
    let members = [
        ("draft_wal_match_watermark", "draft_wal_stamp", &stamps[0]),
        ("draft_wal_moving_frames", "draft_wal_moving_stamp", &stamps[0]),
        ("synced_wal_frames", "synced_wal_stamp", &stamps[1]),
    ];
    for (frames, stamp, stamps) in members {
        let named = metadata[frames].as_u64().unwrap_or(0);
        let (salts, checksums) = match named.checked_sub(1) {
            None => ([0, 0], [0, 0]),
            Some(index) => stamps.get(index as usize).copied().unwrap_or_default(),
        };
        metadata[stamp] = serde_json::json!({ "salts": salts, "checksums": checksums });
    }
    let text = metadata.to_string();
    let checksum = crc32fast::hash(text.as_bytes());
    client.write("info", format!(r#"{{"checksum":{checksum},"metadata":{text}}}"#).as_bytes());
}

fn chain(is_big_endian: bool, [mut s0, mut s1]: [u32; 2], bytes: &[u8]) -> [u32; 2] {
    let read = |bytes: &[u8]| {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    for pair in bytes.chunks_exact(8) {
        s0 = s0.wrapping_add(read(&pair[..4])).wrapping_add(s1);
        s1 = s1.wrapping_add(read(&pair[4..])).wrapping_add(s0);
    }
    [s0, s1]
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn put(bytes: &mut [u8], at: usize, words: [u32; 2]) {
    for (index, word) in words.into_iter().enumerate() {
        bytes[at + 4 * index..at + 4 * index + 4].copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_engine::PushMode;
    use plimsoll_sim::world::clock;

    use super::*;

    #[test]
    fn what_was_not_tampered_with_is_sealed_as_it_was() {
        let _in_virtual_time = clock::enter(0);
        let client = Client::with_history();
        let before: Vec<_> = ["draft-wal", "synced-wal"].map(|ending| client.read(ending)).into();
        seal(&client);
        let after: Vec<_> = ["draft-wal", "synced-wal"].map(|ending| client.read(ending)).into();
        assert!(before == after, "a log that was sound is another one now");
        client.open(client.remote.clone(), PushMode::Statements).expect("it opens as before");
    }

    #[test]
    fn a_sealed_log_is_opened_although_its_pages_are_others() {
        let _in_virtual_time = clock::enter(0);
        let client = Client::with_history();
        let mut wal = client.read("draft-wal");
        // In the first frame's page. Damage after the watermark would look like the torn end that a crash leaves.
        wal[32 + 24 + 2000] ^= 1;
        client.write("draft-wal", &wal);
        client.open(client.remote.clone(), PushMode::Statements).err().expect("its checksums are wrong");
        seal(&client);
        client.open(client.remote.clone(), PushMode::Statements).expect("its checksums are right");
    }
}
