//! The rebase: replaces Draft's content by the remote's new state and replays the unacknowledged local
//! transactions on it.
//!
//! ```text
//!   Synced's WAL   … sw ............ L | tail: change log, marks, replayed transactions ... N
//!   Draft's WAL    … dw ...(local)... |  pages as of L ... dw' | pages as of N ... commit frame
//! ```
//!
//! The letters are numbers of frames: sw and dw are the watermarks of Synced and Draft before this rebase, L
//! is the last remote frame in Synced's WAL, N is the last frame of the local tail, and dw' is Draft's new
//! watermark.
//!
//! 1. Take Draft's write lock. From here on no local transaction can be written.
//! 2. Replay the unacknowledged transactions, with capture, on a temporary *local tail* of Synced. Synced is
//!    dirty from the first of these writes until the tail is cut off.
//! 3. Write to Draft, with Synced's content as of L, every page in which the two may differ: the pages that
//!    changed on Draft since dw, the pages that changed on Synced since sw, and the pages that a compaction
//!    of Draft has recorded. In all other pages Draft as of dw was equal to Synced as of sw. So Draft as of
//!    the last of these frames, dw', equals Synced as of L. Then write the pages of the tail, the last one as
//!    the commit frame. Readers see all of these frames or none.
//! 4. Sync Draft's WAL, still under the lock. Then store (dw', L) in the metadata, and cut the tail off.
//!
//! After a crash at any point before the metadata is stored, the old pair of watermarks is still valid.
//!
//! After a re-bootstrap there is no such pair: Draft is *detached*, and step 3 writes every page of Synced.
//! If a pending transaction needs a table that existed only through transactions that the remote has lost,
//! the table is created again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use turso_core::{Connection, LimboError, SyncMode, Value};

use crate::conflict::Conflicts;
use crate::database::{self, Capture, Transaction as SqlTransaction};
use crate::draft::Draft;
use crate::error::{DatabaseContext, Error, Result};
use crate::events::event;
use crate::files::Files;
use crate::metadata::{Attachment, FrameStamp, LostTransactions, Metadata};
use crate::pages::PageSet;
use crate::pause::pause;
use crate::reset::cut_local_tail;
use crate::state::State;
use crate::synced::Synced;
use crate::tape::{
    MARK_TABLE, Planner, Replayer, SCHEMA_BASE_TABLE, SchemaChange, Step, Tape, acknowledged_no,
    remember_temporary,
};
use crate::wal::{Frame, PAGE_BYTES, RawSession, changed_pages_after};

#[derive(Debug, Clone, Default)]
pub(crate) struct Rebased {
    pub(crate) transactions_replayed: u64,
    pub(crate) conflicts: Conflicts,
    pub(crate) statements_replayed: u64,
}

/// Whether Draft must be rebased: it is detached, or Synced has frames after the watermark.
pub(crate) fn is_due(metadata: &Metadata) -> bool {
    metadata.attachment == Attachment::Detached
        || metadata.synced_wal_frames > metadata.synced_wal_match_watermark
}

/// Rebases Draft onto Synced's end. Synced must be clean.
pub(crate) async fn rebase(files: &Files, draft: &Draft, state: &mut State) -> Result<Rebased> {
    let (watermark, rebased) = rewrite_draft(files, draft, state).await?;
    pause().await;
    let draft_wal_stamp = FrameStamp::read(&files.open_named(&files.draft_wal)?, watermark)?;
    state
        .store(files, |metadata| {
            metadata.draft_wal_match_watermark = watermark;
            metadata.draft_wal_stamp = draft_wal_stamp;
            metadata.synced_wal_match_watermark = metadata.synced_wal_frames;
            metadata.draft_changed_pages = PageSet::default();
            metadata.attachment = Attachment::Attached;
            metadata.history_changed = false;
            metadata.former_anchor = None;
        })
        .await?;
    cut_local_tail(files, state).await?;
    Ok(rebased)
}

/// Performs steps 1 to 3, up to the commit frame on Draft. Returns Draft's new watermark.
async fn rewrite_draft(files: &Files, draft: &Draft, state: &mut State) -> Result<(u64, Rebased)> {
    let session =
        RawSession::begin(draft.connect(files)?).while_doing("locking for the rebase", &files.draft)?;
    let synced = state.synced(files)?.clone();
    let row = acknowledged_no(&synced.connection, &state.metadata.client_unique_id)
        .while_doing("reading the acknowledgement", &files.synced)?;
    // The rebase rewrites the log, so the bookmarks become invalid.
    let bookmarks = std::mem::take(&mut state.bookmarks);
    let mut tape = Tape::read(files, &draft.connect(files)?, &bookmarks, row.unwrap_or(0))?;
    tape.number_unrecorded();
    let acknowledged = check_acknowledgement(files, &state.metadata, tape.last_no, row)?;
    let pending = tape.after(acknowledged);
    event!(RebaseBegins, acknowledged = acknowledged, pending = pending.len());
    if pending.is_empty() {
        event!(NothingToReplay);
    }

    // The plan is complete before the tail starts, because the planner must read the remote's state.
    let plan = || {
        let mut planner = Planner::new(&synced.connection, is_due(&state.metadata), &[])?;
        if state.metadata.history_changed {
            planner.set_makes_missing_tables();
        }
        let mut transactions = Vec::with_capacity(pending.len());
        for transaction in pending {
            transactions.push((transaction.no, planner.plan(transaction)?));
        }
        let last_steps = planner.resume();
        let conflicts = planner.take_conflicts();
        let temporary: Vec<String> = draft.temporary.names().into_iter().collect();
        let hidden = temporary.iter().find(|name| planner.has_table_or_view(name)).cloned();
        let tail = Tail { acknowledged, transactions, last_steps, last_no: tape.last_no, temporary };
        Ok((tail, conflicts, hidden))
    };
    let (tail, mut conflicts, hidden) = plan().while_doing("planning the replay", &files.synced)?;
    if let Some(table) = hidden {
        return Err(Error::HiddenByTemporary { file: files.draft.clone(), table });
    }

    if acknowledged < tape.base_no() {
        // The rebase removes them from Draft. Until a report has named them, the metadata does.
        state.note_lost(files, LostTransactions { after: acknowledged, up_to: tape.base_no() }).await?;
    }
    pause().await;
    state.synced_is_dirty = true;
    tail.grow(&synced, &mut conflicts).while_doing("replaying local transactions", &files.synced)?;

    pause().await;
    let watermark =
        copy_pages(&session, &synced, &state.metadata).while_doing("the physical rebase", &files.draft)?;
    event!(DraftCommitted, watermark = watermark);
    // Sync under the write lock, without a suspension before it. Otherwise the application could sync first.
    // If its sync failed, the written frames could be lost, and this sync would not make them durable.
    state.poison.on_error(files.sync_now(&files.draft_wal))?;
    state.poison.on_error(session.end().while_doing("ending the physical rebase", &files.draft))?;
    let statements = tail.transactions.iter().map(|(_, steps)| steps.len() as u64);
    let rebased = Rebased {
        transactions_replayed: pending.len() as u64,
        statements_replayed: statements.sum(),
        conflicts,
    };
    Ok((watermark, rebased))
}

/// Checks the number in the remote's acknowledgement row, and returns the highest transaction number that is
/// not sent again. The remote can have applied only transactions that this copy has sent, and all of these
/// have numbers up to `last_no`, the last number on the tape.
pub(crate) fn check_acknowledgement(
    files: &Files,
    metadata: &Metadata,
    last_no: u64,
    row: Option<u64>,
) -> Result<u64> {
    let acknowledged = row.unwrap_or(0);
    if acknowledged > metadata.attempted_transaction_no {
        return Err(Error::ForeignAcknowledgement {
            client_id: metadata.client_unique_id.clone(),
            acknowledged,
            attempted: metadata.attempted_transaction_no,
        });
    }
    if acknowledged > last_no {
        return Err(Error::Damaged {
            file: files.draft_wal.clone(),
            problem: format!(
                "its change log ends at transaction {last_no}, the remote has applied {acknowledged}"
            ),
        });
    }
    Ok(acknowledged.max(metadata.settled_transaction_no))
}

/// The content of the local tail after Synced's end.
struct Tail {
    acknowledged: u64,
    transactions: Vec<(u64, Vec<Step>)>,
    /// Steps that run after all transactions. They create the suspended triggers again.
    last_steps: Vec<Step>,
    /// The highest number ever assigned.
    last_no: u64,
    /// The names of existing temporary tables. Their records have no CREATE TABLE in the change log.
    temporary: Vec<String>,
}

impl Tail {
    /// Writes the change log's tables, the base's schema, the marks and the replayed transactions. None of it
    /// is synced, because the tail exists only until it is copied.
    fn grow(&self, synced: &Synced, conflicts: &mut Conflicts) -> turso_core::Result<()> {
        let connection = database::connect(&synced.database, Capture::Off)?;
        connection.set_sync_mode(SyncMode::Off);
        let columns = "type, name, tbl_name, rootpage, sql";
        connection.execute(format!("CREATE TABLE {SCHEMA_BASE_TABLE} ({columns})"))?;
        connection.execute(format!("INSERT INTO {SCHEMA_BASE_TABLE} SELECT {columns} FROM sqlite_schema"))?;
        for name in &self.temporary {
            let remember = remember_temporary(name);
            database::run(&connection, &remember.sql, &remember.args)?;
        }
        connection.execute(format!("CREATE TABLE {MARK_TABLE} (transaction_no INTEGER)"))?;
        connection.execute(SchemaChange::create_table())?;
        database::begin_capture(&connection)?;
        mark(&connection, self.acknowledged)?;
        let mut replayer = Replayer::new(&connection);
        let mut last_marked = self.acknowledged;
        for (no, steps) in &self.transactions {
            let transaction = SqlTransaction::begin(&connection)?;
            for refusal in replayer.run(steps)? {
                conflicts.add(refusal.conflict(*no));
            }
            mark(&connection, *no)?;
            transaction.commit()?;
            last_marked = *no;
        }
        for refusal in replayer.run(&self.last_steps)? {
            conflicts.add(refusal.conflict(last_marked));
        }
        if last_marked < self.last_no {
            mark(&connection, self.last_no)?;
        }
        Ok(())
    }
}

fn mark(connection: &Arc<Connection>, no: u64) -> turso_core::Result<()> {
    let sql = format!("INSERT INTO {MARK_TABLE} VALUES (?)");
    database::run(connection, &sql, &[Value::from_i64(no.cast_signed())]).map(|_| ())
}

/// Copies the pages in the order of the module's documentation and returns Draft's new watermark. Makes the
/// schema version higher than any version that a connection to Draft may have seen, so that all connections
/// reload the schema.
fn copy_pages(session: &RawSession, synced: &Synced, metadata: &Metadata) -> turso_core::Result<u64> {
    let source = RawSession::begin(synced.connection.clone())?;
    let pages = PageIndex::read(&source, metadata)?;
    let mut frame_no = session.frame_count()?;
    let changed: Box<dyn Iterator<Item = u32>> = if metadata.attachment == Attachment::Detached {
        Box::new(1..=pages.database_pages)
    } else {
        let on_draft = changed_pages_after(session.connection(), metadata.draft_wal_match_watermark)?;
        let on_synced = pages.frames.keys().copied();
        let compacted = &metadata.draft_changed_pages;
        Box::new(changed_pages(on_synced, on_draft, compacted, pages.database_pages).into_iter())
    };

    let schema_version = session.connection().read_schema_version()?.checked_add(1);
    let schema_version = schema_version
        .ok_or_else(|| LimboError::Corrupt("the schema version has reached its maximum".into()))?;
    for page_no in changed {
        frame_no += 1;
        session.insert(frame_no, &Frame::new(page_no, 0, &pages.page(page_no)?))?;
    }
    let watermark = frame_no;
    let last = pages.tail.len();
    for (index, (&page_no, &source_frame)) in (1..).zip(&pages.tail) {
        let database_pages = if index == last { pages.tail_database_pages } else { 0 };
        let source_frame = Frame::read(source.connection(), source_frame)?;
        let mut frame = Frame::new(page_no, database_pages, source_frame.page());
        if page_no == 1 {
            frame.raise_schema_version(schema_version);
        }
        frame_no += 1;
        session.insert(frame_no, &frame)?;
    }
    source.end()?;
    Ok(watermark)
}

/// Returns the pages, in a database of the given size, in which Draft and Synced may differ: those that
/// changed on either since the watermarks, and those that a compaction of Draft has recorded.
fn changed_pages(
    on_synced: impl Iterator<Item = u32>,
    on_draft: Vec<u32>,
    compacted: &PageSet,
    database_pages: u32,
) -> BTreeSet<u32> {
    let mut changed: BTreeSet<u32> = on_synced.collect();
    changed.extend(on_draft);
    changed.extend(compacted.up_to(database_pages));
    changed.retain(|&page_no| page_no <= database_pages);
    changed
}

/// For each page, the number of the frame in Synced's WAL that holds the page's newest content: separately
/// for the replica and for the local tail.
struct PageIndex<'a> {
    source: &'a RawSession,
    /// The last replicated frame, L.
    end: u64,
    /// The newest frame of each page in `sw + 1 ..= L`.
    frames: BTreeMap<u32, u64>,
    /// The size of the database as of L, in pages.
    database_pages: u32,
    /// The newest frame of each page in the local tail.
    tail: BTreeMap<u32, u64>,
    /// The size of the database as of the tail's end, in pages.
    tail_database_pages: u32,
}

impl<'a> PageIndex<'a> {
    /// Reads the frames of Synced's WAL after the watermark.
    fn read(source: &'a RawSession, metadata: &Metadata) -> turso_core::Result<Self> {
        let end = metadata.synced_wal_frames;
        let mut index = Self {
            source,
            end,
            frames: BTreeMap::new(),
            database_pages: 0,
            tail: BTreeMap::new(),
            tail_database_pages: 0,
        };
        for frame_no in metadata.synced_wal_match_watermark + 1..=source.frame_count()? {
            let frame = Frame::read(source.connection(), frame_no)?;
            if frame_no <= end {
                index.frames.insert(frame.page_no(), frame_no);
                index.database_pages = frame.database_pages();
            } else {
                index.tail.insert(frame.page_no(), frame_no);
                index.tail_database_pages = frame.database_pages();
            }
        }
        if index.frames.is_empty() {
            index.database_pages = database_pages(&index.page(1)?);
        }
        index.tail.retain(|&page_no, _| page_no <= index.tail_database_pages);
        Ok(index)
    }

    /// Returns a page as of L. A page that was never written is all zeros: the core may extend a database
    /// past unused pages.
    fn page(&self, page_no: u32) -> turso_core::Result<Vec<u8>> {
        if let Some(&frame_no) = self.frames.get(&page_no) {
            return Ok(Frame::read(self.source.connection(), frame_no)?.page().to_vec());
        }
        let mut page = vec![0; PAGE_BYTES];
        self.source.connection().try_wal_watermark_read_page(page_no, &mut page, Some(self.end))?;
        Ok(page)
    }
}

/// Returns the size of a database in pages from its header (offset 28,
/// <https://www.sqlite.org/fileformat2.html#the_database_header>).
fn database_pages(page_1: &[u8]) -> u32 {
    u32::from_be_bytes([page_1[28], page_1[29], page_1[30], page_1[31]])
}

#[cfg(test)]
mod tests {
    use turso_core::MemoryIO;

    use super::*;
    use crate::storage::LocalStorage;

    fn metadata() -> Metadata {
        Metadata::bootstrapping("a-1".into())
    }

    #[test]
    fn a_rebase_is_due_when_synced_has_gone_on_or_draft_is_detached() {
        assert!(!is_due(&metadata()));
        assert!(is_due(&Metadata { synced_wal_frames: 1, ..metadata() }));
        assert!(!is_due(&Metadata { synced_wal_frames: 1, synced_wal_match_watermark: 1, ..metadata() }));
        assert!(is_due(&Metadata { attachment: Attachment::Detached, ..metadata() }));
    }

    #[test]
    fn pages_that_changed_anywhere_are_put_back_as_far_as_the_database_goes() {
        let compacted = PageSet::default().with([4..=4, 8..=20]);
        let changed = changed_pages([1, 9].into_iter(), vec![2, 10], &compacted, 9);
        assert_eq!(changed.into_iter().collect::<Vec<_>>(), [1, 2, 4, 8, 9]);
    }

    /// This copy has sent transactions up to 5. Those up to 2 belong to an earlier identity. Its change log
    /// ends at `last_no`.
    fn check(last_no: u64, row: Option<u64>) -> Result<u64> {
        let files = Files::new(Arc::new(MemoryIO::new()), Arc::new(LocalStorage), "t.db");
        let metadata = Metadata { attempted_transaction_no: 5, settled_transaction_no: 2, ..metadata() };
        check_acknowledgement(&files, &metadata, last_no, row)
    }

    #[test]
    fn a_transaction_is_not_sent_again_when_it_is_acknowledged_or_settled() {
        assert_eq!(check(7, Some(5)).unwrap(), 5);
        assert_eq!(check(7, Some(1)).unwrap(), 2);
        assert_eq!(check(7, None).unwrap(), 2);
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_is_foreign() {
        let error = check(7, Some(6)).unwrap_err();
        assert!(
            matches!(error, Error::ForeignAcknowledgement { acknowledged: 6, attempted: 5, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_change_log_without_what_is_acknowledged_is_damaged() {
        assert_eq!(check(4, Some(4)).unwrap(), 4);
        let error = check(4, Some(5)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "t.db-draft-wal is damaged: its change log ends at transaction 4, the remote has applied 5"
        );
    }
}
