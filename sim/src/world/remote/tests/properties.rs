//! Tests the remote against a plain model: the rows after each transaction, without files. Compares the model
//! with the remote's answers to queries, and with the databases that a client would build from its exports
//! and frames.

use std::collections::BTreeMap;
use std::sync::Mutex;

use plimsoll_engine::Storage;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::fault::{CrashKind, Survival};
use crate::judge::format::{DatabaseImage, FRAME_BYTES, FRAME_HEADER_BYTES, FrameHeader};
use crate::world::clock;
use crate::world::disk::Disk;
use crate::world::remote::files;
use crate::world::trace::{Lane, Trace};

/// An event in the life of a remote with a table t(k, v).
#[derive(Debug, Clone)]
enum Event {
    Commit(Vec<Write>),
    /// A transaction that violates a constraint after its writes.
    Fail(Vec<Write>),
    Checkpoint,
    Prune,
    Restore {
        generations_back: u64,
        transactions_back: u64,
    },
    /// Its machine crashes between two requests and starts again.
    Crash(CrashKind),
}

#[derive(Debug, Clone)]
enum Write {
    /// A row with a value that no other row has, padded with this many bytes.
    Put {
        k: i64,
        bytes: usize,
    },
    Delete {
        k: i64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let writes = || vec(write(), 1..4);
    let power_loss = (0..=100_u8, any::<u64>()).prop_map(|(keep_percent, key)| CrashKind::PowerLoss {
        survival: Survival::Subset { keep_percent, key },
        torn: None,
    });
    prop_oneof![
        10 => writes().prop_map(Event::Commit),
        2 => writes().prop_map(Event::Fail),
        4 => Just(Event::Checkpoint),
        1 => Just(Event::Prune),
        2 => (0..3_u64, 0..4_u64).prop_map(|(generations_back, transactions_back)| {
            Event::Restore { generations_back, transactions_back }
        }),
        1 => Just(Event::Crash(CrashKind::Kill)),
        1 => power_loss.prop_map(Event::Crash),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let bytes = prop_oneof![3 => 0..50_usize, 1 => 0..10_000_usize];
    prop_oneof![
        3 => (0..8_i64, bytes).prop_map(|(k, bytes)| Write::Put { k, bytes }),
        1 => (0..8_i64).prop_map(|k| Write::Delete { k }),
    ]
}

type Rows = BTreeMap<i64, String>;

/// The rows at each commit point, generation by generation. `None` before the table was created.
struct Model {
    generations: Vec<Vec<Option<Rows>>>,
    first_served: usize,
    values: u64,
}

impl Model {
    /// The model of a remote whose only transaction has created the table.
    fn with_table() -> Self {
        Self { generations: vec![vec![None, Some(Rows::new())]], first_served: 1, values: 0 }
    }

    fn points(&mut self) -> &mut Vec<Option<Rows>> {
        self.generations.last_mut().expect("there is at least one generation")
    }

    fn rows(&self) -> &Rows {
        let rows = self.generations.last().and_then(|points| points.last()).and_then(Option::as_ref);
        rows.expect("no restore goes back beyond the creation of the table")
    }

    /// Applies writes to a copy of the rows. Returns the new rows, if any row is touched, and the SQL that
    /// does the same.
    fn write(&mut self, writes: &[Write]) -> (Option<Rows>, Vec<String>) {
        let mut rows = self.rows().clone();
        let mut touches_any = false;
        let statements = writes.iter().map(|write| match *write {
            Write::Put { k, bytes } => {
                self.values += 1;
                let value = format!("{}{}", self.values, "x".repeat(bytes));
                let sql = format!("INSERT OR REPLACE INTO t VALUES ({k}, '{value}')");
                rows.insert(k, value);
                touches_any = true;
                sql
            }
            Write::Delete { k } => {
                touches_any |= rows.remove(&k).is_some();
                format!("DELETE FROM t WHERE k = {k}")
            }
        });
        let statements = statements.collect();
        (Some(rows).filter(|_| touches_any), statements)
    }

    fn checkpoint(&mut self) -> bool {
        let points = self.points();
        let last = points.last().cloned();
        let has_frames = points.len() > 1;
        self.generations.extend(last.filter(|_| has_frames).map(|rows| vec![rows]));
        has_frames
    }

    fn prune(&mut self) -> bool {
        let before = std::mem::replace(&mut self.first_served, self.generations.len());
        before < self.first_served
    }

    fn restore(&mut self, generations_back: u64, transactions_back: u64) {
        let target = self.generations.len().saturating_sub(generations_back as usize).max(self.first_served);
        self.generations.truncate(target);
        let points = self.points();
        let made = points.iter().take_while(|rows| rows.is_none()).count();
        points.truncate(points.len().saturating_sub(transactions_back as usize).max(made + 1));
    }
}

/// A remote and its model, which perform the same events.
struct Pair {
    disk: Disk,
    path: String,
    remote: Remote,
    model: Model,
}

impl Pair {
    fn new() -> Self {
        let disk = Disk::new(Lane::Remote, 1, Arc::new(Mutex::new(Trace::new(false))));
        let path = unique_path();
        let mut remote = Remote::create(disk.io(), &path);
        transact(&mut remote, &["CREATE TABLE t (k INTEGER PRIMARY KEY, v)"]);
        remote.forget_older_backups();
        let pair = Self { disk, path, remote, model: Model::with_table() };
        pair.sync_directory();
        pair
    }

    fn sync_directory(&self) {
        self.disk.io().sync_dir(&self.path).expect("the disk has no faults");
    }

    fn perform(&mut self, event: &Event) -> Result<(), TestCaseError> {
        match event {
            Event::Commit(writes) => {
                let (rows, statements) = self.model.write(writes);
                let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
                transact(&mut self.remote, &statements);
                self.model.points().extend(rows.map(Some));
            }
            Event::Fail(writes) => {
                let (_, mut statements) = self.model.write(writes);
                statements.push("INSERT INTO t VALUES (1, 'a'), (1, 'b')".to_owned());
                let failed = self.remote.transact(|connection| {
                    statements.iter().try_for_each(|sql| connection.execute(sql.as_str()))
                });
                prop_assert!(failed.is_err());
            }
            Event::Checkpoint => prop_assert_eq!(self.remote.checkpoint(), self.model.checkpoint()),
            Event::Prune => prop_assert_eq!(self.remote.prune(), self.model.prune()),
            Event::Restore { generations_back, transactions_back } => {
                self.remote.restore(*generations_back, *transactions_back, false);
                self.sync_directory();
                self.model.restore(*generations_back, *transactions_back);
            }
            Event::Crash(kind) => {
                let acknowledged = self.remote.end();
                self.disk.crash_now(kind);
                drop(self.disk.take_crash());
                self.disk.restart();
                self.remote.reopen(self.disk.io(), acknowledged);
            }
        }
        prop_assert_eq!(&rows_of(self.remote.query("SELECT k, v FROM t")), self.model.rows());
        prop_assert_eq!(self.remote.generation(), self.model.generations.len() as u64);
        Ok(())
    }

    /// Fetches every generation, and reads it as of each of its commit points.
    fn compare_served_generations(&mut self) -> Result<(), TestCaseError> {
        for (generation, points) in (1..).zip(&self.model.generations) {
            let export = get(&mut self.remote, &format!("/export/{generation}"));
            let frames = get(&mut self.remote, &format!("/sync/{generation}/1/{}", u64::MAX));
            if generation < self.model.first_served {
                prop_assert_eq!([export.status(), frames.status()].map(|status| status.as_u16()), [404; 2]);
                continue;
            }
            // A generation without frames is answered with a status.
            let frames = if frames.status() == 200 { frames.into_body() } else { Bytes::new() };
            let frames = frames.as_chunks::<FRAME_BYTES>().0;
            let headers: Vec<FrameHeader> =
                frames.iter().map(|frame| FrameHeader::parse(frame).expect("a frame has a header")).collect();
            let commits = (1..=frames.len()).filter(|frame_no| headers[frame_no - 1].is_commit());
            let ends: Vec<usize> = std::iter::once(0).chain(commits).collect();
            prop_assert_eq!(ends.len(), points.len(), "commits of generation {}", generation);
            for (end, rows) in ends.into_iter().zip(points) {
                let pages = headers.iter().zip(frames).take(end).map(|(header, frame)| {
                    let page = frame[FRAME_HEADER_BYTES..].as_array().expect("a frame is a page long");
                    (header.page_no, page)
                });
                let image = match end {
                    0 => DatabaseImage::of_main(export.body()),
                    _ => DatabaseImage::overlay(export.body(), pages, headers[end - 1].db_size),
                };
                prop_assert_eq!(&read(&image), rows, "generation {}, frame {}", generation, end);
            }
        }
        Ok(())
    }
}

/// The rows in a database's pages. `None` if the table does not exist.
fn read(image: &DatabaseImage<'_>) -> Option<Rows> {
    let bytes: Vec<u8> =
        (1..=image.page_count()).filter_map(|no| image.page(no)).flatten().copied().collect();
    let io: Arc<dyn IO> = Arc::new(MemoryIO::new());
    let path = unique_path();
    files::write_all(&io, &path, &bytes).expect("a write to memory succeeds");
    let mut statement = open_unshared(&io, &path).prepare("SELECT k, v FROM t").ok()?;
    Some(rows_of(statement.run_collect_rows().expect("the table is readable")))
}

fn rows_of(rows: Vec<Vec<turso_core::Value>>) -> Rows {
    rows.iter().map(|row| (row[0].as_int().expect("k is an integer"), row[1].to_string())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_remote_is_its_rows_after_each_transaction(events in vec(event(), 0..24)) {
        let _in_virtual_time = clock::enter(0);
        let mut pair = Pair::new();
        for event in &events {
            pair.perform(event)?;
        }
        pair.compare_served_generations()?;
    }
}
