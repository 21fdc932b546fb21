//! The inputs that a target begins with. They are put into its corpus before libFuzzer reads it.
#![expect(clippy::disallowed_methods, reason = "corpora are real files")]

use std::path::Path;

/// Puts inputs into the corpus of `target`, unless they are there.
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

/// The schedules that found something once, from `scenarios/corpus`.
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
