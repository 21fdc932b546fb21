//! The cost of an operation, in counted work. It depends on the changes, not on the size of the database or
//! on the number of earlier operations.

use std::ops::Range;

use plimsoll_engine::{Options, PullReport, PushReport, SyncEngine};
use plimsoll_scenarios::meter::{Counts, Meter, MeteredRemote};
use plimsoll_scenarios::sandbox::{Engine, Sandbox, rows};
use plimsoll_sim::world::in_process::{InProcess, block_on};
use plimsoll_sim::world::memory::Memory;
use plimsoll_sim::world::remote::Remote;
use plimsoll_sim::world::sql::Sql;

/// The approximate size of a row in bytes.
const ROW_BYTES: usize = 100;
const FRAME_BYTES: u64 = 4120;

/// A client behind a meter, and its remote, all in memory.
struct Measured {
    remote: InProcess,
    engine: SyncEngine<MeteredRemote<InProcess>>,
    meter: Meter,
    row_count: usize,
}

impl Measured {
    /// A client that was bootstrapped from a remote with this many rows, and has pulled once since.
    fn with_rows(row_count: usize, options: Options) -> Self {
        let remote = InProcess::new(Remote::create(Memory::create(), "remote.db"), 1 << 16);
        let meter = Meter::default();
        let memory = Memory::create();
        let files = meter.around_files(memory.clone(), memory);
        remote
            .with_remote(|remote| {
                remote.transact(|connection| {
                    connection.execute("CREATE TABLE item (k INTEGER PRIMARY KEY, v TEXT)")?;
                    insert(connection, 0..row_count)
                })
            })
            .unwrap();
        assert!(remote.with_remote(Remote::checkpoint));
        let way = meter.around_remote(remote.clone());
        let engine = block_on(SyncEngine::open(files.clone(), files, way, "client", options)).unwrap();
        let mut measured = Self { remote, engine, meter, row_count };
        measured.pull_rows(1);
        measured
    }

    /// Inserts this many rows on the remote. Returns the work of the pull that fetches them.
    fn pull_rows(&mut self, count: usize) -> (PullReport, Counts) {
        let new = self.row_count..self.row_count + count;
        self.row_count += count;
        self.remote.with_remote(|remote| remote.transact(|connection| insert(connection, new))).unwrap();
        self.meter.take();
        let report = block_on(self.engine.pull()).unwrap();
        let counts = self.meter.take();
        assert_eq!(
            rows(&self.engine.connect().unwrap(), "SELECT count(*) FROM item"),
            [self.row_count.to_string()]
        );
        (report, counts)
    }

    /// Writes this many rows locally, one transaction each. Returns the work of the push that sends them.
    fn push_rows(&mut self, count: usize) -> (PushReport, Counts) {
        let connection = self.engine.connect().unwrap();
        for k in self.row_count..self.row_count + count {
            insert(&connection, k..k + 1).unwrap();
        }
        self.row_count += count;
        self.meter.take();
        let report = block_on(self.engine.push()).unwrap();
        assert_eq!(report.transactions, count as u64);
        let counts = self.meter.take();
        assert_eq!(report.sent_bytes, counts.request_bytes);
        (report, counts)
    }
}

fn insert<S: Sql>(connection: &S, keys: Range<usize>) -> Result<(), S::Error> {
    keys.into_iter()
        .try_for_each(|k| connection.execute(&format!("INSERT INTO item VALUES ({k}, '{k:0ROW_BYTES$}')")))
}

fn options() -> Options {
    Options::new("c")
}

#[test]
fn a_pull_of_ten_rows_does_not_cost_more_in_a_database_thirty_times_as_large() {
    let cost = |rows| Measured::with_rows(rows, options()).pull_rows(10).1;
    let (small, large) = (cost(1_000), cost(30_000));
    assert_eq!(small.requests, large.requests);
    assert_eq!(small.syncs, large.syncs);
    // A B-tree that is one level higher has one more page on the way to each row.
    assert!(large.read_bytes <= small.read_bytes * 3 / 2, "{small:?} {large:?}");
    assert!(large.written_bytes <= small.written_bytes * 3 / 2, "{small:?} {large:?}");
}

#[test]
fn a_push_of_ten_rows_does_not_cost_more_in_a_database_thirty_times_as_large() {
    let cost = |rows| Measured::with_rows(rows, options()).push_rows(10).1;
    let (small, large) = (cost(1_000), cost(30_000));
    assert_eq!((small.requests, small.syncs), (large.requests, large.syncs));
    assert!(large.request_bytes <= small.request_bytes * 3 / 2, "{small:?} {large:?}");
    assert!(large.read_bytes <= small.read_bytes * 3 / 2, "{small:?} {large:?}");
    assert!(large.written_bytes <= small.written_bytes * 3 / 2, "{small:?} {large:?}");
}

/// The bytes that a pull reads vary: each pull reopens Synced and checks its WAL from the start, and a
/// checkpoint empties the WAL when it reaches the configured length. So the test compares hundreds of pulls,
/// not single ones.
#[test]
fn the_third_hundred_pulls_cost_what_the_first_did() {
    let mut measured = Measured::with_rows(1_000, options().synced_wal_frames_max(50));
    let mut hundred = || {
        let pulls = (0..100).map(|_| measured.pull_rows(10).1);
        pulls.fold((0, 0, 0), |(read, written, syncs), counts| {
            (read + counts.read_bytes, written + counts.written_bytes, syncs + counts.syncs)
        })
    };
    let [first, _, third] = [hundred(), hundred(), hundred()];
    assert!(third.0 <= first.0 * 5 / 4, "bytes read: {first:?} {third:?}");
    assert!(third.1 <= first.1 * 5 / 4, "bytes written: {first:?} {third:?}");
    assert!(third.2 <= first.2 * 5 / 4, "syncs: {first:?} {third:?}");
}

/// A pull reads no more of Synced than its WAL may hold, however many pulls went before.
#[test]
fn no_pull_reads_more_of_the_replicas_log_than_the_options_allow() {
    let frames_max = 50;
    // Draft's own WAL is read once per thousand frames, when it is compacted. That does not matter here.
    let options = options().synced_wal_frames_max(frames_max).draft_wal_frames_max(1_000_000);
    let mut measured = Measured::with_rows(1_000, options);
    let first = measured.pull_rows(10).1.read_bytes;
    let worst = (0..200).map(|_| measured.pull_rows(10).1.read_bytes).max().unwrap();
    // The walk opens the WAL. A checkpoint after the rebase verifies it, opens it again, and reads each page
    // that it moves once.
    assert!(worst <= first + 3 * (frames_max + 10) * FRAME_BYTES, "{first} {worst}");
}

/// Each row's transaction leaves two records in the change log, and nothing shortens the log here.
#[test]
fn the_hundredth_push_reads_what_is_pending_and_not_what_the_others_have_sent() {
    let options = options().change_log_records_max(u64::MAX).draft_wal_frames_max(u64::MAX);
    let mut measured = Measured::with_rows(1_000, options);
    let pushes: Vec<(PushReport, Counts)> = (0..100).map(|_| measured.push_rows(10)).collect();
    for (report, _) in &pushes[1..] {
        assert_eq!(report.change_records_read, 20);
    }
    let (second, last) = (pushes[1].1, pushes[99].1);
    assert!(last.read_bytes <= second.read_bytes * 5 / 4, "{second:?} {last:?}");
    assert!(last.written_bytes <= second.written_bytes * 5 / 4, "{second:?} {last:?}");
}

/// The first push after opening reads all records of the change log since the last rebase, and later ones do
/// not.
#[test]
fn a_push_after_opening_reads_the_change_log_once() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let push = |engine: &Engine| {
        engine.connect().unwrap().execute("INSERT INTO t VALUES (1)").unwrap();
        block_on(engine.push()).unwrap().change_records_read
    };
    let engine = place.open("a").unwrap();
    for _ in 0..20 {
        push(&engine);
    }
    drop(engine);
    let engine = place.open("a").unwrap();
    assert!(push(&engine) > 40);
    assert_eq!(push(&engine), 2);
    place.remote_executes(&["INSERT INTO t VALUES (2)"]);
    block_on(engine.sync()).unwrap();
    assert!(push(&engine) < 10, "the log is a new one");
    assert_eq!(push(&engine), 2);
}

#[test]
fn a_pull_without_news_reads_and_writes_nothing_and_asks_once() {
    let mut measured = Measured::with_rows(1_000, options());
    measured.push_rows(1);
    block_on(measured.engine.pull()).unwrap();
    block_on(measured.engine.pull()).unwrap();
    measured.meter.take();
    block_on(measured.engine.pull()).unwrap();
    assert_eq!(measured.meter.take(), Counts { requests: 1, ..Counts::default() });
}

#[test]
fn a_large_pull_writes_each_byte_that_it_receives_at_most_three_times() {
    let mut measured = Measured::with_rows(1_000, options());
    let (report, counts) = measured.pull_rows(10_000);
    assert_eq!(report.body_bytes, report.frames * FRAME_BYTES);
    assert!(counts.written_bytes <= 3 * report.body_bytes, "{report:?} {counts:?}");
}
