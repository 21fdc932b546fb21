//! A patch: its description and its edits.
//!
//! The parser supports the part of the unified format that planted bugs need: files are edited, but never
//! created or removed. Line numbers are ignored.
#![expect(clippy::disallowed_methods, reason = "patches and sources are real files")]

use std::io;
use std::path::{Path, PathBuf};

use plimsoll_sim::search::generate::Profile;

use crate::planted::{ARCHIVE, AREAS};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlantedBug {
    /// The patch's file name without its suffix.
    pub name: String,
    /// One of [`AREAS`].
    pub area: String,
    /// The fault or crash window of the specification that the bug resembles.
    pub like: String,
    /// A description of the mistake.
    pub what: String,
    edits: Vec<Edit>,
}

/// An edited file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The path from the workspace's root.
    pub path: String,
    /// The new content.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    path: String,
    old: String,
    new: String,
}

/// The reason why a bug cannot be planted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    #[error("cannot read {path}")]
    File { path: String, source: io::Error },
    /// The patch is malformed.
    #[error("{name}: {problem}")]
    Malformed { name: String, problem: String },
    /// The engine's source has changed. Update the patch.
    #[error("{name} no longer applies: {path} contains these lines {count} times instead of once:\n{lines}")]
    DoesNotApply {
        name: String,
        /// The file to edit.
        path: String,
        /// How often the lines occur in the file.
        count: usize,
        lines: String,
    },
}

/// The files of a directory, all of which must be patches.
pub(super) fn files(directory: &Path) -> Result<Vec<PathBuf>, PatchError> {
    let list =
        || std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    list().map_err(|source| PatchError::File { path: directory.display().to_string(), source })
}

impl PlantedBug {
    /// The profile of the sweeps that have to find the bug.
    #[must_use]
    pub fn profile(&self) -> Profile {
        if self.area == ARCHIVE { Profile::Archive } else { Profile::default() }
    }

    /// Reads a patch.
    ///
    /// # Errors
    /// [`PatchError::File`] and [`PatchError::Malformed`].
    pub fn read(path: &Path) -> Result<Self, PatchError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(stem) = name.strip_suffix(".patch") else {
            return Err(PatchError::Malformed {
                name,
                problem: "the directory may contain only *.patch files".into(),
            });
        };
        let text = std::fs::read_to_string(path)
            .map_err(|source| PatchError::File { path: path.display().to_string(), source })?;
        Self::parse(stem, &text)
    }

    /// Parses a patch.
    ///
    /// # Errors
    /// [`PatchError::Malformed`].
    pub fn parse(name: &str, text: &str) -> Result<Self, PatchError> {
        let malformed = |problem: &str| PatchError::Malformed { name: name.into(), problem: problem.into() };
        let begin = text.find("--- a/").ok_or_else(|| malformed("it edits no file"))?;
        let (head, diff) = text.split_at(begin);
        let field = |beginning: &str| {
            head.lines().find_map(|line| line.strip_prefix(beginning)).map(|rest| rest.trim().to_owned())
        };
        let area = field("Area: ").ok_or_else(|| malformed("its head has no `Area: `"))?;
        if !AREAS.contains(&area.as_str()) {
            return Err(malformed(&format!("area `{area}` is not one of {}", AREAS.join(", "))));
        }
        let like = field("Like: ").ok_or_else(|| malformed("its head has no `Like: `"))?;
        let description: Vec<&str> = head
            .lines()
            .filter(|line| !line.starts_with("Area: ") && !line.starts_with("Like: "))
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        if description.is_empty() {
            return Err(malformed("its head does not say what the mistake is"));
        }
        let edits = edits(diff).map_err(|problem| malformed(&problem))?;
        Ok(Self { name: name.into(), area, like, what: description.join(" "), edits })
    }

    /// Returns the edited files. `read` returns the current content of a file.
    ///
    /// # Errors
    /// [`PatchError::File`] and [`PatchError::DoesNotApply`].
    pub fn apply(&self, read: impl Fn(&str) -> io::Result<String>) -> Result<Vec<Edited>, PatchError> {
        let mut files: Vec<Edited> = Vec::new();
        for Edit { path, old, new } in &self.edits {
            let index = match files.iter().position(|file| file.path == *path) {
                Some(index) => index,
                None => {
                    let text =
                        read(path).map_err(|source| PatchError::File { path: path.clone(), source })?;
                    files.push(Edited { path: path.clone(), text });
                    files.len() - 1
                }
            };
            let text = &mut files[index].text;
            let places = places_of(old, text);
            let [place] = places[..] else {
                return Err(PatchError::DoesNotApply {
                    name: self.name.clone(),
                    path: path.clone(),
                    count: places.len(),
                    lines: old.clone(),
                });
            };
            text.replace_range(place..place + old.len(), new);
        }
        Ok(files)
    }
}

/// The positions at which `lines` occur in a text, as whole lines.
fn places_of(lines: &str, text: &str) -> Vec<usize> {
    let begins_line = |place: &usize| *place == 0 || text.as_bytes()[place - 1] == b'\n';
    text.match_indices(lines).map(|(place, _)| place).filter(begins_line).collect()
}

fn edits(diff: &str) -> Result<Vec<Edit>, String> {
    let mut edits: Vec<Edit> = Vec::new();
    let mut path = None;
    let mut is_open = false;
    for line in diff.lines() {
        if let Some(rest) = line.strip_prefix("--- a/") {
            (path, is_open) = (Some(rest.trim().to_owned()), false);
        } else if line.starts_with("+++ ") && !is_open {
            continue;
        } else if line.starts_with("@@ ") {
            let path = path.clone().ok_or("an edit comes before its file")?;
            edits.push(Edit { path, old: String::new(), new: String::new() });
            is_open = true;
        } else if let Some(edit) = edits.last_mut().filter(|_| is_open) {
            // An editor may have removed the space of an empty context line.
            let (mark, rest) = line.split_at_checked(1).unwrap_or((" ", ""));
            let (in_old, in_new) = match mark {
                " " => (true, true),
                "-" => (true, false),
                "+" => (false, true),
                _ => return Err(format!("a line begins with `{mark}`: {line}")),
            };
            for (is_in, side) in [(in_old, &mut edit.old), (in_new, &mut edit.new)] {
                if is_in {
                    side.push_str(rest);
                    side.push('\n');
                }
            }
        } else {
            return Err(format!("a line is no part of an edit: {line}"));
        }
    }
    match edits.iter().find(|edit| edit.old == edit.new || edit.old.is_empty()) {
        Some(edit) => Err(format!("an edit of {} changes nothing, or has no place", edit.path)),
        None if edits.is_empty() => Err("it edits nothing".into()),
        None => Ok(edits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "Area: pull\nLike: fault 9\n\nNot synced.\n\n--- a/a.rs\n+++ b/a.rs\n@@ -1,3 +1,2 @@\n one\n-two\n three\n";

    fn applied(text: &str) -> Result<String, PatchError> {
        let bug = PlantedBug::parse("p", PATCH).unwrap();
        bug.apply(|_| Ok(text.to_owned())).map(|mut edited| edited.remove(0).text)
    }

    #[test]
    fn lines_are_found_wherever_they_are_by_now() {
        assert_eq!(applied("new\none\ntwo\nthree\nfour\n").unwrap(), "new\none\nthree\nfour\n");
    }

    #[test]
    fn lines_that_are_gone_or_there_twice_are_told() {
        for (text, times) in
            [("one\nthree\n", 0), ("one\ntwo\nthree\none\ntwo\nthree\n", 2), ("xone\ntwo\nthree\n", 0)]
        {
            match applied(text) {
                Err(PatchError::DoesNotApply { count, .. }) => assert_eq!(count, times),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_patch_without_a_head_or_an_edit_is_refused() {
        for (from, to) in [
            ("Area: pull\n", ""),
            ("Area: pull", "Area: elsewhere"),
            ("Like: fault 9\n", ""),
            ("Not synced.\n", ""),
            ("-two\n", " two\n"),
        ] {
            let wrong = PATCH.replace(from, to);
            assert!(matches!(PlantedBug::parse("p", &wrong), Err(PatchError::Malformed { .. })), "{wrong}");
        }
    }
}
