//! One row of the change log, decoded.

use turso_core::types::ImmutableRecord;
use turso_core::{LimboError, Value};

/// A record of the change log.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) change_id: i64,
    pub(super) transaction_id: i64,
    /// What happened to which row of which table; `None` for a commit record.
    pub(super) change: Option<RecordedChange>,
}

/// A recorded change of one row.
#[derive(Debug)]
pub(super) struct RecordedChange {
    pub(super) table: String,
    pub(super) rowid: i64,
    pub(super) images: Images,
    /// Which record of the change log it is.
    pub(super) record: usize,
    pub(super) aftermath: Aftermath,
}

/// Whether an inserted row was there when its statement had ended: a trigger that it fired may have deleted it, and what it did is
/// recorded first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Aftermath {
    /// It was.
    #[default]
    There,
    /// It was not.
    Deleted,
    /// That shows in Draft: nothing has touched the row since.
    ShowsInDraft,
}

/// The row before and after. An image holds the values of all columns that the table had at the time.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Images {
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

impl Images {
    /// The image that tells which row it was: as it was before, if it was there.
    pub(super) fn earlier(&self) -> &[Value] {
        match self {
            Self::Insert { after } => after,
            Self::Update { before, .. } | Self::Delete { before } => before,
        }
    }
}

impl Images {
    /// The name of the object that a row of `sqlite_schema` describes.
    pub(super) fn schema_object(&self) -> Option<&str> {
        self.earlier().get(1)?.to_text()
    }
}

impl Record {
    /// From the columns `change_id, change_txn_id, change_type, table_name, id, before, after, updates`.
    pub(super) fn decode(row: &[Value]) -> turso_core::Result<Self> {
        let [change_id, transaction_id, kind, table, rowid, before, after, updates] = row else {
            return Err(corrupt("a change record of another shape"));
        };
        let (Some(change_id), Some(transaction_id), Some(kind)) =
            (change_id.as_int(), transaction_id.as_int(), kind.as_int())
        else {
            return Err(corrupt("a change record without a transaction"));
        };
        const COMMIT: i64 = 2;
        if kind == COMMIT {
            return Ok(Self { change_id, transaction_id, change: None });
        }
        let table = table.to_text().ok_or_else(|| corrupt("a change record without a table"))?.to_owned();
        let rowid = rowid.as_int().unwrap_or_default();
        let (before, after) = (image(before)?, image(after)?);
        let images = match (kind, before, after) {
            // Where the key of a row changed, the core records the new row as an insert whose image stands in `before`.
            (1, Some(after), None) | (1, _, Some(after)) => Images::Insert { after },
            (0, Some(before), Some(after)) => {
                Images::Update { new_values: new_values(updates)?, before, after }
            }
            (-1, Some(before), _) => Images::Delete { before },
            _ => return Err(corrupt("a change record without its row")),
        };
        let change = RecordedChange { table, rowid, images, record: 0, aftermath: Aftermath::There };
        Ok(Self { change_id, transaction_id, change: Some(change) })
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

pub(super) fn corrupt(problem: &str) -> LimboError {
    LimboError::Corrupt(format!("the change log holds {problem}"))
}
