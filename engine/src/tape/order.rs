//! The order in which the rows of a transaction changed.
//!
//! The core records an insert after the effects of the triggers that it fired. The images reveal a trigger
//! that updates the inserted row: the update starts from the inserted row, and no delete of that row lies in
//! between. A trigger that deletes the row leaves the same records as an `INSERT OR REPLACE` that replaced a
//! row by an equal one. The difference is that the trigger leaves no row. The next record of the row shows
//! which case it is. If there is no such record, Draft's content shows it.

use std::collections::BTreeMap;

use turso_core::Value;

use super::SCHEMA_TABLE;
use super::record::{Aftermath, Images, Record, RecordedChange};
use super::schema::folded;

/// The identity of a row, independent of its content.
type Row = (String, i64);

fn row_of(change: &RecordedChange) -> Row {
    (folded(&change.table), change.rowid)
}

/// The changes of a transaction to one row since its last insert.
#[derive(Default)]
struct Story {
    /// The row's records.
    records: Vec<usize>,
    is_deleted: bool,
}

impl Story {
    /// The first record, if it starts from a row inserted with these values.
    fn beginning<'a>(
        &self,
        inserted: &[Value],
        images_of: impl Fn(usize) -> Option<&'a Images>,
    ) -> Option<usize> {
        let begins = |record: &usize| images_of(*record).is_some_and(|images| images.earlier() == inserted);
        self.records.iter().copied().find(begins)
    }
}

/// The change sequences of a transaction's rows.
#[derive(Default)]
struct Stories(BTreeMap<Row, Story>);

impl Stories {
    /// Processes the next record. If the record is an insert, it starts a new sequence, and the row's
    /// previous sequence is returned.
    fn take(&mut self, record: usize, change: &RecordedChange) -> Option<Story> {
        match &change.images {
            Images::Insert { .. } => self.0.remove(&row_of(change)),
            Images::Update { .. } | Images::Delete { .. } => {
                let story = self.0.entry(row_of(change)).or_default();
                story.is_deleted |= matches!(change.images, Images::Delete { .. });
                story.records.push(record);
                None
            }
        }
    }
}

/// Finds out whether the rows that may have been deleted by triggers of their inserts still exist.
pub(super) fn note_aftermaths(records: &mut [Record]) {
    let mut stories = Stories::default();
    let mut transaction_id = None;
    // Inserts whose row has had no record since.
    let mut open: BTreeMap<Row, usize> = BTreeMap::new();
    let mut aftermaths: Vec<(usize, Aftermath)> = Vec::new();
    for (index, record) in records.iter().enumerate() {
        if transaction_id.replace(record.transaction_id) != Some(record.transaction_id) {
            stories = Stories::default();
        }
        let Some(change) = record.change.as_ref().filter(|change| change.table != SCHEMA_TABLE) else {
            continue;
        };
        let insert = match &change.images {
            Images::Insert { after } => Some(after),
            Images::Update { .. } | Images::Delete { .. } => None,
        };
        if let Some(earlier) = open.remove(&row_of(change)) {
            let aftermath = if insert.is_some() { Aftermath::Deleted } else { Aftermath::There };
            aftermaths.push((earlier, aftermath));
        }
        let story = stories.take(index, change).filter(|story| story.is_deleted);
        let images_of = |record: usize| records[record].change.as_ref().map(|change| &change.images);
        if let (Some(story), Some(after)) = (story, insert)
            && story.beginning(after, images_of).is_some()
        {
            open.insert(row_of(change), index);
        }
    }
    aftermaths.extend(open.into_values().map(|index| (index, Aftermath::ShowsInDraft)));
    for (index, aftermath) in aftermaths {
        if let Some(change) = &mut records[index].change {
            change.aftermath = aftermath;
        }
    }
}

/// Sorts the records of one transaction by the order in which the rows changed.
pub(super) fn in_order_of_effect(changes: Vec<RecordedChange>) -> Vec<RecordedChange> {
    let mut stories = Stories::default();
    let mut places = Vec::with_capacity(changes.len());
    for (index, change) in changes.iter().enumerate() {
        let story = stories.take(index, change);
        let beginning = match (&change.images, story) {
            (Images::Insert { after }, Some(story))
                if !story.is_deleted || change.aftermath == Aftermath::Deleted =>
            {
                story.beginning(after, |record| Some(&changes[record].images))
            }
            _ => None,
        };
        places.push(beginning.map_or(2 * index + 1, |beginning| 2 * beginning));
    }
    let mut placed: Vec<_> = places.into_iter().zip(changes).collect();
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, change)| change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(v: i64) -> Vec<Value> {
        vec![Value::from_i64(1), Value::from_i64(v)]
    }

    fn insert(v: i64) -> Images {
        Images::Insert { after: row(v) }
    }

    fn update(from: i64, to: i64) -> Images {
        Images::Update { before: row(from), after: row(to), new_values: None }
    }

    fn delete(v: i64) -> Images {
        Images::Delete { before: row(v) }
    }

    /// Records of one row, each with its transaction's number.
    fn records(of: &[(i64, Images)]) -> Vec<Record> {
        let record = |(index, (transaction_id, images)): (usize, &(i64, Images))| Record {
            change_id: index as i64 + 1,
            transaction_id: *transaction_id,
            change: Some(RecordedChange {
                table: "t".into(),
                rowid: 1,
                images: images.clone(),
                record: index,
                aftermath: Aftermath::There,
            }),
        };
        of.iter().enumerate().map(record).collect()
    }

    fn ordered(of: &[Images], aftermath_of_inserts: Aftermath) -> Vec<Images> {
        let of: Vec<(i64, Images)> = of.iter().map(|images| (1, images.clone())).collect();
        let mut changes: Vec<RecordedChange> =
            records(&of).into_iter().filter_map(|record| record.change).collect();
        for change in &mut changes {
            change.aftermath = aftermath_of_inserts;
        }
        in_order_of_effect(changes).into_iter().map(|change| change.images).collect()
    }

    #[test]
    fn an_insert_comes_before_the_update_of_the_trigger_that_it_fired() {
        let recorded = [update(2, 3), insert(2)];
        assert_eq!(ordered(&recorded, Aftermath::There), [insert(2), update(2, 3)]);
    }

    #[test]
    fn a_replacement_stays_behind_the_row_that_it_replaced() {
        let recorded = [update(2, 3), delete(3), insert(2)];
        assert_eq!(ordered(&recorded, Aftermath::There), recorded);
        assert_eq!(ordered(&recorded, Aftermath::Deleted), [insert(2), update(2, 3), delete(3)]);
    }

    #[test]
    fn what_became_of_a_row_shows_in_its_next_record_or_in_draft() {
        let aftermaths = |of: &[(i64, Images)]| {
            let mut records = records(of);
            note_aftermaths(&mut records);
            records.iter().map(|record| record.change.as_ref().unwrap().aftermath).collect::<Vec<_>>()
        };
        use Aftermath::{Deleted, ShowsInDraft, There};
        assert_eq!(aftermaths(&[(1, delete(2)), (1, insert(2))]), [There, ShowsInDraft]);
        assert_eq!(aftermaths(&[(1, delete(2)), (1, insert(2)), (2, insert(5))]), [There, Deleted, There]);
        assert_eq!(aftermaths(&[(1, delete(2)), (1, insert(2)), (2, update(2, 3))]), [There, There, There]);
        // These records cannot come from a trigger.
        assert_eq!(aftermaths(&[(1, delete(3)), (1, insert(2))]), [There, There]);
        assert_eq!(aftermaths(&[(1, delete(2)), (2, insert(2))]), [There, There]);
    }
}
