//! The directory of a server, on real files: what a start finds there, and what it does with it.
//!
//! A refused start must change nothing. Every other start must have every transaction that was acknowledged.
#![expect(clippy::disallowed_methods, reason = "these tests use real files")]

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use plimsoll_sim::serve::{ArchiveError, ArchiveOptions, backup};
use plimsoll_sim::text::error_chain;
use plimsoll_sim::world::remote::Remote;
use tempfile::TempDir;

use crate::http::{Running, pulled, runtime};

/// The content of a directory by file name.
pub type Files = BTreeMap<String, Vec<u8>>;

pub fn files_of(directory: &Path) -> Files {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let name = |entry: &std::fs::DirEntry| entry.file_name().into_string().unwrap();
    entries.map(|entry| (name(&entry), std::fs::read(entry.path()).unwrap())).collect()
}

/// Puts a directory's content back, in place.
fn put_back(directory: &Path, files: &Files) {
    for name in files_of(directory).keys().filter(|name| !files.contains_key(*name)) {
        std::fs::remove_file(directory.join(name)).unwrap();
    }
    for (name, bytes) in files {
        std::fs::write(directory.join(name), bytes).unwrap();
    }
}

/// `cp -r`
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    files_of(from).into_keys().for_each(|name| {
        std::fs::copy(from.join(&name), to.join(&name)).unwrap();
    });
}

fn position(server: &Running) -> (u64, u64) {
    server.remote.with_remote(|remote| (remote.generation(), remote.frame_count()))
}

fn history(server: &Running) -> String {
    server.remote.with_remote(Remote::history_id).unwrap()
}

/// Runs a server on a directory and ends two generations: rows 1, 2 and 3 of `t`, one per generation.
async fn filled(directory: &Path) -> String {
    let server = Running::start(directory).await.unwrap();
    server.execute(&["CREATE TABLE t (v)", "INSERT INTO t VALUES (1)"]);
    assert!(server.remote.checkpoint().unwrap());
    server.execute(&["INSERT INTO t VALUES (2)"]);
    assert!(server.remote.checkpoint().unwrap());
    server.execute(&["INSERT INTO t VALUES (3)"]);
    let history = history(&server);
    server.stop().await;
    history
}

pub struct Place {
    directory: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Starts a server, which must be refused without a change of the directory. Returns the reason.
async fn refusal(directory: &Path) -> String {
    let before = files_of(directory);
    let error = Running::start(directory).await.err().expect("the start is refused");
    assert!(
        before == files_of(directory),
        "a refused start has changed the directory: {}",
        error_chain(&error)
    );
    error_chain(&error)
}

#[test]
fn a_restarted_server_resumes_its_generations() {
    runtime().block_on(async {
        let place = Place::new();
        let (remote, slow) = (place.path("remote"), place.path("slow"));
        let server = Running::start(&remote).await.unwrap();
        server.execute(&["CREATE TABLE t (v)", "INSERT INTO t VALUES (1)"]);
        assert_eq!(pulled(&server, &slow).await, ["1"]);
        assert!(server.remote.checkpoint().unwrap());
        server.execute(&["INSERT INTO t VALUES (2)"]);
        assert!(server.remote.checkpoint().unwrap());
        server.execute(&["INSERT INTO t VALUES (3)"]);
        let before = (position(&server), history(&server));
        server.stop().await;

        let server = Running::start(&remote).await.unwrap();
        assert_eq!((position(&server), history(&server)), before);
        assert_eq!(
            pulled(&server, &slow).await,
            ["1", "2", "3"],
            "through the generations that were closed before the restart"
        );
        assert_eq!(pulled(&server, &place.path("new")).await, ["1", "2", "3"]);
        server.stop().await;
    });
}

/// Each file in turn is missing. `current.db-wal` without frames may be missing, as nothing is lost then.
#[test]
fn a_missing_file_is_refused_by_name_and_nothing_is_written() {
    runtime().block_on(async {
        let place = Place::new();
        let data = place.path("remote");
        filled(&data).await;
        let complete = files_of(&data);
        for name in complete.keys().filter(|name| !matches!(&***name, "lock" | "generation-3.wal")) {
            std::fs::remove_file(data.join(name)).unwrap();
            let reason = refusal(&data).await;
            let named = if name == "manifest" { "there is no manifest beside it" } else { name };
            assert!(reason.contains(named), "without {name}: {reason}");
            put_back(&data, &complete);
        }
        // Each of the two has all frames of the current generation.
        let logs = ["current.db-wal", "generation-3.wal"].map(|name| data.join(name));
        let losses: [fn(&PathBuf) -> std::io::Result<()>; 2] =
            [|log| std::fs::remove_file(log), |log| std::fs::write(log, b"")];
        for lose in losses {
            logs.iter().try_for_each(lose).unwrap();
            let reason = refusal(&data).await;
            assert!(reason.contains("current.db-wal has no frames"), "{reason}");
            put_back(&data, &complete);
        }
        let is_left = |name: &str| name == "lock" || name.starts_with("current.db");
        let only: Files = complete.into_iter().filter(|(name, _)| is_left(name)).collect();
        put_back(&data, &only);
        assert!(refusal(&data).await.contains("there is no manifest beside it"));
    });
}

#[test]
fn a_changed_or_foreign_file_is_refused_by_name_and_nothing_is_written() {
    runtime().block_on(async {
        let place = Place::new();
        let data = place.path("remote");
        filled(&data).await;
        let complete = files_of(&data);
        // The WAL is authoritative, not the log that follows it.
        for name in complete.keys().filter(|name| !matches!(&***name, "lock" | "generation-3.wal")) {
            let mut files = complete.clone();
            let bytes = files.get_mut(name).unwrap();
            // The WAL overrides the other page of the main file.
            let at = if name == "current.db" { 50 } else { bytes.len() / 2 };
            bytes[at] ^= 1;
            put_back(&data, &files);
            let reason = refusal(&data).await;
            assert!(reason.contains(name), "{name} was changed: {reason}");
        }
        put_back(&data, &complete);
        for name in ["generation-5.db", "generation-4.wal", "generation-7.wal", "current.db-journal"] {
            std::fs::write(data.join(name), "x").unwrap();
            let reason = refusal(&data).await;
            assert!(reason.contains(name), "{reason}");
            std::fs::remove_file(data.join(name)).unwrap();
        }
        std::fs::write(data.join("notes.txt"), "x").unwrap();
        let server = Running::start(&data).await.unwrap();
        assert_eq!(pulled(&server, &place.path("client")).await, ["1", "2", "3"]);
        server.stop().await;
        assert_eq!(std::fs::read(data.join("notes.txt")).unwrap(), b"x");
    });
}

/// A SELECT in another program moves the WAL into the main file and removes it.
#[test]
fn a_wal_that_another_program_has_moved_begins_the_next_generation() {
    runtime().block_on(async {
        let place = Place::new();
        let (data, client) = (place.path("remote"), place.path("client"));
        let history_before = filled(&data).await;
        let server = Running::start(&data).await.unwrap();
        assert_eq!(pulled(&server, &client).await, ["1", "2", "3"]);
        server.execute(&["INSERT INTO t VALUES (4)"]);
        server.stop().await;
        let sqlite = rusqlite::Connection::open(data.join("current.db")).unwrap();
        let count: u32 = sqlite.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 4);
        sqlite.close().unwrap();
        assert!(!data.join("current.db-wal").exists());

        let server = Running::start(&data).await.unwrap();
        assert_eq!((position(&server), history(&server)), ((4, 0), history_before));
        server.execute(&["INSERT INTO t VALUES (5)"]);
        assert_eq!(pulled(&server, &client).await, ["1", "2", "3", "4", "5"]);
        assert_eq!(pulled(&server, &place.path("new")).await, ["1", "2", "3", "4", "5"]);
        server.stop().await;
    });
}

/// Its transaction is in no log, so clients could not follow.
#[test]
fn a_main_file_that_another_program_has_written_is_refused_by_name() {
    runtime().block_on(async {
        let place = Place::new();
        let data = place.path("remote");
        filled(&data).await;
        let sqlite = rusqlite::Connection::open(data.join("current.db")).unwrap();
        sqlite.execute_batch("INSERT INTO t VALUES (99)").unwrap();
        sqlite.close().unwrap();
        let reason = refusal(&data).await;
        assert!(reason.contains("current.db-wal") && reason.contains("generation-3.wal"), "{reason}");
    });
}

/// The core locks its files with POSIX locks. They would be gone once any handle of the file is closed.
#[test]
#[cfg(target_os = "linux")]
fn the_cores_lock_lasts_while_the_server_runs() {
    use std::os::unix::fs::MetadataExt;
    runtime().block_on(async {
        let place = Place::new();
        let data = place.path("remote");
        filled(&data).await;
        let server = Running::start(&data).await.unwrap();
        server.execute(&["INSERT INTO t VALUES (4)"]);
        assert!(server.remote.checkpoint().unwrap());
        server.execute(&["INSERT INTO t VALUES (5)"]);
        assert_eq!(pulled(&server, &place.path("client")).await.len(), 5);
        for name in ["current.db", "current.db-wal"] {
            let inode = std::fs::metadata(data.join(name)).unwrap().ino();
            let locks = std::fs::read_to_string("/proc/locks").unwrap();
            assert!(
                locks.lines().any(|line| line.contains("POSIX") && line.contains(&format!(":{inode} "))),
                "{name}"
            );
        }
        server.stop().await;
    });
}

#[test]
fn a_copy_begins_a_new_history_and_a_renamed_directory_does_not() {
    runtime().block_on(async {
        let place = Place::new();
        let (data, moved, copied) = (place.path("remote"), place.path("moved"), place.path("copied"));
        let before = filled(&data).await;
        copy(&data, &copied);
        std::fs::rename(&data, &moved).unwrap();
        let server = Running::start(&moved).await.unwrap();
        assert_eq!(history(&server), before);
        server.stop().await;
        let server = Running::start(&copied).await.unwrap();
        let of_copy = history(&server);
        assert_ne!(of_copy, before);
        assert_eq!(pulled(&server, &place.path("client")).await, ["1", "2", "3"]);
        server.stop().await;
        let server = Running::start(&copied).await.unwrap();
        assert_eq!(history(&server), of_copy, "only its first start begins a history");
        server.stop().await;
    });
}

/// An operator stops the server, copies its directory, and puts the copy back later, in place. The copy outgrows the
/// client.
#[test]
fn a_directory_that_was_copied_and_put_back_is_recognized() {
    runtime().block_on(async {
        let place = Place::new();
        let (data, local) = (place.path("remote"), place.path("local"));
        let server = Running::start(&data).await.unwrap();
        server.execute(&["CREATE TABLE t (v)", "CREATE TABLE u (v)", "INSERT INTO t VALUES ('kept')"]);
        assert_eq!(pulled(&server, &local).await, ["kept"]);
        server.stop().await;
        let copy = files_of(&data);
        let server = Running::start(&data).await.unwrap();
        for _ in 0..5 {
            server.execute(&["INSERT INTO t VALUES ('lost')"]);
        }
        assert_eq!(pulled(&server, &local).await.len(), 6);
        let before = history(&server);
        server.stop().await;
        put_back(&data, &copy);
        let server = Running::start(&data).await.unwrap();
        if std::fs::metadata(&data).unwrap().created().is_ok() {
            assert_ne!(history(&server), before);
        }
        for _ in 0..9 {
            server.execute(&["INSERT INTO u VALUES ('new')"]);
        }
        assert_eq!(pulled(&server, &local).await, ["kept"]);
        server.stop().await;
    });
}

#[test]
fn a_backup_of_a_running_server_is_a_database_with_a_new_history() {
    runtime().block_on(async {
        let place = Place::new();
        let (data, to) = (place.path("remote"), place.path("backup"));
        let before = filled(&data).await;
        let server = Running::start(&data).await.unwrap();
        server.execute(&["INSERT INTO t VALUES (4)"]);
        backup(&data, &to).unwrap();
        server.execute(&["INSERT INTO t VALUES (5)"]);
        assert!(matches!(backup(&data, &to), Err(ArchiveError::NotEmpty { .. })));
        let inside = data.join("backups/monday");
        assert!(matches!(backup(&data, &inside), Err(ArchiveError::Inside { .. })));
        assert!(!inside.exists());
        server.stop().await;
        let restored = Running::start(&to).await.unwrap();
        assert_ne!(history(&restored), before);
        assert_eq!(pulled(&restored, &place.path("client")).await, ["1", "2", "3", "4"]);
        restored.execute(&["INSERT INTO t VALUES (6)"]);
        assert!(restored.remote.checkpoint().unwrap());
        restored.stop().await;
        let restored = Running::start(&to).await.unwrap();
        assert_eq!(pulled(&restored, &place.path("client")).await, ["1", "2", "3", "4", "6"]);
        restored.stop().await;
        assert!(matches!(
            backup(&place.path("client-draft"), &place.path("nothing")),
            Err(ArchiveError::File { .. } | ArchiveError::NoArchive { .. })
        ));
    });
}

#[test]
fn backups_while_generations_are_closed_and_pruned_are_consistent() {
    runtime().block_on(async {
        let place = Place::new();
        let data = place.path("remote");
        let options = ArchiveOptions { generation_frames_max: 5, keep_generations: NonZero::new(2) };
        let server = Running::start_with(&data, options).await.unwrap();
        server.execute(&["CREATE TABLE t (v)"]);
        let (copies, data) = (place.path("copies"), data.clone());
        std::fs::create_dir(&copies).unwrap();
        let copier = {
            let copies = copies.clone();
            tokio::task::spawn_blocking(move || {
                (0..8).for_each(|number| backup(&data, &copies.join(number.to_string())).unwrap());
            })
        };
        let mut written = 0;
        while !copier.is_finished() {
            written += 1;
            server.execute(&[&format!("INSERT INTO t VALUES ({written})")]);
        }
        copier.await.unwrap();
        server.stop().await;
        for number in 0..8 {
            let restored = Running::start(&copies.join(number.to_string())).await.unwrap();
            let rows = restored
                .remote
                .with_remote(|remote| remote.query("SELECT count(*), coalesce(max(v), 0) FROM t"));
            assert_eq!(rows[0][0], rows[0][1], "copy {number} is the beginning of the rows");
            restored.stop().await;
        }
    });
}

/// A client that has the pruned generation begins again. An export that is being read is read to its end.
#[test]
fn old_generations_are_pruned_from_the_disk() {
    runtime().block_on(async {
        let place = Place::new();
        let (data, slow) = (place.path("remote"), place.path("slow"));
        let options = ArchiveOptions { generation_frames_max: 1000, keep_generations: NonZero::new(2) };
        let server = Running::start_with(&data, options.clone()).await.unwrap();
        server.execute(&["CREATE TABLE t (v)", "INSERT INTO t VALUES (1)"]);
        assert_eq!(pulled(&server, &slow).await, ["1"]);
        for value in 2..6 {
            assert!(server.remote.checkpoint().unwrap());
            server.execute(&[&format!("INSERT INTO t VALUES ({value})")]);
        }
        let names: Vec<String> =
            files_of(&data).into_keys().filter(|name| name.starts_with("generation")).collect();
        assert_eq!(names, ["generation-4.db", "generation-4.wal", "generation-5.db", "generation-5.wal"]);
        assert_eq!(pulled(&server, &slow).await, ["1", "2", "3", "4", "5"]);
        server.stop().await;
        let server = Running::start_with(&data, options).await.unwrap();
        assert_eq!(position(&server).0, 5);
        assert_eq!(pulled(&server, &place.path("new")).await, ["1", "2", "3", "4", "5"]);
        server.stop().await;
    });
}

/// Directories from before there were manifests have a `history-id` instead.
#[test]
fn a_directory_without_a_manifest_is_adopted_if_it_is_complete() {
    runtime().block_on(async {
        let place = Place::new();
        let data = place.path("remote");
        filled(&data).await;
        let mut old = files_of(&data);
        old.remove("manifest");
        old.remove("generation-3.wal");
        old.insert("history-id".to_owned(), b"old-history".to_vec());
        let missing = |names: &[&str]| {
            let mut files = old.clone();
            names.iter().for_each(|name| drop(files.remove(*name).unwrap()));
            files
        };
        for (names, named) in [
            (&["generation-1.db"][..], "generation-1.db"),
            (&["generation-2.db"], "generation-2.db"),
            (&["generation-2.wal"], "generation-2.wal"),
            (&["generation-1.wal"], "generation-1.wal"),
            (
                &[
                    "generation-1.db",
                    "generation-1.wal",
                    "generation-2.db",
                    "generation-2.wal",
                    "generation-3.db",
                ],
                "generation-1.db",
            ),
        ] {
            put_back(&data, &missing(names));
            let reason = refusal(&data).await;
            assert!(
                reason.contains(named) || reason.contains("generation-3.db"),
                "without {names:?}: {reason}"
            );
        }
        put_back(&data, &old);
        let server = Running::start(&data).await.unwrap();
        assert_eq!(
            (position(&server).0, pulled(&server, &place.path("client")).await),
            (3, vec!["1".into(), "2".into(), "3".into()])
        );
        server.stop().await;
        assert!(data.join("manifest").exists() && !data.join("history-id").exists());
        std::fs::remove_file(data.join("manifest")).unwrap();
        let reason = refusal(&data).await;
        assert!(reason.contains("there is no manifest beside it"), "{reason}");
        // A close that was interrupted after its second step.
        put_back(&data, &missing(&["generation-3.db"]));
        let server = Running::start(&data).await.unwrap();
        assert_eq!(pulled(&server, &place.path("client")).await, ["1", "2", "3"]);
        server.stop().await;
    });
}
