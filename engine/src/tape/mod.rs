//! The tape: Draft's change log, read as the local transactions that it records.
//!
//! It is read in one read transaction, so all of its transactions are whole. Records are grouped by the transaction that they
//! name, not by where the commit records stand: a trigger's body writes one in the middle of its transaction.
//!
//! Numbers: a rebase rewrites the change log, and for each transaction that it replays it adds a *mark*, a captured row with the
//! transaction's number. A transaction without a mark is newer than the last rebase and has the number after the one before it.
//! Transactions that changed nothing which is replicated have none. A rebase's last mark is the highest number ever given, so that a
//! transaction whose replay had no effect keeps its number from being given again.

mod statements;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use turso_core::types::ImmutableRecord;
use turso_core::{Connection, LimboError, Value};

use crate::database::{self, CHANGE_LOG, Transaction as SqlTransaction};

pub(crate) use statements::Statement;

const SCHEMA_TABLE: &str = "sqlite_schema";
/// The table, in Draft only, whose captured rows number the replayed transactions.
pub(crate) const MARK_TABLE: &str = "plimsoll_transaction_mark";
/// The table in which the remote keeps the highest transaction number that it has applied, one row a client.
pub(crate) const ACKNOWLEDGEMENT_TABLE: &str = "turso_sync_last_change_id";

/// One local transaction, whole.
pub(crate) struct Transaction {
    /// Its number, for life.
    pub(crate) no: u64,
    /// The SQL that replays it.
    pub(crate) statements: Vec<Statement>,
}

/// The local transactions that Draft's change log records, in order.
pub(crate) struct Tape {
    pub(crate) transactions: Vec<Transaction>,
    /// The number of the last transaction, of the last rebase's base if there is none since.
    pub(crate) last_no: u64,
}

/// One row change, its images decoded: a row image holds the values of all columns that the table had at the time.
enum Change {
    Insert {
        after: Vec<Value>,
    },
    /// `new_values[i]` is there for the columns that the statement set; `None` where the capture knows only the result.
    Update {
        before: Vec<Value>,
        after: Vec<Value>,
        new_values: Option<Vec<Option<Value>>>,
    },
    Delete {
        before: Vec<Value>,
    },
}

/// What a table's rows look like.
struct TableShape {
    columns: Vec<String>,
    /// Indexes of the primary key's columns, in the key's order; empty for a table without one.
    key: Vec<usize>,
}

impl Tape {
    /// Reads the tape as of now.
    pub(crate) fn read(connection: &Arc<Connection>) -> turso_core::Result<Self> {
        let snapshot = SqlTransaction::begin(connection)?;
        let tape = Self::read_snapshot(connection)?;
        snapshot.commit()?;
        Ok(tape)
    }

    fn read_snapshot(connection: &Arc<Connection>) -> turso_core::Result<Self> {
        let mut tape = Self { transactions: Vec::new(), last_no: 0 };
        if !database::has_table(connection, CHANGE_LOG)? {
            return Ok(tape);
        }
        let sql = format!(
            "SELECT change_txn_id, change_type, table_name, \"before\", \"after\", updates FROM {CHANGE_LOG} ORDER BY change_id"
        );
        let mut shapes = Shapes { connection, known: BTreeMap::new(), dropped: BTreeSet::new() };
        let mut group = Group::default();
        for row in database::run(connection, &sql, &[])? {
            let record = Record::decode(&row)?;
            if record.transaction_id != group.id {
                tape.push(std::mem::replace(&mut group, Group::new(record.transaction_id)));
            }
            group.add(record, &mut shapes)?;
        }
        tape.push(group);
        shapes.check_missing()?;
        Ok(tape)
    }

    fn push(&mut self, group: Group) {
        if let Some(mark) = group.mark {
            self.last_no = mark;
        } else if group.is_replicated {
            self.last_no += 1;
        }
        if !group.statements.is_empty() {
            self.transactions.push(Transaction { no: self.last_no, statements: group.statements });
        }
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
    mark: Option<u64>,
    /// Whether it changed anything that is replicated. Told by the records alone: a number must not depend on what the schema has become.
    is_replicated: bool,
    statements: Vec<Statement>,
}

impl Group {
    fn new(id: i64) -> Self {
        Self { id, ..Self::default() }
    }

    fn add(&mut self, record: Record, shapes: &mut Shapes<'_>) -> turso_core::Result<()> {
        let Some((table, change)) = record.change else { return Ok(()) };
        if table == MARK_TABLE {
            if let Change::Insert { after } = &change {
                let mark = after
                    .first()
                    .and_then(Value::as_int)
                    .ok_or_else(|| corrupt("a mark without a number"))?;
                self.mark = Some(mark.cast_unsigned());
            }
        } else if table == SCHEMA_TABLE {
            if let Some(name) = change.schema_object().filter(|name| !is_internal(name)) {
                self.is_replicated = true;
                if matches!(change, Change::Delete { .. }) {
                    shapes.dropped.insert(name.to_owned());
                }
                self.statements.extend(statements::replay_schema_change(&change));
            }
        } else if !is_internal(&table) {
            self.is_replicated = true;
            if let Some(shape) = shapes.get(&table)? {
                statements::replay_row_change(&table, shape, &change, &mut self.statements)?;
            }
        }
        Ok(())
    }
}

impl Change {
    /// The name of the object that a row of `sqlite_schema` describes.
    fn schema_object(&self) -> Option<&str> {
        let row = match self {
            Self::Insert { after } => after,
            Self::Update { before, .. } | Self::Delete { before } => before,
        };
        row.get(1)?.to_text()
    }
}

/// Whether an object is the engine's or the core's own and never leaves the client by replay.
pub(crate) fn is_internal(name: &str) -> bool {
    const NAMES: [&str; 4] = [CHANGE_LOG, "turso_cdc_version", MARK_TABLE, ACKNOWLEDGEMENT_TABLE];
    const PREFIXES: [&str; 2] = ["sqlite_", "__turso_internal_"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The tables' shapes, looked up once each.
struct Shapes<'a> {
    connection: &'a Arc<Connection>,
    known: BTreeMap<String, Option<TableShape>>,
    /// Tables that the tape drops.
    dropped: BTreeSet<String>,
}

impl Shapes<'_> {
    /// The shape of a table, `None` if it is there no more: a later record of the tape drops it, and its rows need no replay.
    fn get(&mut self, table: &str) -> turso_core::Result<Option<&TableShape>> {
        if !self.known.contains_key(table) {
            let shape = TableShape::read(self.connection, table)?;
            self.known.insert(table.to_owned(), shape);
        }
        Ok(self.known[table].as_ref())
    }

    /// Rows of a table that is gone need no replay only where the tape drops it. The core does not record that a table was renamed; to
    /// go on then would lose its rows.
    fn check_missing(&self) -> turso_core::Result<()> {
        let is_lost = |table: &&String| self.known[*table].is_none() && !self.dropped.contains(*table);
        match self.known.keys().find(is_lost) {
            Some(table) => {
                Err(corrupt(&format!("rows of {table}, which was not dropped and is not there (renamed?)")))
            }
            None => Ok(()),
        }
    }
}

impl TableShape {
    fn read(connection: &Arc<Connection>, table: &str) -> turso_core::Result<Option<Self>> {
        let sql = format!("PRAGMA table_info({})", statements::quoted(table));
        let rows = database::run(connection, &sql, &[])?;
        if rows.is_empty() {
            return Ok(None);
        }
        let mut columns = Vec::with_capacity(rows.len());
        let mut key = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            // Position, name, type, NOT NULL, default, and the ordinal inside the primary key or 0.
            let [_, name, _, _, _, ordinal] = row.as_slice() else {
                return Err(corrupt("a column of another shape"));
            };
            let (Some(name), Some(ordinal)) = (name.to_text(), ordinal.as_int()) else {
                return Err(corrupt("a column without a name"));
            };
            columns.push(name.to_owned());
            if ordinal > 0 {
                key.push((ordinal, index));
            }
        }
        key.sort_unstable();
        Ok(Some(Self { columns, key: key.into_iter().map(|(_, index)| index).collect() }))
    }
}

/// One row of the change log.
struct Record {
    transaction_id: i64,
    /// The table and what happened to a row of it; `None` for a commit record.
    change: Option<(String, Change)>,
}

impl Record {
    fn decode(row: &[Value]) -> turso_core::Result<Self> {
        let [transaction_id, kind, table, before, after, updates] = row else {
            return Err(corrupt("a change record of another shape"));
        };
        let (Some(transaction_id), Some(kind)) = (transaction_id.as_int(), kind.as_int()) else {
            return Err(corrupt("a change record without a transaction"));
        };
        const COMMIT: i64 = 2;
        if kind == COMMIT {
            return Ok(Self { transaction_id, change: None });
        }
        let table = table.to_text().ok_or_else(|| corrupt("a change record without a table"))?.to_owned();
        let (before, after) = (image(before)?, image(after)?);
        let change = match (kind, before, after) {
            // Where the key of a row changed, the core records the new row as an insert whose image stands in `before`.
            (1, Some(after), None) | (1, _, Some(after)) => Change::Insert { after },
            (0, Some(before), Some(after)) => {
                Change::Update { new_values: new_values(updates)?, before, after }
            }
            (-1, Some(before), _) => Change::Delete { before },
            _ => return Err(corrupt("a change record without its row")),
        };
        Ok(Self { transaction_id, change: Some((table, change)) })
    }
}

fn image(value: &Value) -> turso_core::Result<Option<Vec<Value>>> {
    match value.to_blob() {
        None => Ok(None),
        Some(bytes) => {
            let mut payload = turso_core::ValueBlob::default();
            payload.extend_from_slice(bytes);
            ImmutableRecord::from_bin_record(payload).get_values_owned().map(Some)
        }
    }
}

/// An update's new values: the record holds one flag a column and then one value a column.
fn new_values(updates: &Value) -> turso_core::Result<Option<Vec<Option<Value>>>> {
    let Some(values) = image(updates)? else { return Ok(None) };
    let (flags, values) = values.split_at(values.len() / 2);
    let set = flags.iter().zip(values).map(|(flag, value)| (flag.as_int() == Some(1)).then(|| value.clone()));
    Ok(Some(set.collect()))
}

fn corrupt(problem: &str) -> LimboError {
    LimboError::Corrupt(format!("the change log holds {problem}"))
}
