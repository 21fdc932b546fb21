//! The tape: Draft's change log, read as the local transactions that it records.
//!
//! One read transaction reads the tape, so all transactions on it are whole. Records are grouped by their
//! transaction id, not by the position of commit records, because a trigger's body writes a commit record in
//! the middle of its transaction.
//!
//! Numbers: a rebase rewrites the change log. For each replayed transaction it adds a *mark*, a captured row
//! with the transaction's number. A transaction without a mark is newer than the last rebase, and its number
//! is that of the previous one plus one. Transactions without a replicated change have no number. The last
//! mark of a rebase is the highest number ever assigned. So the number of a transaction whose replay had no
//! effect is not assigned again.
//!
//! | module | responsibility |
//! |---|---|
//! | `bookmark` | the places at which reading may start, so that acknowledged records are not read again |
//! | `record` | one row of the change log |
//! | `schema` | a model of tables, indexes, views and triggers |
//! | `order` | the order in which a transaction's rows changed |
//! | `note` | records the changes that the core does not record |
//! | `local` | follows Draft's schema along the tape |
//! | `change` | the resulting changes |
//! | `plan` | turns changes into statements for the remote's state; finds conflicts |
//! | `statements` | the SQL for a row's change |
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

use std::collections::BTreeSet;
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
/// A table that exists only in Draft. Its captured rows number the replayed transactions.
pub(crate) const MARK_TABLE: &str = "plimsoll_transaction_mark";
/// A table that exists only in Draft. It holds `sqlite_schema` as it was below the replayed transactions.
pub(crate) const SCHEMA_BASE_TABLE: &str = "plimsoll_schema_base";
/// The table in which the remote keeps the highest transaction number that it has applied, one row per
/// client.
pub(crate) const ACKNOWLEDGEMENT_TABLE: &str = "turso_sync_last_change_id";

/// One whole local transaction.
pub(crate) struct Transaction {
    /// The transaction's permanent number.
    pub(crate) no: u64,
    changes: Vec<Change>,
}

impl Transaction {
    /// The maximum number of statements that its replay needs, not counting triggers.
    pub(crate) fn statements_max(&self) -> usize {
        // An update needs an update, and possibly an insert.
        let statements = |change: &Change| match change {
            Change::Row(_) => 2,
            Change::Schema(_) => 1,
        };
        self.changes.iter().map(statements).sum()
    }
}

#[cfg(test)]
impl Transaction {
    /// A transaction whose replay needs at most this many statements.
    pub(crate) fn of_statements(no: u64, statements: usize) -> Self {
        let change = Change::Schema(SchemaChange::DropView { name: "v".into() });
        Self { no, changes: vec![change; statements] }
    }
}

/// The local transactions in Draft's change log, in order.
pub(crate) struct Tape {
    pub(crate) transactions: Vec<Transaction>,
    /// The number of the last transaction, or of the last rebase's base if there is none since.
    pub(crate) last_no: u64,
    /// The number of records that were read.
    pub(crate) records_read: u64,
    /// The places at which the next read may start.
    pub(crate) bookmarks: Bookmarks,
    /// The number up to which transactions are missing because they were acknowledged: from the last rebase,
    /// or from the bookmark at which the read started. `None` if no transaction is missing.
    base_no: Option<u64>,
    /// Schema changes that no record shows.
    pub(crate) unrecorded: Vec<SchemaChange>,
}

/// The `type` under which the base's schema also stores the names of temporary tables.
const TEMPORARY: &str = "temporary";

/// Returns the statement that stores the name of a temporary table in the base's schema.
pub(crate) fn remember_temporary(name: &str) -> Statement {
    let sql = format!("INSERT INTO {SCHEMA_BASE_TABLE} (type, name) VALUES (?, ?)");
    Statement { sql, args: [TEMPORARY, name].map(|text| Value::build_text(text.to_owned())).into() }
}

impl Tape {
    /// Reads the tape as of now. Starts at the last of the `bookmarks` with only acknowledged transactions
    /// before it. Those transactions are not on the tape.
    ///
    /// # Errors
    /// [`Error::UnknownTable`], and the core's error.
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

    /// Appends the transaction that the records of a group form, if there is one. Returns the place after it.
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

    /// Makes a separate transaction of the changes that no record shows. Requires Draft's write lock;
    /// otherwise another transaction could get the same number.
    pub(crate) fn number_unrecorded(&mut self) {
        if !self.unrecorded.is_empty() {
            self.last_no += 1;
            let changes = std::mem::take(&mut self.unrecorded).into_iter().map(Change::Schema).collect();
            self.transactions.push(Transaction { no: self.last_no, changes });
        }
    }

    /// The number up to which transactions are no longer on the tape.
    pub(crate) fn base_no(&self) -> u64 {
        self.base_no.unwrap_or(0)
    }

    /// The transactions with a number above `acknowledged`.
    pub(crate) fn after(&self, acknowledged: u64) -> &[Transaction] {
        let first = self.transactions.partition_point(|transaction| transaction.no <= acknowledged);
        &self.transactions[first..]
    }
}

/// The records of one transaction, as read so far.
#[derive(Default)]
struct Group {
    id: i64,
    /// The id of the transaction's last record so far; before the first record, an earlier id.
    last_change_id: i64,
    mark: Option<u64>,
    /// Whether the transaction changed anything that is replicated. This depends only on the records, because
    /// a number must not depend on later schema changes.
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

/// Returns the highest transaction number of `client` that the remote had applied as of Synced's end; `None`
/// if the client has no row.
pub(crate) fn acknowledged_no(synced: &Arc<Connection>, client: &str) -> turso_core::Result<Option<u64>> {
    if !database::has_table(synced, ACKNOWLEDGEMENT_TABLE)? {
        return Ok(None);
    }
    let sql = format!("SELECT change_id FROM {ACKNOWLEDGEMENT_TABLE} WHERE client_id = ?");
    let rows = database::run(synced, &sql, &[Value::build_text(client.to_owned())])?;
    Ok(rows.first().and_then(|row| row[0].as_int()).map(i64::cast_unsigned))
}

/// The names of the application's tables, in the form in which names are compared.
pub(crate) fn table_names(connection: &Arc<Connection>) -> turso_core::Result<BTreeSet<String>> {
    let rows = database::run(connection, "SELECT name FROM sqlite_schema WHERE type = 'table'", &[])?;
    let names = rows.iter().filter_map(|row| row.first()?.to_text());
    Ok(names.filter(|name| !is_internal(name)).map(schema::folded).collect())
}

/// Whether an object belongs to the engine or the core, and so is never replayed on the remote.
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
