//! Hostile database files and WALs. Checksums would catch most damage at once. So the target can seal the
//! WALs again after the damage and make the metadata agree. Then the core reads the hostile bytes.
#![no_main]
#![expect(clippy::disallowed_methods, reason = "the macro writes a file of its own where it is asked to")]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use plimsoll_engine::PushMode;
use plimsoll_fuzz::client::{Client, ENDINGS, use_everything};
use plimsoll_fuzz::{corpus, seal, watchdog};
use plimsoll_sim::world::clock;

/// A history with hostile files.
#[derive(Debug, Arbitrary)]
struct Tampering {
    pushes_frames: bool,
    /// The changes, in order.
    changes: Vec<Change>,
    /// Whether to seal the WALs afterwards and make the metadata agree.
    is_sealed: bool,
}

#[derive(Debug, Arbitrary)]
enum Change {
    /// Overwrites bytes of a file.
    Edit { file: u8, edits: Vec<(u32, u8)> },
    /// Truncates a file.
    Cut { file: u8, length: u32 },
    /// Appends to a file.
    Extend { file: u8, with: Vec<u8> },
    /// Replaces a file.
    Replace { file: u8, by: Vec<u8> },
    /// Copies a part of a file to another place, perhaps in another file.
    Copy { from: u8, at: u32, length: u16, to: u8, there: u32 },
}

fuzz_target!(
    init: corpus::seed("wal", corpus::noise()),
    |tampering: Tampering| watchdog::watch(|| tamper(&tampering))
);

fn tamper(tampering: &Tampering) {
    let _in_virtual_time = clock::enter(0);
    let client = Client::with_history();
    for change in &tampering.changes {
        apply(&client, change);
    }
    if tampering.is_sealed {
        seal::seal(&client);
    }
    let mode = if tampering.pushes_frames { PushMode::Frames } else { PushMode::Statements };
    if let Ok(engine) = client.open(client.remote.clone(), mode) {
        use_everything(&engine);
    }
}

fn apply(client: &Client, change: &Change) {
    // The metadata has a target of its own.
    let ending = |file: &u8| ENDINGS[usize::from(*file) % (ENDINGS.len() - 1)];
    match change {
        Change::Edit { file, edits } => {
            let mut bytes = client.read(ending(file));
            let count = bytes.len().max(1);
            for (at, byte) in edits {
                if let Some(place) = bytes.get_mut(*at as usize % count) {
                    *place = *byte;
                }
            }
            client.write(ending(file), &bytes);
        }
        Change::Cut { file, length } => {
            let mut bytes = client.read(ending(file));
            bytes.truncate(*length as usize % (bytes.len() + 1));
            client.write(ending(file), &bytes);
        }
        Change::Extend { file, with } => {
            let mut bytes = client.read(ending(file));
            bytes.extend_from_slice(with);
            client.write(ending(file), &bytes);
        }
        Change::Replace { file, by } => client.write(ending(file), by),
        Change::Copy { from, at, length, to, there } => {
            let source = client.read(ending(from));
            let mut target = client.read(ending(to));
            let at = *at as usize % (source.len() + 1);
            let there = *there as usize % (target.len() + 1);
            let part = &source[at..source.len().min(at + usize::from(*length))];
            let room = part.len().min(target.len() - there);
            target[there..there + room].copy_from_slice(&part[..room]);
            client.write(ending(to), &target);
        }
    }
}
