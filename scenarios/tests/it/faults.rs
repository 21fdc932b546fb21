//! Tests of those faults of the reference design that no other file covers, and a check of the table of all
//! faults (`engine/src/faults.md`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_engine::{Error, FileOperation, LocalStorage, Options, SyncEngine};
use plimsoll_scenarios::sandbox::{Sandbox, rows};
use plimsoll_sim::world::in_process::block_on;
use turso_core::io::FileSyncType;
use turso_core::{
    Buffer, Clock, Completion, CompletionError, File, IO, MonotonicInstant, OpenFlags, PlatformIO, Result,
    WallClockInstant,
};

/// Every test that the table names exists.
#[test]
fn the_table_of_the_thirty_faults_names_tests_that_exist() {
    let sources = [
        ("determinism", include_str!("determinism.rs")),
        ("faults", include_str!("faults.rs")),
        ("files", include_str!("files.rs")),
        ("flows", include_str!("flows.rs")),
        ("generations", include_str!("generations.rs")),
        ("growth", include_str!("growth.rs")),
        ("histories", include_str!("histories.rs")),
        ("network", include_str!("network.rs")),
        ("replay", include_str!("replay.rs")),
        ("reports", include_str!("reports.rs")),
        ("schema_changes", include_str!("schema_changes.rs")),
        ("threads", include_str!("../threads/main.rs")),
        ("windows", include_str!("windows.rs")),
    ];
    let table = include_str!("../../../engine/src/faults.md");
    let mut faults = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault")) {
        let number = row[2..].split(' ').next().unwrap();
        let named: Vec<&str> = row.split('`').filter(|word| word.contains("::")).collect();
        assert!(!named.is_empty(), "fault {number} has no test");
        for name in named {
            let (module, test) = name.split_once("::").unwrap();
            let (_, source) = sources.iter().find(|(name, _)| *name == module).unwrap();
            // Other attributes, but no other item, may be between the attribute and the function.
            let is_test = source.split("#[test]\n").skip(1).any(|item| {
                item.lines().find(|line| !line.starts_with("#[")) == Some(&format!("fn {test}() {{"))
            });
            assert!(is_test, "fault {number}: {name} is not there");
        }
        faults.insert(number.trim_end_matches('b').to_owned());
    }
    assert_eq!(faults.len(), 30);
}

/// The acknowledgement of a push is in the next generation. The acknowledged transactions must not be
/// replayed.
#[test]
fn a_pull_across_a_generation_replays_nothing_that_was_acknowledged_there() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let engine = place.open("a").unwrap();
    let connection = engine.connect().unwrap();
    connection.execute("INSERT INTO t VALUES ('once')").unwrap();
    place.remote_executes(&["INSERT INTO t VALUES ('theirs')"]);
    place.remote.with_remote(plimsoll_sim::world::remote::Remote::checkpoint);
    block_on(engine.push()).unwrap();
    place.remote.with_remote(plimsoll_sim::world::remote::Remote::checkpoint);
    place.remote_executes(&["INSERT INTO t VALUES ('later')"]);
    let report = block_on(engine.pull()).unwrap();
    assert_eq!(report.transactions_replayed, 0);
    for _ in 0..2 {
        block_on(engine.sync()).unwrap();
        assert_eq!(rows(&connection, "SELECT v FROM t ORDER BY v"), ["later", "once", "theirs"]);
        assert_eq!(place.remote_rows("SELECT v FROM t ORDER BY v"), ["later", "once", "theirs"]);
    }
}

/// The core prepares its own page 1 for a database that was empty when it was opened.
#[test]
fn a_snapshot_keeps_its_first_page() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)", "INSERT INTO t VALUES (1)"]);
    place.remote.with_remote(plimsoll_sim::world::remote::Remote::checkpoint);
    let engine = place.open("a").unwrap();
    let connection = engine.connect().unwrap();
    connection.execute("INSERT INTO t VALUES (2)").unwrap();
    assert_eq!(rows(&connection, "SELECT v FROM t ORDER BY v"), ["1", "2"]);
    assert_eq!(rows(&connection, "PRAGMA integrity_check"), ["ok"]);
}

#[test]
fn the_core_checkpoints_nothing_by_itself() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let engine = place
        .open_with("a", |options| options.draft_wal_frames_max(100_000).synced_wal_frames_max(100_000))
        .unwrap();
    let connection = engine.connect().unwrap();
    let before = (place.length("a", "draft"), place.length("a", "synced"));
    for v in 0..1200 {
        connection.execute(format!("INSERT INTO t VALUES ({v})")).unwrap();
    }
    place.remote_executes(&["INSERT INTO t VALUES (zeroblob(6000000))"]);
    block_on(engine.pull()).unwrap();
    let stats = engine.stats().unwrap();
    assert!(stats.draft_wal_frames > 2000 && stats.synced_wal_frames > 1000, "{stats:?}");
    assert_eq!((place.length("a", "draft"), place.length("a", "synced")), before);
}

/// Files on the machine's own disk. Every operation of one kind fails, from the start.
struct FailingIo {
    inner: PlatformIO,
    operation: FileOperation,
}

struct FailingFile {
    inner: Arc<dyn File>,
    operation: FileOperation,
}

impl FailingFile {
    fn outcome(
        &self,
        operation: FileOperation,
        completion: Completion,
        go: impl FnOnce(Completion) -> Result<Completion>,
    ) -> Result<Completion> {
        if operation != self.operation {
            return go(completion);
        }
        completion.error(CompletionError::IOError(std::io::ErrorKind::StorageFull, "injected"));
        Ok(completion)
    }
}

impl File for FailingFile {
    fn lock_file(&self, exclusive: bool) -> Result<()> {
        self.inner.lock_file(exclusive)
    }

    fn unlock_file(&self) -> Result<()> {
        self.inner.unlock_file()
    }

    fn pread(&self, at: u64, completion: Completion) -> Result<Completion> {
        self.inner.pread(at, completion)
    }

    fn pwrite(&self, at: u64, buffer: Arc<Buffer>, completion: Completion) -> Result<Completion> {
        self.outcome(FileOperation::Write, completion, |completion| self.inner.pwrite(at, buffer, completion))
    }

    fn sync(&self, completion: Completion, kind: FileSyncType) -> Result<Completion> {
        self.outcome(FileOperation::Sync, completion, |completion| self.inner.sync(completion, kind))
    }

    fn size(&self) -> Result<u64> {
        self.inner.size()
    }

    fn truncate(&self, length: u64, completion: Completion) -> Result<Completion> {
        self.inner.truncate(length, completion)
    }
}

impl Clock for FailingIo {
    fn current_time_monotonic(&self) -> MonotonicInstant {
        self.inner.current_time_monotonic()
    }

    fn current_time_wall_clock(&self) -> WallClockInstant {
        self.inner.current_time_wall_clock()
    }
}

impl IO for FailingIo {
    fn open_file(&self, path: &str, flags: OpenFlags, direct: bool) -> Result<Arc<dyn File>> {
        let inner = self.inner.open_file(path, flags, direct)?;
        Ok(Arc::new(FailingFile { inner, operation: self.operation }))
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        self.inner.remove_file(path)
    }

    fn step(&self) -> Result<()> {
        self.inner.step()
    }

    fn sleep(&self, _duration: Duration) {}
}

#[test]
fn a_file_operation_that_fails_ends_its_wait() {
    for operation in [FileOperation::Write, FileOperation::Sync] {
        let place = Sandbox::real();
        let io = Arc::new(FailingIo { inner: PlatformIO::new().unwrap(), operation });
        let path = place.path("a");
        let opening =
            SyncEngine::open(io, Arc::new(LocalStorage), place.remote.clone(), &path, Options::new("a"));
        match block_on(opening) {
            Err(error @ Error::File { .. }) => {
                assert!(
                    error.is_retryable() && error.to_string().contains(&operation.to_string()),
                    "{error}"
                );
            }
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("the failure was not noticed"),
        }
        block_on(place.open_async("a")).unwrap();
    }
}
