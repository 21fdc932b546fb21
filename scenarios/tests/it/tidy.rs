//! Checks of the sources that clippy does not have: the length of a file, its first line, and forbidden
//! words.
//!
//! `clippy.toml` lists the functions that make a history depend on anything but its schedule.
//!
//! Not checked: documents and generated files.
#![expect(clippy::disallowed_methods, reason = "the sources are real files")]

use std::path::{Path, PathBuf};

use crate::imports;

/// The maximum length of a file. A longer one should be split by concept.
const LINES_MAX: usize = 500;

/// Forbidden words with the reason. Each is written in two parts, so that this list does not match itself.
const FORBIDDEN: &[([&str; 2], &str)] = &[
    (
        ["#[ign", "ore"],
        "a skipped test checks nothing; let a slow test read an environment variable and report a skip",
    ),
    (["todo", "!("], "a missing feature is a typed error or is not offered"),
    (["unimplemented", "!("], "a missing feature is a typed error or is not offered"),
    (["dbg", "!("], "it is for debugging only"),
    (["#[al", "low("], "`expect` with a reason reports when it is no longer needed"),
    (["#![al", "low("], "`expect` with a reason reports when it is no longer needed"),
    (["thread_", "local!"], "the virtual clock is the one thread-local; everything else is in the world"),
    (["cfg(", "sim)"], "what is tested is what is shipped"),
    (["/ho", "me/"], "a path of one machine"),
    (["/ro", "ot/"], "a path of one machine"),
    (["/Us", "ers/"], "a path of one machine"),
    (["/wo", "rk/"], "a path of one machine"),
];

/// Places where a word is allowed.
const EXCEPTIONS: &[(&str, [&str; 2])] = &[("sim/src/world/clock.rs", ["thread_", "local!"])];

/// File names without a meaning.
const EMPTY_NAMES: &[&str] = &["common", "data", "helper", "helpers", "manager", "misc", "util", "utils"];

/// A source, with its path relative to the workspace's root.
struct Source {
    path: String,
    text: String,
}

#[test]
fn no_file_is_two_concepts_long() {
    let long: Vec<String> = sources()
        .iter()
        .map(|Source { path, text }| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{path}: {lines} lines, at most {LINES_MAX}: split it by concept"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_file_opens_with_what_it_guarantees() {
    let mute: Vec<String> = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path)
        .collect();
    assert!(mute.is_empty(), "these do not open with `//!`: {}", mute.join(", "));
}

#[test]
fn no_forbidden_word_is_in_a_source() {
    let found: Vec<String> = sources().iter().flat_map(forbidden_words).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_forbidden_word_is_found() {
    for (parts, _) in FORBIDDEN {
        let text = format!("//! Head.\n    {}", parts.concat());
        let found = forbidden_words(&Source { path: "a.rs".into(), text });
        assert!(found.len() == 1 && found[0].starts_with("a.rs:2: "), "{found:?}");
    }
}

#[test]
fn every_file_has_a_name_that_says_something() {
    for source in sources() {
        let stem = Path::new(&source.path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        assert!(!EMPTY_NAMES.contains(&stem.as_str()), "{}: name it by its concept", source.path);
    }
}

#[test]
fn the_engine_does_not_know_the_simulator() {
    for path in ["engine/Cargo.toml", "sim/Cargo.toml"] {
        let manifest = std::fs::read_to_string(root().join(path)).unwrap();
        // The documentation's example needs a remote.
        let used = manifest.split("[dev-dependencies]").next().unwrap();
        let unknown: &[&str] = if path.starts_with("engine") {
            &["plimsoll-sim", "plimsoll-scenarios"]
        } else {
            &["plimsoll-scenarios"]
        };
        for name in unknown {
            assert!(!used.contains(name), "{path} depends on {name}: dependencies point one way");
        }
    }
}

/// The modules of the simulator. Each may import the later ones.
const SIM_ORDER: &[&str] =
    &["serve", "report", "search", "world", "judge", "schedule", "fault", "text", "lock"];

/// The modules of the engine, from the operations down to the stored state. Each may import the later ones.
/// The modules that repair the state are above it.
const ENGINE_ORDER: &[&str] = &[
    "engine",
    "push",
    "rebase",
    "rebootstrap",
    "walk",
    "recovery",
    "checkpoint",
    "replacement",
    "reset",
    "state",
    "synced",
    "metadata",
    "error",
];

#[test]
fn modules_import_in_one_direction() {
    for (src, order) in [("engine/src", ENGINE_ORDER), ("sim/src", SIM_ORDER)] {
        let path = root().join(src);
        imports::check(&path)
            .and_then(|()| imports::check_order(&path, order))
            .unwrap_or_else(|problem| panic!("{src}: {problem}"));
    }
}

#[test]
fn a_folder_opens_with_mod_rs() {
    let paths: Vec<String> = sources().into_iter().map(|source| source.path).collect();
    for path in paths.iter().filter(|path| path.contains("/src/")) {
        let folder = format!("{}/", path.strip_suffix(".rs").unwrap());
        let inside = paths.iter().find(|other| other.starts_with(&folder));
        assert_eq!(inside, None, "{path} is beside its folder: rename it to {folder}mod.rs");
    }
}

fn forbidden_words(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (line, number) in source.text.lines().zip(1..) {
        for (parts, reason) in FORBIDDEN {
            let word = parts.concat();
            if line.contains(&word) && !EXCEPTIONS.contains(&(source.path.as_str(), *parts)) {
                found.push(format!("{}:{number}: `{word}`: {reason}", source.path));
            }
        }
    }
    found
}

/// Every Rust file of the workspace, in the order of their paths.
fn sources() -> Vec<Source> {
    let root = root();
    let mut paths = Vec::new();
    for directory in ["engine", "sim", "scenarios", "fuzz"] {
        if root.join(directory).is_dir() {
            collect(&root.join(directory), &mut paths);
        }
    }
    paths.sort();
    assert!(paths.len() > 100, "only {} sources found", paths.len());
    paths
        .into_iter()
        .map(|path| Source {
            text: std::fs::read_to_string(&path).unwrap(),
            path: path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/"),
        })
        .collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, paths);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).canonicalize().unwrap()
}
