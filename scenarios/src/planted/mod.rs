//! Planted bugs: small realistic mistakes in the engine, or in the archive behind `plimsoll serve`. Each is a patch in `scenarios/planted/`, and the
//! simulator must find all of them.
//!
//! A patch starts with a description:
//!
//! ```text
//! Area: pull
//! Like: fault 9; window 12.2, META(F) written
//!
//! The metadata names remote frames that were written to Synced's WAL and not synced.
//!
//! --- a/engine/src/state.rs
//! +++ b/engine/src/state.rs
//! @@ …
//! ```
//!
//! Guarantees: an edit is applied where its old lines are now, and only if they occur exactly once. Each of
//! [`AREAS`] has a bug.
//!
//! Not in this module: building and sweeping. The `planted` command does that.

mod patch;

use std::path::{Path, PathBuf};

pub use patch::{Edited, PatchError, PlantedBug};

/// The parts of the engine, and the archive, among which the bugs are distributed.
pub const AREAS: &[&str] = &[
    "bootstrap",
    "pull",
    "push",
    "rebase",
    "reset",
    "generation",
    "continuity",
    "metadata",
    "replay",
    "lock",
    "error path",
    ARCHIVE,
];

/// The area of the bugs in the archive behind `plimsoll serve`. The others are in the engine.
pub const ARCHIVE: &str = "archive";

#[must_use]
pub fn workspace() -> PathBuf {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR"));
    scenarios.parent().unwrap_or(scenarios).to_path_buf()
}

/// All planted bugs, sorted by name.
///
/// # Errors
/// If the directory or a file in it cannot be read, or if a file is not a patch.
pub fn all() -> Result<Vec<PlantedBug>, PatchError> {
    let directory = workspace().join("scenarios/planted");
    let mut bugs = Vec::new();
    for path in patch::files(&directory)? {
        bugs.push(PlantedBug::read(&path)?);
    }
    bugs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(bugs)
}
