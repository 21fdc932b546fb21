//! The model of a served remote's archive: which transactions were acknowledged, and what was served.
//!
//! It takes answers and files as bytes, and shares no code with the archive. A snapshot that was served must be the end
//! of the generation before it, page by page.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use super::format::{DatabaseImage, FRAME_BYTES, FRAME_HEADER_BYTES, FrameHeader};
use super::verdict::{ARCHIVE_DURABLE, ARCHIVE_FILES, ARCHIVE_LOG, ARCHIVE_RESUMES, Violation};

/// A generation as it was served.
#[derive(Debug, Clone)]
pub struct ServedGeneration {
    pub generation: u64,
    pub snapshot: Vec<u8>,
    pub frames: Vec<u8>,
}

/// The rows of the database: the number of rows of each transaction, by the transaction's number.
pub type Rows = BTreeMap<u32, u32>;

/// All files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What a remote has promised.
#[derive(Debug, Clone, Default)]
pub struct ArchiveModel {
    /// The transactions that were acknowledged or seen, with the number of rows of each.
    acknowledged: Rows,
    /// Transactions that ended with an error or without an answer.
    attempted: Rows,
    history_id: String,
    /// The end of the log that was seen last: generation and frame.
    end: (u64, u64),
    /// The hash of each snapshot that was served.
    snapshots: BTreeMap<u64, u64>,
    /// The hashes of the frames that were served.
    frames: BTreeMap<u64, Vec<u64>>,
}

impl ArchiveModel {
    /// The generation that was seen last.
    pub fn generation(&self) -> u64 {
        self.end.0
    }

    /// The history id that was seen last.
    pub fn history_id(&self) -> &str {
        &self.history_id
    }

    /// The server starts to run a transaction with this number of rows.
    pub fn attempt(&mut self, transaction: u32, rows: u32) {
        self.attempted.insert(transaction, rows);
    }

    /// The server has acknowledged a transaction.
    pub fn acknowledge(&mut self, transaction: u32) {
        if let Some(rows) = self.attempted.remove(&transaction) {
            self.acknowledged.insert(transaction, rows);
        }
    }

    /// A copy of the files was put in place: what came after it is gone, and the history has another name.
    pub fn restored_to(&mut self, copied: &Self) {
        let (attempted, history_id) = (self.attempted.clone(), self.history_id.clone());
        *self = copied.clone();
        self.attempted.extend(attempted);
        self.history_id = history_id;
    }

    /// Judges the rows of the database.
    ///
    /// # Errors
    /// An acknowledged transaction is missing, or one is there that was not attempted or is incomplete.
    pub fn judge_rows(&mut self, rows: &Rows) -> Result<(), Violation> {
        let wrong = |message: String| Err(Violation::of(ARCHIVE_DURABLE, message));
        for (transaction, count) in &self.acknowledged {
            match rows.get(transaction) {
                Some(found) if found == count => {}
                Some(found) => {
                    return wrong(format!("transaction {transaction} has {found} rows instead of {count}"));
                }
                None => return wrong(format!("the acknowledged transaction {transaction} is gone")),
            }
        }
        for (transaction, count) in rows.iter().filter(|(known, _)| !self.acknowledged.contains_key(known)) {
            if self.attempted.get(transaction) != Some(count) {
                return wrong(format!(
                    "there are {count} rows of transaction {transaction}, which has not written them"
                ));
            }
        }
        // A transaction that was seen must stay.
        for (transaction, count) in rows {
            self.attempted.remove(transaction);
            self.acknowledged.insert(*transaction, *count);
        }
        Ok(())
    }

    /// Judges the history id after a start. It changes only when a copy was put in place.
    ///
    /// # Errors
    /// It has changed without a copy, or not changed with one.
    pub fn judge_history(&mut self, id: &str, is_copy: bool) -> Result<(), Violation> {
        let is_first = self.history_id.is_empty();
        let has_changed = self.history_id != id;
        if !is_first && has_changed != is_copy {
            let message = if is_copy {
                "a restored copy continues the history of the original"
            } else {
                "the history id has changed although no copy was put in place"
            };
            return Err(Violation::of(ARCHIVE_LOG, message));
        }
        self.history_id = id.to_owned();
        Ok(())
    }

    /// Judges the end of the log, as generation and frame.
    ///
    /// # Errors
    /// It has gone back.
    pub fn judge_end(&mut self, end: (u64, u64)) -> Result<(), Violation> {
        let (seen, now) = (self.end, end);
        let frames_seen = self.frames.get(&now.0).map_or(0, |frames| frames.len() as u64);
        if now.0 < seen.0 || now.1 < frames_seen {
            let message = format!(
                "the log has gone back from frame {} of generation {} to frame {} of generation {}",
                seen.1.max(frames_seen),
                seen.0,
                now.1,
                now.0
            );
            return Err(Violation::of(ARCHIVE_LOG, message));
        }
        self.end = now;
        Ok(())
    }

    /// Judges all generations that are served, oldest first.
    ///
    /// # Errors
    /// One of them has changed, a snapshot is not the end of the generation before it, or they do not reach to the end.
    pub fn judge_served(&mut self, served: &[ServedGeneration], end: (u64, u64)) -> Result<(), Violation> {
        let wrong = |message: String| Err(Violation::of(ARCHIVE_LOG, message));
        let frames = |served: &ServedGeneration| (served.frames.len() / FRAME_BYTES) as u64;
        if served.last().map(|last| (last.generation, frames(last))) != Some(end) {
            return wrong(format!("frame {} of generation {} is not served", end.1, end.0));
        }
        for ServedGeneration { generation, snapshot, frames } in served {
            let hash = xxh3_64(snapshot);
            if *self.snapshots.entry(*generation).or_insert(hash) != hash {
                return wrong(format!("the snapshot of generation {generation} has changed"));
            }
            let (whole, rest) = frames.as_chunks::<FRAME_BYTES>();
            if !rest.is_empty() {
                return wrong(format!("the frames of generation {generation} end inside a frame"));
            }
            let hashes: Vec<u64> = whole.iter().map(|frame| xxh3_64(frame)).collect();
            let known = self.frames.entry(*generation).or_default();
            if let Some(at) = known.iter().zip(&hashes).position(|(known, hash)| known != hash) {
                return wrong(format!("frame {} of generation {generation} has changed", at + 1));
            }
            if hashes.len() < known.len() {
                return wrong(format!(
                    "generation {generation} has {} frames, but {} were served",
                    hashes.len(),
                    known.len()
                ));
            }
            *known = hashes;
        }
        for pair in served.windows(2) {
            let end = end_of(&pair[0]);
            if let Some(difference) = end.first_difference(&DatabaseImage::of_main(&pair[1].snapshot)) {
                let generation = pair[1].generation;
                return wrong(format!(
                    "the snapshot of generation {generation} is not the end of the one before: {difference}"
                ));
            }
        }
        Ok(())
    }

    /// Judges a start that was refused: nothing may have changed, and the reason names a file, which may be one of the
    /// intact directory.
    ///
    /// # Errors
    /// A file has changed, or the reason names none.
    pub fn judge_refusal(
        intact: &Files,
        before: &Files,
        after: &Files,
        reason: &str,
    ) -> Result<(), Violation> {
        let wrong = |message: String| Err(Violation::of(ARCHIVE_FILES, message));
        for (name, bytes) in before {
            if after.get(name) != Some(bytes) {
                return wrong(format!("a refused start has changed {name}: {reason}"));
            }
        }
        if let Some(new) = after.keys().find(|name| !before.contains_key(*name)) {
            return wrong(format!("a refused start has created {new}: {reason}"));
        }
        let mut known = intact.keys().chain(before.keys());
        if known.any(|name| reason.contains(name.as_str())) {
            return Ok(());
        }
        wrong(format!("a start was refused without the name of a file: {reason}"))
    }

    /// Judges a start that was refused although the directory is as the server and its crashes have left it.
    pub fn refused(reason: &str) -> Violation {
        Violation::of(ARCHIVE_RESUMES, format!("the server cannot start: {reason}"))
    }
}

/// The database at the end of a generation.
fn end_of(served: &ServedGeneration) -> DatabaseImage<'_> {
    let frames = served.frames.as_chunks::<FRAME_BYTES>().0;
    let headers: Vec<FrameHeader> = frames.iter().filter_map(|frame| FrameHeader::parse(frame)).collect();
    let commit = headers.iter().rposition(FrameHeader::is_commit);
    let Some(commit) = commit else { return DatabaseImage::of_main(&served.snapshot) };
    let pages = headers.iter().zip(frames).take(commit + 1).map(|(header, frame)| {
        let page = frame[FRAME_HEADER_BYTES..].as_array().expect("a frame ends in a page");
        (header.page_no, page)
    });
    DatabaseImage::overlay(&served.snapshot, pages, headers[commit].db_size)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::judge::verdict::Invariant;

    type Breaker = fn() -> Result<(), Violation>;

    /// For each invariant of an archive, evidence that breaks it.
    pub(crate) const BREAKERS: &[(Invariant, Breaker)] = &[
        (ARCHIVE_DURABLE, || model().judge_rows(&Rows::new())),
        (ARCHIVE_LOG, || {
            let mut model = model();
            model.judge_end((2, 0))?;
            model.judge_end((1, 0))
        }),
        (ARCHIVE_FILES, || {
            let files = Files::from([("manifest".to_owned(), vec![1])]);
            ArchiveModel::judge_refusal(&files, &files, &Files::new(), "manifest")
        }),
        (ARCHIVE_RESUMES, || Err(ArchiveModel::refused("manifest"))),
    ];

    #[test]
    fn each_broken_promise_is_reported_as_its_own_invariant() {
        for (invariant, breaker) in BREAKERS {
            assert_eq!(broken(breaker()), invariant.name);
        }
    }

    fn model() -> ArchiveModel {
        let mut model = ArchiveModel::default();
        for transaction in [1, 2, 3] {
            model.attempt(transaction, 2);
        }
        model.acknowledge(1);
        model
    }

    fn broken(judged: Result<(), Violation>) -> &'static str {
        judged.expect_err("the invariant is broken").invariant
    }

    #[test]
    fn rows_are_those_of_acknowledged_and_perhaps_of_attempted_transactions() {
        assert_eq!(model().judge_rows(&Rows::from([(1, 2)])), Ok(()));
        assert_eq!(model().judge_rows(&Rows::from([(1, 2), (3, 2)])), Ok(()));
        for rows in [vec![], vec![(1, 1)], vec![(1, 2), (2, 1)], vec![(1, 2), (4, 2)]] {
            assert_eq!(broken(model().judge_rows(&rows.into_iter().collect())), "archive-durable");
        }
        let mut seen = model();
        seen.judge_rows(&Rows::from([(1, 2), (2, 2)])).unwrap();
        assert_eq!(broken(seen.judge_rows(&Rows::from([(1, 2)]))), "archive-durable", "it was seen");
    }

    #[test]
    fn the_log_does_not_go_back_or_change() {
        let served = |byte: u8, frames: usize| {
            vec![ServedGeneration {
                generation: 1,
                snapshot: vec![byte; 4096],
                frames: vec![1; frames * FRAME_BYTES],
            }]
        };
        let mut model = model();
        model.judge_served(&served(1, 2), (1, 2)).unwrap();
        model.judge_end((2, 1)).unwrap();
        assert_eq!(broken(model.judge_end((1, 9))), "archive-log");
        assert_eq!(broken(model.judge_served(&served(2, 2), (1, 2))), "archive-log");
        assert_eq!(broken(model.judge_served(&served(1, 1), (1, 1))), "archive-log");
        assert_eq!(model.judge_served(&served(1, 3), (1, 3)), Ok(()));
        assert_eq!(broken(model.judge_served(&served(1, 3), (1, 4))), "archive-log");
        let next = ServedGeneration { generation: 2, snapshot: vec![3; 4096], frames: Vec::new() };
        let both = [served(1, 3), vec![next]].concat();
        assert_eq!(broken(model.judge_served(&both, (2, 0))), "archive-log");
    }

    #[test]
    fn a_history_is_renamed_by_a_copy_and_by_nothing_else() {
        let mut model = model();
        model.judge_history("a", false).unwrap();
        model.judge_history("a", false).unwrap();
        assert_eq!(broken(model.judge_history("b", false)), "archive-log");
        assert_eq!(broken(model.judge_history("a", true)), "archive-log");
        model.judge_history("b", true).unwrap();
    }

    #[test]
    fn a_refused_start_changes_nothing_and_names_a_file() {
        let files = Files::from([("manifest".to_owned(), vec![1])]);
        let judge = |after: &Files, reason| ArchiveModel::judge_refusal(&files, &files, after, reason);
        assert_eq!(judge(&files, "manifest is damaged"), Ok(()));
        assert_eq!(broken(judge(&files, "no")), "archive-files");
        assert_eq!(broken(judge(&Files::new(), "manifest")), "archive-files");
        let changed = Files::from([("manifest".to_owned(), vec![2])]);
        assert_eq!(broken(judge(&changed, "manifest")), "archive-files");
    }
}
