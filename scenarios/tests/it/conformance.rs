//! The same script gives the same results on the simulated disk and on real files, including errors.

use std::sync::Arc;

use plimsoll_engine::Error;
use plimsoll_scenarios::sandbox::{Sandbox, rows};
use plimsoll_sim::text::error_chain;
use plimsoll_sim::world::in_process::block_on;
use turso_core::{Buffer, Completion, File, OpenFlags};

/// Runs a script in both places. Its output must be equal. Returns the output, with paths as `DIR/…`.
fn alike(script: impl Fn(&Sandbox, &mut Vec<String>)) -> Vec<String> {
    let outcome_in_words = |place: Sandbox| {
        let mut lines = Vec::new();
        script(&place, &mut lines);
        let path = place.path("a");
        let directory = path.strip_suffix("/a.db").unwrap();
        lines.iter().map(|line| line.replace(directory, "DIR")).collect::<Vec<_>>()
    };
    let simulated = outcome_in_words(Sandbox::simulated());
    assert_eq!(simulated, outcome_in_words(Sandbox::real()));
    assert!(!simulated.is_empty(), "a script must have output");
    simulated
}

fn outcome_in_words<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(error) => format!("{} (retryable: {})", error_chain(&error), error.is_retryable()),
    }
}

fn file(place: &Sandbox, suffix: &str) -> Arc<dyn File> {
    let path = format!("{}{suffix}", place.path("a"));
    place.io().open_file(&path, OpenFlags::Create, false).unwrap()
}

fn write(place: &Sandbox, suffix: &str, offset: u64, bytes: &[u8]) {
    let buffer = Arc::new(Buffer::new(bytes.to_vec()));
    let completion = file(place, suffix).pwrite(offset, buffer, Completion::new_write(|_| {})).unwrap();
    place.io().wait_for_completion(completion).unwrap();
}

fn cut(place: &Sandbox, suffix: &str, length: u64) {
    let completion = file(place, suffix).truncate(length, Completion::new_trunc(|_| {})).unwrap();
    place.io().wait_for_completion(completion).unwrap();
}

/// A client that has pulled two rows and is closed.
fn closed_client(place: &Sandbox) {
    place.remote_executes(&["CREATE TABLE t (v)", "INSERT INTO t VALUES (1), (2)"]);
    drop(place.open("a").unwrap());
}

/// Opens the client, and pulls if that succeeds.
fn opened(place: &Sandbox) -> String {
    match place.open("a") {
        Ok(engine) => format!("opens, then the pull: {}", outcome_in_words(block_on(engine.pull()))),
        Err(error) => outcome_in_words::<()>(Err(error)),
    }
}

#[test]
fn files_of_draft_that_are_missing_are_refused_alike() {
    for suffix in ["-draft", "-draft-wal"] {
        let lines = opened_twice_without(suffix);
        assert!(lines.iter().all(|line| line.contains(suffix)), "{lines:?}");
    }
}

#[test]
fn files_of_the_replica_that_are_missing_are_fetched_again_alike() {
    for suffix in ["-synced", "-synced-wal"] {
        assert_eq!(opened_twice_without(suffix), ["opens, then the pull: ok"; 2]);
    }
}

fn opened_twice_without(suffix: &str) -> Vec<String> {
    alike(|place, lines| {
        closed_client(place);
        place.io().remove_file(&format!("{}{suffix}", place.path("a"))).unwrap();
        lines.push(opened(place));
        lines.push(opened(place));
    })
}

#[test]
fn foreign_files_are_refused_alike() {
    for suffix in ["-draft", "-synced-wal"] {
        let lines = alike(|place, lines| {
            write(place, suffix, 0, b"somebody else's");
            lines.push(opened(place));
            lines.push(file(place, suffix).size().unwrap().to_string());
        });
        assert_eq!(
            lines,
            [
                format!(
                    "DIR/a.db{suffix} exists but there is no metadata beside it: refusing to overwrite it (retryable: false)"
                ),
                "15".into()
            ]
        );
    }
}

#[test]
fn damaged_files_are_refused_alike() {
    type Damage = fn(&Sandbox);
    let damages: [(&str, Damage); 4] = [
        ("-info", |place| write(place, "-info", 20, b"#")),
        ("-info", |place| cut(place, "-info", 30)),
        ("-draft-wal", |place| cut(place, "-draft-wal", 100)),
        ("-draft-wal", |place| write(place, "-draft-wal", 10, b"rot")),
    ];
    for (suffix, damage) in damages {
        let lines = alike(|place, lines| {
            closed_client(place);
            damage(place);
            lines.push(opened(place));
        });
        // The core names the database if its WAL's header is corrupt.
        let names = lines[0].contains(suffix.trim_end_matches("-wal"));
        assert!(names && lines[0].ends_with("(retryable: false)"), "{lines:?}");
    }
}

#[test]
fn a_damaged_replica_is_fetched_again_alike() {
    let damages: [fn(&Sandbox); 2] =
        [|place| cut(place, "-synced-wal", 100), |place| write(place, "-synced-wal", 32 + 24 + 2000, b"rot")];
    for damage in damages {
        let lines = alike(|place, lines| {
            closed_client(place);
            damage(place);
            lines.push(opened(place));
        });
        assert_eq!(lines, ["opens, then the pull: ok"]);
    }
}

#[test]
fn a_writer_in_the_way_is_reported_alike() {
    let lines = alike(|place, lines| {
        place.remote_executes(&["CREATE TABLE t (v)"]);
        let engine = place.open("a").unwrap();
        let connection = engine.connect().unwrap();
        connection.execute("BEGIN").unwrap();
        connection.execute("INSERT INTO t VALUES (1)").unwrap();
        place.remote_executes(&["INSERT INTO t VALUES (2)"]);
        lines.push(outcome_in_words(block_on(engine.pull())));
        connection.execute("COMMIT").unwrap();
        lines.push(outcome_in_words(block_on(engine.sync())));
        lines.extend(rows(&connection, "SELECT v FROM t ORDER BY v"));
        lines.extend(place.remote_rows("SELECT v FROM t ORDER BY v"));
    });
    assert_eq!(
        lines,
        [
            "DIR/a.db-draft is busy: another connection holds its write lock (retryable: true)",
            "ok",
            "1",
            "2",
            "1",
            "2"
        ]
    );
}
