//! # plimsoll-engine
//!
//! Keeps a local SQLite database in sync with a remote one. The application works on *Draft*, which has
//! change capture enabled. *Synced* is a byte-for-byte replica of the remote. Both are databases of the real
//! `turso_core`.
//!
//! The engine reads no clock, draws no random numbers, starts no threads and opens no files directly. Files,
//! clock and randomness come through [`turso_core::IO`]. Atomic replace and directory sync come through
//! [`Storage`]. The server is reached through [`Remote`]. The engine is plain `async` code without a runtime.
//! It suspends only while it waits for the network, and once before and once after each durable step.
//!
//! ```text
//!   application ── connect() ──► Draft ── change log (turso_cdc): the local transactions
//!                                ▲  │
//!                 rebase: pages  │  │  push: one conditional batch, with its acknowledgement row
//!                                │  └───────────────────┐
//!                                │                      ▼
//!                              Synced ◄── walk: frames ── remote
//! ```
//!
//! Words that this documentation uses:
//!
//! * The remote's *log* is a sequence of WAL *frames*. A frame is the new content of one page. A *generation*
//!   is the part of the log between two checkpoints of the server. It starts with an *export*, the whole
//!   database at that moment.
//! * The metadata *names* a file, a frame or a stamp if the engine relies on it. What the metadata names is
//!   durable. The frames of Synced's WAL up to the last named one are part of the replica.
//! * The *local tail* is the frames of Synced's WAL after the last named one. The engine cuts it off.
//! * A *watermark* is the number of a frame in a WAL. Draft as of its watermark equals Synced as of its own,
//!   except in the pages that a compaction of Draft has recorded.
//!
//! # Two clients
//!
//! This example uses the simulator's server, which runs in the same process and in memory. A real program
//! uses `HttpRemote`, or its own [`Remote`], with [`turso_core::PlatformIO`] and [`LocalStorage`].
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
//! | module | responsibility |
//! |---|---|
//! | [`engine`](SyncEngine) | [`SyncEngine`]: open, connect, pull, push and sync, and the order of their steps |
//! | `options` | [`Options`]: the settings that an application chooses when it opens the engine |
//! | `metadata` | the small file that describes the state of the other files; [`Metadata`] is its format |
//! | `state` | the engine's in-memory state between operations, and how it is stored |
//! | `recovery` | the start of each operation: finishes an interrupted operation, discards a damaged replica |
//! | `bootstrap` | first use: the exported snapshot becomes both Draft and Synced |
//! | `main_file` | the header of a database's main file, and the damage that the header reveals |
//! | `draft` | opens and verifies the application's database |
//! | `local`, `guard` | the application's connections, and the statements that they refuse |
//! | `schema_statement`, `temporary` | the extra steps that the application's schema changes need |
//! | `synced` | the open replica |
//! | `reset` | truncates the replica to the frames that the metadata names, and verifies it |
//! | `checkpoint` | moves the replica's WAL into its main file |
//! | `walk` | brings Synced to the end of the remote's log, through every closed generation |
//! | `history` | checks that the server's log is still the one that Synced replicates |
//! | `rebootstrap`, `replacement` | replaces Synced by a new export; Draft and its transactions stay |
//! | `tape` | reads the change log as numbered local transactions, and as SQL that replays them |
//! | `conflict` | the report of conflicts between local and remote changes |
//! | `compaction`, `pages` | moves Draft's WAL into its main file, and records which pages may differ from Synced |
//! | `rebase` | copies the new remote state into Draft page by page, then replays the local transactions on it |
//! | `push` | sends each local transaction whole and once, as statements or as frames ([`PushMode`]) |
//! | `wire`, `protocol` | requests, answers, and the checks on answers |
//! | `allowance` | the limits on what a server can make one operation receive |
//! | `poison` | the failures after which the engine must be reopened |
//! | [`events`] | the names of the `tracing` events |
//! | `http_remote` | a ready-made [`Remote`] over HTTP (feature `http`) |
//! | `storage`, `engine_file` | renames, directory syncs and the lock ([`Storage`]); the roles of the files |
//! | `files`, `database`, `wal` | durable file operations, connections, raw WAL sessions and frames |
//!
//! Imports go in one direction, from the operations down to the stored state, and never through this file.
//! `scenarios/tests/it/tidy.rs` checks this.
//!
//! # Transactions have numbers
//!
//! Every local transaction has a permanent number. A rebase rewrites the change log, but the numbers stay.
//! For each client, the remote stores the highest number that it has applied (`turso_sync_last_change_id`),
//! in the same transaction as the rows themselves. A push takes effect only if the remote still stores the
//! number that the client read when it planned the push. A request that arrives twice, late, or after a
//! rebase therefore takes effect at most once, and one comparison decides whether a transaction is
//! acknowledged.
//!
//! Another design for such an engine, the *reference design*, renumbers the change log's rows at each rebase
//! and separates the numberings by an epoch. In it, a delayed request can take effect between two epochs.
//! [`faults`] lists this and the other faults of that design.
//!
//! # Conflicts
//!
//! `docs/conflict-policy.md` of this crate is the whole policy, as tables, with the cases in which the engine
//! does not follow it yet. In short:
//!
//! Local transactions are replayed on the remote's current state, row by row. A rebase and a push follow the
//! same rules. The replayed change counts as the later one:
//!
//! * An insert replaces every row that holds its primary key or another of its unique values.
//! * An update sets the columns that the statement set, on the row that had the key *before* the update. The
//!   other columns keep the remote's values. If the remote has deleted the row, the whole row is inserted
//!   again. A row whose INTEGER PRIMARY KEY changes is deleted and inserted.
//! * `ON CONFLICT DO UPDATE` sets the whole row, because the core does not record which columns it set.
//! * A delete removes the row that has the key, even if the remote has changed it. If a rebase finds no row
//!   for a pending delete, the rebase removes the delete from the change log. A row that is inserted under
//!   that key later therefore stays.
//! * A row without a key, or with NULL in its key, is identified by all its values.
//! * A table or an index that both sides create keeps the definition that reached the remote first. Rows of
//!   the other definition are written to the columns that both have; the remaining columns get their
//!   defaults.
//! * Columns that one side adds, drops or renames, and indexes, views and triggers that one side creates,
//!   replaces or drops, change in the same way on the other side. If both sides create a view or a trigger of
//!   the same name, the later one replaces the other.
//! * If the remote drops a table or a column, a client skips its pending rows or values for it. If the remote
//!   renames one, a client skips the pending rows or values that were recorded under the old name.
//! * Triggers do not fire for replayed rows, because the effects of the triggers are replayed themselves.
//! * A change that the remote's schema or its other rows forbid (`NOT NULL`, `CHECK`, a unique index over
//!   rows that are not unique) is skipped.
//!
//! No change ever blocks a sync. Each change with a different result than the application saw is reported:
//! see [`Conflict`], and the `conflicts` of [`PullReport`] and [`PushReport`]. The engine compares each
//! change with the row that it finds on the replica. If a remote transaction arrives between that comparison
//! and the push, the same rules apply to it, but no conflict is reported.
//!
//! # Supported and refused changes
//!
//! A local transaction is sent whole, including its schema changes in their original order. The core's change
//! log does not record views, triggers, and renames of tables and columns. The connections of
//! [`SyncEngine::connect`] record these beside the change log, in the same transaction. If the
//! schema is changed in another way, the next push or pull finds the difference and puts it into a separate
//! transaction. A table that was renamed twice in that way is refused with [`Error::UnknownTable`].
//!
//! * Temporary tables are local only. The change log records only a table's bare name, so a temporary table
//!   must not have the name of a table or view of the database. The statement is refused with
//!   [`Error::StatementRefused`]. If the remote creates a table or view with the name of a temporary table,
//!   the operation that would bring it into Draft fails with [`Error::HiddenByTemporary`].
//! * A table WITHOUT ROWID is read-only here. It is replicated and readable, but the core reports an error
//!   when a connection with change capture writes to it.
//! * Generated columns (`AS (…)`) are not sent; each side computes them. The core cannot read STORED
//!   generated columns. If the remote has one, opening and pulling fail with the core's own message in
//!   [`Error::Database`].
//! * `PRAGMA user_version`, `PRAGMA application_id`, sequences and the table `sqlite_stat1` are not synced.
//!   The engine refuses statements that set one of these pragmas, or that create, drop or advance a sequence.
//!
//! # When the remote or the files have changed unexpectedly
//!
//! | event | how it is detected | reaction of the engine |
//! |---|---|---|
//! | the server pruned the generation that Synced has reached | 404 or 410, twice, and `/info` reports a newer generation | re-bootstraps |
//! | the server was restored to an older state, or a copy of it answers | twice: it does not have Synced's newest frame, or a frame does not continue the checksums of the one before, or a generation begins elsewhere | re-bootstraps, or asks: [`Options::history_change`] |
//! | the server is another one, for example with an empty database | it has another log, none of the application's tables, and no acknowledgement of this client | refuses: [`Error::UnrelatedServer`], until the application calls [`SyncEngine::rebootstrap`] |
//! | two servers on copies of the same files answer in turn | a push names the server that has shown its log; frames that do not fit are refused | fails with a retryable error or re-bootstraps, until one server remains |
//! | an answer lags behind the newest frame of a replica that was lost | the server has that frame, but says that its log ends before it | asks again, then fails with a retryable error |
//! | the server is restored repeatedly while one operation runs | the operation would need a fourth re-bootstrap | fails with [`Error::HistoryUnsettled`]; the next operation continues |
//! | Synced or its WAL is missing, too short or corrupt | length, stamp of the last frame, checksums, database header | re-bootstraps, because Synced holds nothing local |
//! | Draft or its WAL is missing or too short | existence, length, stamp of the watermark's frame | refuses: [`Error::MissingFile`], [`Error::Damaged`] |
//! | the metadata is missing or damaged | existence, checksum | refuses: [`Error::ForeignFile`], [`Error::BadMetadata`] |
//! | a second engine opens the database, in this process or in another one | the exclusive lock on the file with the suffix `-lock` | refuses the second: [`Error::InUse`] |
//! | the server sends without end, or an export that claims to be huge | [`Options::operation_bytes_max`], [`Options::operation_seconds_max`] | gives the operation up, and keeps the whole transactions that arrived |
//! | the first export is corrupt | the core reports it before the application has a connection | fails with [`Error::Database`]; the next opening downloads another export |
//! | the directory is an older copy, or two clients use it | the remote has applied a transaction that this copy never sent | refuses: [`Error::ForeignAcknowledgement`], until the application decides with [`SyncEngine::adopt`] |
//!
//! A *re-bootstrap* downloads the export of the current generation beside the old Synced. One write of the
//! metadata switches to it. Then the engine rebases Draft onto the new Synced. Every local transaction that
//! the remote's new state has not acknowledged, and that the change log still holds, is kept and sent again.
//! Each rebase removes the acknowledged transactions from the change log. If the remote loses some of these
//! in a restore, the engine cannot send them again. [`PullReport::transactions_forgotten`] counts them. The
//! engine changes nothing before the switch, and a crash at any point leaves either the old files or the new
//! ones.
//!
//! # Limits
//!
//! Within a generation, the checksums of the frames prove which log an answer is from. Where a generation begins,
//! they prove nothing. `plimsoll serve` sends a proof there and names each run of the server: the response headers
//! `plimsoll-predecessor` and `plimsoll-instance`. With a server that sends neither, these gaps are left:
//!
//! * If Synced holds only an export, there is no frame to compare. A server that was restored to a point before
//!   that export, and that has reached the same generation since, is recognized only by another `history_id`. A
//!   copy of the files has the same one.
//! * If the server no longer has the generation of Synced's newest frame, only another `history_id` shows that the
//!   server was restored as well. Otherwise a pending row of a table that the restore lost is skipped, as if another
//!   client had dropped the table, and is reported. The same holds for a lost replica if the checksums of the
//!   server's frames do not chain.
//! * A generation is entered if the server has Synced's newest frame before and after it sends the next ones. If
//!   two servers on copies of the same files answer in turn, or if a cache keeps frames, the next ones can be of
//!   another log.
//! * After a re-bootstrap that gives transactions up, four answers in a row must say that the log ends there. If a
//!   replica lags behind for longer, the server is taken for a restored one.
//! * A push can reach another server on a copy of the files. It takes effect there only if this client's
//!   acknowledgement row or, as frames, the newest frame is the same.
//!
//! If the checksums of a server's frames do not chain at all, each pull that receives frames compares Synced's
//! newest frame instead. The engine decides that once per generation.
//!
//! Two limits concern copies of the directory:
//!
//! * An older copy is not detected if it has itself sent every transaction that the remote has applied for
//!   this identity. Such a copy loses and duplicates nothing. Exception: if a request of the original arrives
//!   after the copy has started to push, the copy can mistake the transactions in it for its own.
//! * An application may adopt an older copy ([`SyncEngine::adopt`]) and later put back the same older files
//!   from before the adoption. These files do not record what was sent under the adopted identity. The engine
//!   keeps the transactions above the number that the remote stores for the old identity, as usual, and sends
//!   them again.
//!
//! # Costs
//!
//! The work depends on the changes since the last operation, not on the size of the database or on the number
//! of earlier operations. Tests check this on counted work (`scenarios/tests/it/cost.rs`). The figures below
//! come from one run of `cargo bench -p plimsoll-scenarios --bench engine` on two shared cores, with the
//! remote in the same process, and rows of 100 bytes in transactions of 100. Compare them with each other,
//! not with figures of another machine.
//!
//! | | written to disk | requests | syncs | peak memory | time, files on disk | time, files in memory | what takes the time |
//! |---|---|---|---|---|---|---|---|
//! | bootstrap of 64 MiB | 2.01 × the received bytes | 4 | 20 | 0.31 MiB (the same for a bootstrap of 8 MiB) | 81 ms, 790 MiB/s | 14 ms, 4.5 GiB/s | the disk, to which two copies are written |
//! | pull of 10,000 rows | 1.52 × | 7 | 14 | 1.2 MiB | 11 ms | 3.0 ms | syncs; each page is written once to Synced and once to Draft |
//! | pull of one row with 10,000 rows pending | 9.8 MiB | 3 | 18 | 9.0 MiB | 166 ms | 151 ms | replay of each pending row, with capture; a compaction of Draft follows |
//! | push of 10,000 rows as statements | 5.1 MiB | 27 | 81 | 9.0 MiB | 124 ms | 98 ms | the remote, which runs 3.1 MiB of SQL; the change log is long by then, so a pull and a compaction follow |
//! | push of 10,000 rows as frames | 5.1 MiB | 24 | 134 | 9.0 MiB | 74 ms | 32 ms | syncs, six per batch; the same pull and compaction follow |
//! | pull with nothing new | nothing | 1; 2 from a server that does not name its runs | 0 | – | 4.0 µs | 3.3 µs | the requests (measured with two) |
//!
//! * A bootstrap and a pull keep one chunk of a body in memory (the table also counts the remote's answer of
//!   up to 256 frames). Memory grows with the pending local transactions, because a pull or push holds all of
//!   them at once. Acknowledged transactions are read once after opening, at most
//!   [`Options::change_log_records_max`] records, and not again.
//! * A small pull has a fixed minimum cost. In a database of a thousand rows, a pull of ten rows writes
//!   109 KiB (the local tail with the change log's own tables, about twenty pages) and needs 7 syncs. In a
//!   database of thirty times as many rows it writes only a few pages more: the B-tree is deeper, so there
//!   are more pages on the way to each row.
//! * After a rebase Synced is reopened, and the core checks its WAL from the start. A pull therefore reads up
//!   to [`Options::synced_wal_frames_max`] additional frames (4 MiB by default), and up to four times as many
//!   when it checkpoints. This bound does not depend on the database. A smaller value reads less and
//!   checkpoints more often.
//! * Everything that the application has written since the last rebase is read twice: as records of the
//!   change log, and as frames of Draft's WAL. The frames show which pages must be restored.

#[doc = include_str!("faults.md")]
pub mod faults {}

mod allowance;
mod bootstrap;
mod chain;
mod checkpoint;
#[cfg(test)]
mod codecs;
mod compaction;
mod conflict;
mod database;
mod draft;
mod engine;
mod engine_file;
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
mod proof;
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
pub use engine_file::{EngineFile, FileRole};
pub use error::{Error, FileOperation, Result};
#[cfg(feature = "http")]
pub use http_remote::{HttpBody, HttpRemote, HttpRemoteBuilder, HttpRemoteError};
pub use local::{LocalConnection, LocalStatement, LocalTransaction};
pub use metadata::{Anchor, Attachment, FrameStamp, LostTransactions, Metadata, Phase};
pub use options::{HistoryChange, Options, PushMode};
pub use pages::PageSet;
pub use progress::Progress;
pub use remote::{Remote, RemoteError};
pub use report::{PullReport, PushReport, RebootstrapReason, SyncReport};
pub use stats::Stats;
pub use storage::{LocalStorage, LockGuard, Storage};
