//! The tape: Draft's change log, read as the local transactions that it records.
//!
//! It is read in one read transaction, so all of its transactions are whole. Records are grouped by the transaction that they
//! name, not by where the commit records stand: a trigger's body writes one in the middle of its transaction.
//!
//! Numbers: a rebase rewrites the change log, and for each transaction that it replays it adds a *mark*, a captured row with the
//! transaction's number. A transaction without a mark is newer than the last rebase and has the number after the one before it.
//! Transactions that changed nothing which is replicated have none. A rebase's last mark is the highest number ever given, so that a
//! transaction whose replay had no effect keeps its number from being given again.
//!
//! | module | what it owns |
//! |---|---|
//! | `bookmark` | where reading may begin, so that what is acknowledged is not read again |
//! | `record` | one row of the change log |
//! | `schema` | tables, indexes, views and triggers as a model |
//! | `order` | in which order a transaction's rows have changed |
//! | `note` | writes down what the core does not record |
//! | `local` | Draft's schema followed through the tape |
//! | `change` | the changes that come out of it |
//! | `plan` | the changes as statements for the remote's state; conflicts |
//! | `statements` | the SQL of a row's change |
//! | `replay` | runs a plan on Synced's local tail |

mod bookmark;
mod change;
mod local;
mod note;
mod order;
mod plan;
mod record;
mod replay;
mod schema;
mod statements;

use std::sync::Arc;

use turso_core::{Connection, Value};

use crate::database::{self, CHANGE_LOG, Transaction as SqlTransaction};
use crate::error::{DatabaseContext, Error, Result};
use crate::files::Files;

pub(crate) use bookmark::Bookmarks;
pub(crate) use change::{SCHEMA_CHANGE_TABLE, SchemaChange};
pub(crate) use note::{SchemaNow, take_write_lock};
pub(crate) use plan::{Planner, Refusal, Step};
pub(crate) use replay::Replayer;
pub(crate) use statements::Statement;

use bookmark::Bookmark;
use change::Change;
use local::{LocalSchema, Unreadable};
use order::{in_order_of_effect, note_aftermaths};
use record::{Aftermath, Images, Record, RecordedChange, corrupt};
use schema::Schema;

const SCHEMA_TABLE: &str = "sqlite_schema";
/// The table, in Draft only, whose captured rows number the replayed transactions.
pub(crate) const MARK_TABLE: &str = "plimsoll_transaction_mark";
/// The table, in Draft only, that holds `sqlite_schema` as it was below the replayed transactions.
pub(crate) const SCHEMA_BASE_TABLE: &str = "plimsoll_schema_base";
/// The table in which the remote keeps the highest transaction number that it has applied, one row a client.
pub(crate) const ACKNOWLEDGEMENT_TABLE: &str = "turso_sync_last_change_id";

/// One local transaction, whole.
pub(crate) struct Transaction {
    /// Its number, for life.
    pub(crate) no: u64,
    changes: Vec<Change>,
}

impl Transaction {
    /// How many statements its replay needs at most, triggers aside.
    pub(crate) fn statements_max(&self) -> usize {
        // An update is an insert, if need be, and an update.
        let statements = |change: &Change| match change {
            Change::Row(_) => 2,
            Change::Schema(_) => 1,
        };
        self.changes.iter().map(statements).sum()
    }
}

#[cfg(test)]
impl Transaction {
    /// One whose replay needs so many statements at most.
    pub(crate) fn of_statements(no: u64, statements: usize) -> Self {
        let change = Change::Schema(SchemaChange::DropView { name: "v".into() });
        Self { no, changes: vec![change; statements] }
    }
}

/// The local transactions that Draft's change log records, in order.
pub(crate) struct Tape {
    pub(crate) transactions: Vec<Transaction>,
    /// The number of the last transaction, of the last rebase's base if there is none since.
    pub(crate) last_no: u64,
    /// How many records were read.
    pub(crate) records_read: u64,
    /// Where the next reading may begin.
    pub(crate) bookmarks: Bookmarks,
    /// The number up to which the last rebase has left transactions out, because they were acknowledged, or that of the bookmark from which
    /// it was read; `None` while there are none.
    base_no: Option<u64>,
    /// What was done to the schema and no record tells of.
    pub(crate) unrecorded: Vec<SchemaChange>,
}

/// The type under which the base's schema also remembers the names of temporary tables.
const TEMPORARY: &str = "temporary";

/// The statement that remembers the name of a temporary table in the base's schema.
pub(crate) fn remember_temporary(name: &str) -> Statement {
    let sql = format!("INSERT INTO {SCHEMA_BASE_TABLE} (type, name) VALUES (?, ?)");
    Statement { sql, args: [TEMPORARY, name].map(|text| Value::build_text(text.to_owned())).into() }
}

impl Tape {
    /// Reads the tape as of now, from the last of the `bookmarks` on that has nothing unacknowledged before it. Transactions before it
    /// are not on this tape.
    ///
    /// # Errors
    /// [`Error::UnknownTable`], and what the core says.
    pub(crate) fn read(
        files: &Files,
        connection: &Arc<Connection>,
        bookmarks: &Bookmarks,
        acknowledged: u64,
    ) -> Result<Self> {
        const ACTION: &str = "reading the change log";
        let read = || {
            let snapshot = SqlTransaction::begin(connection)?;
            let tape = Self::read_snapshot(connection, bookmarks.last_before(acknowledged), acknowledged)?;
            snapshot.commit()?;
            Ok(tape)
        };
        match read() {
            Ok(tape) => Ok(tape),
            Err(Unreadable::Core(error)) => Err(error).while_doing(ACTION, &files.draft),
            Err(Unreadable::UnknownTable(table)) => {
                Err(Error::UnknownTable { file: files.draft.clone(), table })
            }
        }
    }

    fn read_snapshot(
        connection: &Arc<Connection>,
        start: Option<&Bookmark>,
        acknowledged: u64,
    ) -> std::result::Result<Self, Unreadable> {
        let mut tape = Self {
            transactions: Vec::new(),
            last_no: 0,
            records_read: 0,
            bookmarks: Bookmarks::default(),
            base_no: start.filter(|bookmark| bookmark.change_id > 0).map(|bookmark| bookmark.no),
            unrecorded: Vec::new(),
        };
        if !database::has_table(connection, CHANGE_LOG)? {
            return Ok(tape);
        }
        let current = Schema::read(connection, SCHEMA_TABLE)?;
        let start = match start {
            Some(bookmark) => bookmark.clone(),
            None => Bookmark::of_base(connection, &current)?,
        };
        let sql = format!(
            "SELECT change_id, change_txn_id, change_type, table_name, id, \"before\", \"after\", updates \
             FROM {CHANGE_LOG} WHERE change_id > ? ORDER BY change_id"
        );
        let rows = database::run(connection, &sql, &[Value::from_i64(start.change_id)])?;
        let mut records: Vec<Record> =
            rows.iter().map(|row| Record::decode(row)).collect::<turso_core::Result<_>>()?;
        note_aftermaths(&mut records);
        tape.last_no = start.no;
        tape.records_read = records.len() as u64;
        let mut local =
            LocalSchema::new(&start, current, records.iter().map(|record| record.change.as_ref()));
        let mut group = Group { last_change_id: start.change_id, ..Group::default() };
        tape.bookmarks.acknowledged = Some(start);
        for (index, record) in records.into_iter().enumerate() {
            if record.transaction_id != group.id {
                let next = Group::new(record.transaction_id);
                tape.push(connection, std::mem::replace(&mut group, next), &mut local, acknowledged)?;
            }
            group.add(index, record)?;
        }
        let end = tape.push(connection, group, &mut local, acknowledged)?;
        tape.bookmarks.end = Some(end);
        tape.unrecorded = local.difference_to_current();
        Ok(tape)
    }

    /// Appends the transaction that the records of a group make, if they do. Returns the place behind it.
    fn push(
        &mut self,
        connection: &Arc<Connection>,
        mut group: Group,
        local: &mut LocalSchema,
        acknowledged: u64,
    ) -> std::result::Result<Bookmark, Unreadable> {
        for change in &mut group.changes {
            if change.aftermath == Aftermath::ShowsInDraft {
                let is_there = local.has_row_now(connection, change)?;
                change.aftermath = if is_there { Aftermath::There } else { Aftermath::Deleted };
            }
        }
        let mut changes = Vec::new();
        for change in in_order_of_effect(group.changes) {
            local.take(&change, &mut changes)?;
        }
        if let Some(mark) = group.mark {
            self.base_no.get_or_insert(mark);
            self.last_no = mark;
        } else if group.is_replicated {
            self.base_no.get_or_insert(self.last_no);
            self.last_no += 1;
        }
        if !changes.is_empty() {
            self.transactions.push(Transaction { no: self.last_no, changes });
        }
        let place = local.bookmark(group.last_change_id, self.last_no);
        if self.last_no <= acknowledged {
            self.bookmarks.acknowledged = Some(place.clone());
        }
        Ok(place)
    }

    /// Makes a transaction of its own of what no record tells of. Only under Draft's write lock, or its number could be given
    /// to another one.
    pub(crate) fn number_unrecorded(&mut self) {
        if !self.unrecorded.is_empty() {
            self.last_no += 1;
            let changes = std::mem::take(&mut self.unrecorded).into_iter().map(Change::Schema).collect();
            self.transactions.push(Transaction { no: self.last_no, changes });
        }
    }

    /// The number up to which transactions are not on the tape any more.
    pub(crate) fn base_no(&self) -> u64 {
        self.base_no.unwrap_or(0)
    }

    /// The transactions with a number above `acknowledged`.
    pub(crate) fn after(&self, acknowledged: u64) -> &[Transaction] {
        let first = self.transactions.partition_point(|transaction| transaction.no <= acknowledged);
        &self.transactions[first..]
    }
}

/// The records of one transaction, as far as they were read.
#[derive(Default)]
struct Group {
    id: i64,
    /// The last record of it, or before it.
    last_change_id: i64,
    mark: Option<u64>,
    /// Whether it changed anything that is replicated. Told by the records alone: a number must not depend on what the schema has become.
    is_replicated: bool,
    changes: Vec<RecordedChange>,
}

impl Group {
    fn new(id: i64) -> Self {
        Self { id, ..Self::default() }
    }

    fn add(&mut self, index: usize, record: Record) -> turso_core::Result<()> {
        self.last_change_id = record.change_id;
        let Some(mut change) = record.change else { return Ok(()) };
        if change.table == MARK_TABLE {
            if let Images::Insert { after } = &change.images {
                let mark = after.first().and_then(Value::as_int);
                self.mark = Some(mark.ok_or_else(|| corrupt("a mark without a number"))?.cast_unsigned());
            }
            return Ok(());
        }
        let is_replicated = if change.table == SCHEMA_TABLE {
            change.images.schema_object().is_some_and(|name| !is_internal(name))
        } else {
            change.table == SCHEMA_CHANGE_TABLE || !is_internal(&change.table)
        };
        if is_replicated {
            self.is_replicated = true;
            change.record = index;
            self.changes.push(change);
        }
        Ok(())
    }
}

/// Whether an object is the engine's or the core's own and never leaves the client by replay.
pub(crate) fn is_internal(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        CHANGE_LOG,
        "turso_cdc_version",
        MARK_TABLE,
        SCHEMA_BASE_TABLE,
        SCHEMA_CHANGE_TABLE,
        ACKNOWLEDGEMENT_TABLE,
    ];
    const PREFIXES: [&str; 2] = ["sqlite_", "__turso_internal_"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
