//! The scratch copy of the workspace: the sources, with or without a bug.
//!
//! The copy's crates have a version of their own. So cargo can keep what it compiles for the copy and for the
//! workspace in one build directory, and the core is compiled once for both. Only the finished command goes to
//! a directory of the copy, because it has the same name in both.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use plimsoll_scenarios::planted::Edited;

/// The files and directories that a build needs.
const COPIED: &[&str] = &[MANIFEST, LOCK_FILE, "engine", "sim", "scenarios"];
const MANIFEST: &str = "Cargo.toml";
const LOCK_FILE: &str = "Cargo.lock";

/// A copy that only this process uses.
pub struct Scratch {
    root: PathBuf,
    copy: PathBuf,
    target: PathBuf,
    /// The lock, held while the process lives.
    _lock: File,
}

/// The reason why the copy cannot be created or built.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    #[error("cannot copy {path}")]
    Copy { path: String, source: io::Error },
    #[error("{path} is in use by another run: name another directory with --scratch")]
    InUse { path: String },
    #[error("cannot run cargo")]
    Cargo { source: io::Error },
    #[error("the copy does not build:\n{output}")]
    DoesNotBuild { output: String },
}

impl Scratch {
    pub fn new(root: &Path, directory: &Path) -> Result<Self, ScratchError> {
        let failed = |source| ScratchError::Copy { path: directory.display().to_string(), source };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let directory = directory.canonicalize().map_err(failed)?;
        let lock = File::create(directory.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ScratchError::InUse { path: directory.display().to_string() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let (copy, target) = (directory.join("workspace"), directory.join("target"));
        std::fs::create_dir_all(&copy).map_err(failed)?;
        Ok(Self { root: root.to_path_buf(), copy, target, _lock: lock })
    }

    /// Builds `plimsoll` with these files edited and returns its path.
    pub fn build(&mut self, edited: &[Edited]) -> Result<PathBuf, ScratchError> {
        for name in COPIED {
            self.copy(Path::new(name), edited)?;
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["build", "--release", "--locked", "-p", "plimsoll-sim", "--bin", "plimsoll", "--quiet"])
            .arg("--target-dir")
            .arg(&self.target)
            .current_dir(&self.copy)
            .env("CARGO_BUILD_BUILD_DIR", self.build_directory())
            // Two bugs differ only in a few functions. So an incremental build takes 5 s instead of 45 s.
            .env("CARGO_INCREMENTAL", "1")
            .output()
            .map_err(|source| ScratchError::Cargo { source })?;
        if !output.status.success() {
            let output = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(ScratchError::DoesNotBuild { output });
        }
        Ok(self.target.join("release").join(format!("plimsoll{}", std::env::consts::EXE_SUFFIX)))
    }

    /// The workspace's own build directory.
    fn build_directory(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), PathBuf::from)
    }

    /// Copies a file or directory from the workspace, with the edits applied. Does not write files that are
    /// identical already, because cargo would rebuild them.
    fn copy(&self, path: &Path, edited: &[Edited]) -> Result<(), ScratchError> {
        let (from, to) = (self.root.join(path), self.copy.join(path));
        let failed = |source| ScratchError::Copy { path: path.display().to_string(), source };
        if !from.is_dir() {
            let edit = edited.iter().find(|file| Path::new(&file.path) == path);
            let bytes = match edit {
                Some(file) => file.text.clone().into_bytes(),
                None => std::fs::read(&from).map_err(failed)?,
            };
            let bytes = match path.to_str() {
                Some(MANIFEST) => with_own_version(bytes, "[workspace.package]\n"),
                Some(LOCK_FILE) => with_own_version(bytes, "name = \"plimsoll-"),
                _ => bytes,
            };
            let is_so = std::fs::read(&to).is_ok_and(|present| present == bytes);
            return if is_so { Ok(()) } else { std::fs::write(&to, bytes).map_err(failed) };
        }
        std::fs::create_dir_all(&to).map_err(failed)?;
        let names = names_in(&from).map_err(failed)?;
        for gone in names_in(&to).map_err(failed)?.difference(&names) {
            remove(&to.join(gone)).map_err(failed)?;
        }
        for name in names {
            self.copy(&path.join(name), edited)?;
        }
        Ok(())
    }
}

/// The text of a manifest or of a lock file, in which the first version after each `beginning` is the copy's own.
fn with_own_version(text: Vec<u8>, beginning: &str) -> Vec<u8> {
    const VERSION: &str = "version = \"";
    let text = String::from_utf8_lossy(&text);
    let mut parts = text.split_inclusive(beginning);
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(VERSION).and_then(|start| {
            let value = start + VERSION.len();
            part[value..].find('"').map(|length| value + length)
        });
        match end {
            Some(end) => changed.extend([&part[..end], "-planted", &part[end..]]),
            None => changed += part,
        }
    }
    changed.into_bytes()
}

fn names_in(directory: &Path) -> io::Result<BTreeSet<PathBuf>> {
    std::fs::read_dir(directory)?.map(|entry| Ok(PathBuf::from(entry?.file_name()))).collect()
}

fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_workspaces_own_crates_get_another_version() {
        let manifest = "[workspace.package]\nversion = \"0.1.0\"\n[workspace.dependencies]\ncore = { version = \"1\" }\n";
        let changed = with_own_version(manifest.into(), "[workspace.package]\n");
        assert_eq!(String::from_utf8(changed).unwrap(), manifest.replace("0.1.0", "0.1.0-planted"));
        let lock = "[[package]]\nname = \"a\"\nversion = \"2.0.0\"\n\n[[package]]\nname = \"plimsoll-sim\"\nversion = \"0.1.0\"\n";
        let changed = with_own_version(lock.into(), "name = \"plimsoll-");
        assert_eq!(String::from_utf8(changed).unwrap(), lock.replace("0.1.0", "0.1.0-planted"));
    }
}
