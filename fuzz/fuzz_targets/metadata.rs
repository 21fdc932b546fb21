//! Hostile metadata beside sound files. The input is a metadata file. If only its checksum is wrong, the
//! target also tries it with the right checksum.
#![no_main]
#![expect(clippy::disallowed_methods, reason = "the macro writes a file of its own where it is asked to")]

use libfuzzer_sys::fuzz_target;
use plimsoll_engine::PushMode;
use plimsoll_fuzz::client::{Client, use_everything};
use plimsoll_fuzz::{corpus, watchdog};
use plimsoll_sim::world::clock;
use serde_json::value::RawValue;

fuzz_target!(
    init: {
        let _in_virtual_time = clock::enter(0);
        corpus::seed("metadata", [("sound".to_owned(), Client::with_history().read("info"))]);
    },
    |bytes: &[u8]| watchdog::watch(|| {
        let _in_virtual_time = clock::enter(0);
        open_with(bytes);
        if let Some(restamped) = with_right_checksum(bytes) {
            open_with(&restamped);
        }
    })
);

fn open_with(metadata: &[u8]) {
    let client = Client::with_history();
    client.write("info", metadata);
    if let Ok(engine) = client.open(client.remote.clone(), PushMode::Statements) {
        use_everything(&engine);
    }
}

/// The same metadata with the right checksum.
fn with_right_checksum(bytes: &[u8]) -> Option<Vec<u8>> {
    let members: std::collections::BTreeMap<String, Box<RawValue>> = serde_json::from_slice(bytes).ok()?;
    let metadata = members.get("metadata")?.get();
    let checksum = crc32fast::hash(metadata.as_bytes());
    Some(format!(r#"{{"checksum":{checksum},"metadata":{metadata}}}"#).into_bytes())
}
