//! # plimsoll-engine
//!
//! Keeps a local SQLite database in step with a remote one. The application works on *Draft*, with change capture on;
//! *Synced* is a byte replica of the remote. Both stand on the real `turso_core`.
//!
//! The engine reads no clock, draws no random number, starts no thread and opens no file on its own: files, clock and
//! randomness come through [`turso_core::IO`], atomic replace and directory sync through [`Storage`], and the server
//! through [`Remote`]. It is plain `async` without a runtime: it suspends while it waits for the network and once before and
//! after each durable step, and nowhere else.
//!
//! ```text
//!   application ── connect() ──► Draft ──────────── change log (turso_cdc), the local transactions
//!                                  ▲   │
//!                   rebase: pages  │   │ push: one conditional batch, with its acknowledgement row
//!                                  │   ▼
//!   Synced ◄── walk: frames ──── remote
//! ```
//!
//! # Two clients
//!
//! The remote of this example is the simulator's server, in the same process and in memory; a program would use `HttpRemote`, or a
//! [`Remote`] of its own, on [`turso_core::PlatformIO`] with [`LocalStorage`].
//!
//! ```
//! use plimsoll_engine::{Options, SyncEngine};
//! use plimsoll_sim::world::in_process::{InProcess, block_on};
//! use plimsoll_sim::world::memory::Memory;
//! use plimsoll_sim::world::remote::Remote;
//!
//! # fn main() -> plimsoll_engine::Result<()> {
//! block_on(async {
//!     let server = InProcess::new(Remote::create(Memory::create(), "server.db"), 16 * 1024);
//!     let open = |name: &'static str| {
//!         let files = Memory::create();
//!         SyncEngine::open(files.clone(), files, server.clone(), "tasks.db", Options::new(name))
//!     };
//!     let laptop = open("laptop").await?;
//!     let phone = open("phone").await?;
//!
//!     let connection = laptop.connect()?;
//!     connection.execute("CREATE TABLE task (id TEXT PRIMARY KEY, title TEXT)")?;
//!     connection.execute("INSERT INTO task VALUES ('milk', 'buy milk')")?;
//!     let report = laptop.push().await?;
//!     assert_eq!(report.transactions, 2);
//!
//!     let report = phone.pull().await?;
//!     assert!(report.frames > 0 && report.conflicts.total == 0);
//!     let rows = phone.connect()?.query("SELECT title FROM task", &[])?;
//!     assert_eq!(rows[0][0].to_string(), "buy milk");
//!     Ok(())
//! })
//! # }
//! ```
//!
//! # Map, in reading order
//!
//! | module | what it owns |
//! |---|---|
//! | [`engine`](SyncEngine) | [`SyncEngine`]: open, connect, pull, push, sync; the order of things |
//! | `options` | [`Options`]: what an application sets at opening |
//! | `metadata` | the small file that says what the other files are; its format is [`Metadata`] |
//! | `state` | what the engine knows between operations, and how it is stored |
//! | `recovery` | the beginning of each operation: finishes what an interrupted one has left, gives up a damaged replica |
//! | `bootstrap` | first use: the exported snapshot becomes Draft and Synced |
//! | `main_file` | the header of a database's main file, and the damage that it shows |
//! | `draft` | the application's database: open, verify |
//! | `local`, `guard` | the application's connections, and what may not be run on them |
//! | `schema_statement`, `temporary` | the care that its changes of the schema need |
//! | `synced` | the replica, open |
//! | `reset` | cuts the replica back to the frames that the metadata names, and verifies it |
//! | `checkpoint` | moves the replica's WAL into its main file |
//! | `walk` | brings Synced to the end of the remote's history, through every closed generation |
//! | `history` | whether the server's history is still the one that Synced replicates |
//! | `rebootstrap`, `replacement` | a new export takes Synced's place; Draft and its transactions stay |
//! | `tape` | the change log read as numbered local transactions, and as SQL that replays them |
//! | `conflict` | what is reported where local and remote changes meet |
//! | `compaction`, `pages` | moves Draft's WAL into its main file, and remembers which pages may differ |
//! | `rebase` | puts the local transactions on top of the new remote state, Draft page by page |
//! | `push` | sends the local transactions, whole, once: as statements or as frames ([`PushMode`]) |
//! | `wire`, `protocol` | requests, answers and what is checked about them |
//! | `poison` | when nothing may go on before the engine was opened anew |
//! | [`events`] | the `tracing` events, by name |
//! | `http_remote` | a ready [`Remote`] over HTTP (feature `http`) |
//! | `files`, `database`, `wal` | durable file operations, connections, raw WAL sessions and frames |
//!
//! Imports go in one direction, from the operations down to the stored state, and never through this file: `scenarios/tests/it/tidy.rs`
//! checks it.
//!
//! # Transactions have numbers
//!
//! Every local transaction has a number that it keeps for life, however often a rebase rewrites the change log. The remote
//! keeps, per client, the highest number that it has applied, in the same transaction as the rows themselves
//! (`turso_sync_last_change_id`), and a push is conditional on the number that it builds on. So a request that arrives twice,
//! late, or after a rebase can take effect at most once, and what is unacknowledged is decided by one comparison.
//! The reference design numbers change-log rows anew at each rebase and tells the numberings apart by an epoch; that leaves a
//! delayed request able to land between two epochs.
//!
//! # Conflicts
//!
//! Local transactions are replayed on what the remote has become, row by row, and by the same rules in a rebase and in a push. The
//! replayed one is the later one:
//!
//! * an insert replaces whatever holds its primary key or another unique value;
//! * an update sets the columns that the statement set, on the row that had the key *before*, and leaves the others as the remote
//!   has them; a row that the remote has deleted is inserted again, whole. A row whose INTEGER PRIMARY KEY changes is deleted and inserted;
//! * `ON CONFLICT DO UPDATE` sets the whole row, because the core does not record what it set;
//! * a delete removes the row that had the key, whatever became of it. One that finds no row in a rebase is done with: a row that is made
//!   under that key later stays;
//! * a row without a key, or with NULL in its key, is known by all its values;
//! * a table that is created on both sides keeps the shape that reached the remote first, and so does an index. Rows of another shape
//!   go into the columns that both have; the others get their defaults;
//! * a table or column that one side drops is gone: rows and values meant for it are left out. The remote's renaming of one is, to the
//!   other side, a dropped and a new one;
//! * columns that are added, dropped or renamed, indexes, views and triggers that are made, replaced or dropped on one side are so on
//!   the other. Views and triggers of one name: the later one replaces the other;
//! * triggers do not fire for replayed rows, because what they did is replayed itself;
//! * what the remote's schema or its other rows do not allow (`NOT NULL`, `CHECK`, a unique index over rows that are not) is left out.
//!
//! So nothing is ever stuck, and what did not go as the application saw it is told to it: see [`Conflict`], and the `conflicts` of
//! [`PullReport`] and [`PushReport`]. Each change is compared with the row that it finds on the replica; a remote transaction that
//! arrives between that look and the push itself is met by the same rules but not reported.
//!
//! # What is carried, and what is refused
//!
//! A local transaction goes to the others whole, its changes of the schema included and in their places. What the core's change log leaves
//! out (views, triggers, new names of tables and columns) is written down beside it, in the same transaction, by the connections
//! of [`SyncEngine::connect`]. What is done to the file by another way is found by difference at the next push or pull, and then
//! belongs to a transaction of its own; a table that was renamed twice that way is refused as [`Error::UnknownTable`].
//!
//! * Temporary tables stay where they are. The change log has no more than a table's bare name, so none may have the name of a table or a
//!   view of the database: [`Error::StatementRefused`], and [`Error::HiddenByTemporary`] when it is the remote that makes the other one.
//! * A table WITHOUT ROWID is the remote's alone: it is replicated and read; the core cannot change it with capture on, and says so.
//! * Columns whose values follow from others (`AS (…)`) are left to follow. STORED ones the core cannot read at all: with a remote that has
//!   one, opening and pulling fail with the core's own words in [`Error::Database`].
//! * `PRAGMA user_version`, `application_id`, sequences and `sqlite_stat1` are not carried; setting the first three is refused.
//!
//! # When the remote or the files are not what they were
//!
//! | what happened | how it is known | what the engine does |
//! |---|---|---|
//! | the server pruned the generation that Synced has reached | 404 or 410, twice, and `/info` names a newer one | re-bootstraps |
//! | the server was restored to an older state | another `history_id`, asked for in every pull and push; without one the server's last generation or frame is older than Synced's, or the newest frame that Synced holds is another one there | re-bootstraps |
//! | the server is restored again and again while one operation runs | a fourth re-bootstrap would be due | ends with [`Error::HistoryUnsettled`]; the next operation goes on |
//! | Synced or its WAL is missing, too short or rotten | length, stamp of the last frame, checksums, database header | re-bootstraps: it holds nothing local |
//! | Draft or its WAL is missing or too short | existence, length, stamp of the watermark's frame | refuses: [`Error::MissingFile`], [`Error::Damaged`] |
//! | the metadata is missing or damaged | existence, checksum | refuses: [`Error::ForeignFile`], [`Error::BadMetadata`] |
//! | the directory is an older copy, or is used twice | the remote has applied a transaction that this copy never sent | refuses: [`Error::ForeignAcknowledgement`], until the application decides with [`SyncEngine::adopt`] |
//!
//! A *re-bootstrap* downloads the export of the current generation beside the old Synced, makes the switch with one write of the
//! metadata, and rebases Draft onto the new Synced: every local transaction that the remote's new state has not acknowledged
//! and that the change log still holds is kept and sent again. What it had acknowledged, and forgot when it was restored, is on the change
//! log only since the last rebase; [`PullReport::transactions_forgotten`] counts the rest. Until the switch nothing is touched, and a
//! crash anywhere finds either the old files or the new ones.
//!
//! Limits. A server without a `history_id` is told apart from what it was by one frame, the newest that Synced holds: its page and
//! its checksum. Where Synced holds nothing but an export, there is no such frame, and a server that was restored to before that export and has
//! grown to the same generation since passes for the same; where it lags behind for several answers in a row, it passes for one that was
//! restored; and where it is restored while the frames of one transaction arrive in several answers, halves of two transactions can be
//! taken for one. A copy of a directory that is older, but has sent everything that
//! the remote knows of it, is not told apart from the original, because nothing is lost or doubled by it; a request that the original had under way and
//! that arrives after the copy has begun to push can be taken for the copy's own. And a copy that was adopted ([`SyncEngine::adopt`]) and is put in
//! place once more, as it was before, knows nothing of what was sent under the identity that it got the first time: what it holds above the
//! number that the remote names is kept, as ever, and sent again.
//!
//! # What it costs
//!
//! Work depends on what changed since the last time, not on the size of the database nor on how many operations went before; that
//! is tested on counted work (`scenarios/tests/it/cost.rs`). The figures are of one run of
//! `cargo bench -p plimsoll-scenarios --bench engine` on two shared cores, with the remote in the same process; rows of 100 bytes in
//! transactions of 100. Compare them with each other rather than with those of another machine.
//!
//! | | written to disk | requests | syncs | peak memory | time on real files | in memory | bound by |
//! |---|---|---|---|---|---|---|---|
//! | bootstrap of 64 MiB | 2.01 × what is received | 4 | 20 | 0.31 MiB, as for 8 MiB | 81 ms, 790 MiB/s | 14 ms, 4.5 GiB/s | the disk: two copies are written |
//! | pull of 10,000 rows | 1.52 × | 7 | 14 | 1.2 MiB | 11 ms | 3.0 ms | syncs; each page once to Synced, once to Draft |
//! | pull of one row on 10,000 pending ones | 9.8 MiB | 3 | 18 | 9.0 MiB | 166 ms | 151 ms | replay of each pending row, with capture; Draft is compacted after it |
//! | push of 10,000 rows as statements | 5.1 MiB | 27 | 81 | 9.0 MiB | 124 ms | 98 ms | the remote running 3.1 MiB of SQL; the change log is long by then, so that a pull and a compaction follow |
//! | push of 10,000 rows as frames | 5.1 MiB | 24 | 134 | 9.0 MiB | 74 ms | 32 ms | syncs, six a batch; the same pull and compaction |
//! | pull without news | nothing | 2 | 0 | – | 4.0 µs | 3.3 µs | two answers |
//!
//! * Memory holds a chunk of a body, at bootstrap as in a pull (the table counts the remote's answer of up to 256 frames as well). It
//!   grows with the pending local transactions: a pull or push holds all of them at once. What is acknowledged is read once after
//!   opening, at most [`Options::change_log_records_max`] records of it, and not again.
//! * A small pull has a floor: ten rows in a database of a thousand cost 109 KiB of writes (the tail with the change log's own
//!   tables, some twenty pages) and 7 syncs; thirty times as many rows add a few pages, for a deeper tree.
//! * After a rebase Synced is opened anew, and the core checks its WAL from the beginning. So a pull reads up to
//!   [`Options::synced_wal_frames_max`] frames more (4 MiB by default), and up to four times that when it checkpoints: a bound that does not
//!   depend on the database. A smaller one reads less and checkpoints more often.
//! * What the application has written since the last rebase is read twice: as change log, and as frames of Draft's WAL, for the pages
//!   that have to be put back.

#[doc = include_str!("faults.md")]
pub mod faults {}

mod bootstrap;
mod checkpoint;
#[cfg(test)]
mod codecs;
mod compaction;
mod conflict;
mod database;
mod draft;
mod engine;
mod error;
pub mod events;
mod files;
mod guard;
mod history;
#[cfg(feature = "http")]
mod http_remote;
mod local;
mod main_file;
mod metadata;
mod options;
mod pages;
mod pause;
mod poison;
mod progress;
mod protocol;
mod push;
mod rebase;
mod rebootstrap;
mod recovery;
mod remote;
mod replacement;
mod report;
mod reset;
mod schema_statement;
mod state;
mod stats;
mod storage;
mod synced;
mod tape;
mod temporary;
mod wal;
mod walk;
mod wire;

pub use conflict::{CONFLICTS_LISTED_MAX, Conflict, ConflictKind, Conflicts};
pub use engine::{InDoubt, SyncEngine};
pub use error::{Error, FileOperation, Result};
#[cfg(feature = "http")]
pub use http_remote::{HttpBody, HttpRemote, HttpRemoteBuilder, HttpRemoteError};
pub use local::{LocalConnection, LocalStatement, LocalTransaction};
pub use metadata::{Anchor, Attachment, FrameStamp, Metadata, Phase};
pub use options::{Options, PushMode};
pub use pages::PageSet;
pub use progress::Progress;
pub use remote::{Remote, RemoteError};
pub use report::{PullReport, PushReport, RebootstrapReason, SyncReport};
pub use stats::Stats;
pub use storage::{LocalStorage, Storage};
