//! Planted bugs: small realistic mistakes in the engine, each a patch in `scenarios/planted/`, all of which the simulator has to find.
//!
//! A patch begins with what it is:
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
//! Guarantees: an edit is made where its old lines stand, wherever that is by now, and only if they stand in one place; nothing is
//! guessed. Each of [`AREAS`] has a bug.
//!
//! Left out: building and sweeping, which is the `planted` command's affair.

mod patch;

use std::path::{Path, PathBuf};

pub use patch::{Edited, PatchError, PlantedBug};

/// The parts of the engine over which the bugs are spread.
pub const AREAS: &[&str] =
    &["bootstrap", "pull", "push", "rebase", "reset", "generation", "metadata", "replay", "error path"];

/// The workspace's root.
#[must_use]
pub fn workspace() -> PathBuf {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR"));
    scenarios.parent().unwrap_or(scenarios).to_path_buf()
}

/// All planted bugs, by name.
///
/// # Errors
/// When the directory or a file in it cannot be read, or is no patch.
pub fn all() -> Result<Vec<PlantedBug>, PatchError> {
    let directory = workspace().join("scenarios/planted");
    let mut bugs = Vec::new();
    for path in patch::files(&directory)? {
        bugs.push(PlantedBug::read(&path)?);
    }
    bugs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(bugs)
}
