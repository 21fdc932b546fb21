//! One row of the change log, decoded.

use turso_core::types::ValueIterator;
use turso_core::{LimboError, Value};

/// A record of the change log.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) change_id: i64,
    pub(super) transaction_id: i64,
    /// The changed row; `None` for a commit record.
    pub(super) change: Option<RecordedChange>,
}

/// A recorded change of one row.
#[derive(Debug)]
pub(super) struct RecordedChange {
    pub(super) table: String,
    pub(super) rowid: i64,
    pub(super) images: Images,
    /// The position of the record among the records that were read.
    pub(super) record: usize,
    pub(super) aftermath: Aftermath,
}

/// Whether an inserted row still existed when its statement ended. A trigger that the insert fired may have
/// deleted it, and the trigger's effects are recorded first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Aftermath {
    /// The row existed.
    #[default]
    There,
    /// The row did not exist.
    Deleted,
    /// Draft's content decides, because no later record touches the row.
    ShowsInDraft,
}

/// The row before and after the change. An image holds the values of all columns that the table had at the
/// time.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Images {
    Insert {
        after: Vec<Value>,
    },
    /// `new_values[i]` is `Some` for the columns that the statement set. The whole vector is `None` if the
    /// capture records only the resulting row.
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
    /// The image that identifies the row: the row before the change, if it existed.
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
    /// Decodes the columns `change_id, change_txn_id, change_type, table_name, id, before, after, updates`.
    pub(super) fn decode(row: &[Value]) -> turso_core::Result<Self> {
        let [change_id, transaction_id, kind, table, rowid, before, after, updates] = row else {
            return Err(corrupt("a malformed change record"));
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
            // If an update changes a row's key, the core records the new row as an insert with its image in
            // `before`.
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
    let Some(bytes) = value.to_blob() else { return Ok(None) };
    // The core's record accessor assumes a complete record, and panics otherwise.
    ValueIterator::new(bytes)?
        .map(|value| Ok(value?.to_owned()?))
        .collect::<turso_core::Result<_>>()
        .map(Some)
}

/// Decodes an update's new values: the record holds one flag per column, then one value per column.
fn new_values(updates: &Value) -> turso_core::Result<Option<Vec<Option<Value>>>> {
    let Some(values) = image(updates)? else { return Ok(None) };
    let (flags, values) = values.split_at(values.len() / 2);
    let set = flags.iter().zip(values).map(|(flag, value)| (flag.as_int() == Some(1)).then(|| value.clone()));
    Ok(Some(set.collect()))
}

pub(super) fn corrupt(problem: &str) -> LimboError {
    LimboError::Corrupt(format!("the change log holds {problem}"))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use turso_core::types::ImmutableRecord;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from_i64),
            prop::num::f64::NORMAL.prop_map(Value::from_f64),
            ".{0,20}".prop_map(Value::build_text),
            vec(any::<u8>(), 0..20).prop_map(Value::from_blob),
        ]
    }

    /// An image as the core writes it: a record in SQLite's file format.
    fn written(values: &[Value]) -> Value {
        let record = ImmutableRecord::from_values(values, values.len()).expect("there is memory");
        Value::from_blob(record.get_payload().to_vec())
    }

    /// A row of the change log about row 7 of table t.
    fn row(kind: i64, images: [Value; 3]) -> Vec<Value> {
        let [before, after, updates] = images;
        let place = [1, 2, kind].map(Value::from_i64);
        place
            .into_iter()
            .chain([Value::build_text("t"), Value::from_i64(7), before, after, updates])
            .collect()
    }

    fn decoded(kind: i64, images: [Value; 3]) -> Images {
        let record = Record::decode(&row(kind, images)).expect("the core writes such records");
        assert_eq!((record.change_id, record.transaction_id), (1, 2));
        let change = record.change.expect("it is a row change");
        assert_eq!((change.table.as_str(), change.rowid), ("t", 7));
        change.images
    }

    proptest! {
        #[test]
        fn a_change_record_says_what_was_changed(columns in vec((value(), value(), any::<bool>()), 0..40)) {
            let before: Vec<Value> = columns.iter().map(|(before, ..)| before.clone()).collect();
            let after: Vec<Value> = columns.iter().map(|(_, after, _)| after.clone()).collect();
            let set = columns.iter().map(|(_, after, is_set)| is_set.then(|| after.clone()));
            let new_values: Vec<Option<Value>> = set.collect();
            let flags = new_values.iter().map(|value| Value::from_i64(value.is_some().into()));
            let values = new_values.iter().map(|value| value.clone().unwrap_or(Value::Null));
            let updates: Vec<Value> = flags.chain(values).collect();
            let none = || Value::Null;

            let insert = decoded(1, [none(), written(&after), none()]);
            prop_assert_eq!(insert, Images::Insert { after: after.clone() });
            let rekeyed = decoded(1, [written(&after), none(), none()]);
            prop_assert_eq!(rekeyed, Images::Insert { after: after.clone() });
            let delete = decoded(-1, [written(&before), none(), none()]);
            prop_assert_eq!(delete, Images::Delete { before: before.clone() });
            let update = decoded(0, [written(&before), written(&after), written(&updates)]);
            prop_assert_eq!(
                update,
                Images::Update { before: before.clone(), after: after.clone(), new_values: Some(new_values) }
            );
            let result_only = decoded(0, [written(&before), written(&after), none()]);
            prop_assert_eq!(result_only, Images::Update { before, after, new_values: None });
        }

        /// Any content of a damaged change log is decoded or refused.
        #[test]
        fn a_damaged_change_record_is_read_or_refused(
            kind in -2..4_i64,
            images in prop::array::uniform3(prop_oneof![
                vec(any::<u8>(), 0..40).prop_map(Value::from_blob),
                value(),
            ]),
        ) {
            if let Err(error) = Record::decode(&row(kind, images)) {
                prop_assert!(matches!(error, LimboError::Corrupt(_)), "{error:?}");
            }
        }
    }
}
