//! The initial inputs of a target. They are put into the target's corpus before libFuzzer reads the corpus.
#![expect(clippy::disallowed_methods, reason = "corpora are real files")]

use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Adds inputs to the corpus of `target` unless they exist.
///
/// # Panics
/// If they cannot be written.
pub fn seed(target: &str, inputs: impl IntoIterator<Item = (String, Vec<u8>)>) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    std::fs::create_dir_all(&directory).expect("the corpus can be made");
    for (name, bytes) in inputs {
        let path = directory.join(name);
        if !path.exists() {
            std::fs::write(&path, bytes).expect("the corpus can be written");
        }
    }
}

/// The schedules of `scenarios/corpus`.
///
/// # Panics
/// If they cannot be read.
pub fn schedules() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/corpus");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("there is a corpus of schedules") {
        let path = entry.expect("the corpus of schedules can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push((name, std::fs::read(&path).expect("a schedule can be read")));
    }
    files
}

/// Inputs of pseudo-random bytes, for a target that derives its structure from bytes. Some are long. Without
/// them libFuzzer would start with a few bytes and need a night to reach longer inputs.
pub fn noise() -> impl Iterator<Item = (String, Vec<u8>)> {
    const LENGTHS: [usize; 4] = [16, 64, 256, 1024];
    const OF_EACH: u64 = 8;
    LENGTHS.into_iter().flat_map(|length| {
        (0..OF_EACH).map(move |number| {
            let mut bytes = vec![0; length];
            ChaCha8Rng::seed_from_u64(number).fill_bytes(&mut bytes);
            (format!("noise-{length}-{number}"), bytes)
        })
    })
}
