//! [`SyncEngine`]: the operations, and the order of their steps.

use std::sync::Arc;
use std::time::Duration;

use async_lock::{Mutex, MutexGuard};
use turso_core::IO;

use crate::allowance::Allowance;
use crate::bootstrap::{bootstrap, new_identity, refuse_foreign_files};
use crate::checkpoint::checkpoint_if_due;
use crate::compaction;
use crate::draft::Draft;
use crate::engine_file::EngineFile;
use crate::error::{DatabaseContext, Error, Result};
use crate::events::event;
use crate::files::Files;
use crate::local::LocalConnection;
use crate::metadata::{Attachment, Metadata, Phase};
use crate::options::Options;
use crate::poison::Poison;
use crate::push::push;
use crate::rebase::{self, rebase};
use crate::rebootstrap::{follow, rebootstrap};
use crate::recovery::{settle, sever_on_damage};
use crate::remote::Remote;
use crate::report::{PullReport, PushReport, RebootstrapReason, SyncReport};
use crate::state::State;
use crate::stats::Stats;
use crate::storage::{LockGuard, Storage};
use crate::tape::{Tape, acknowledged_no};
use crate::wal::wal_frames;
use crate::wire::Wire;

/// How [`SyncEngine::adopt`] treats local transactions that may already be on the remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InDoubt {
    /// Sends them. A transaction that the remote already has is then applied twice; in tables without a key
    /// its rows appear twice.
    Resend,
    /// Drops them. A transaction that the remote does not have is then lost.
    Discard,
}

impl InDoubt {
    /// The highest transaction number that is never sent again. This copy has sent the transactions up to
    /// `attempted`, and the remote has applied those up to `acknowledged`. When the caller decided, the
    /// newest local transaction was `newest_known_no`.
    fn settled_no(self, attempted: u64, acknowledged: u64, newest_known_no: u64) -> u64 {
        match self {
            Self::Resend => attempted,
            Self::Discard => acknowledged.min(newest_known_no).max(attempted),
        }
    }
}

/// Keeps a local database in sync with a remote one.
///
/// `pull`, `push` and `sync` exclude each other: a call while another one runs fails with
/// [`Error::OperationInProgress`]. Connections stay usable during an operation; while a pull rebases, a
/// writer gets [`Error::Busy`]. Dropping the future of an operation is safe at every suspension: the next
/// operation continues from there.
pub struct SyncEngine<R> {
    files: Files,
    wire: Wire<R>,
    options: Options,
    draft: Draft,
    poison: Poison,
    state: Mutex<State>,
    /// Connections share it. The last field, because fields are dropped in order: the lock ends when the
    /// files are closed.
    lock: Arc<LockGuard>,
}

impl<R: Remote> SyncEngine<R> {
    /// Opens the database at `path`. The first call bootstraps it from the remote; later calls resume it. The
    /// files are `path` with the suffixes `-draft`, `-draft-wal`, `-synced`, `-synced-wal` and `-info`, and
    /// temporarily `-synced-next` and `-info.tmp`. The empty file with the suffix `-lock` is locked as long as
    /// the engine or one of its connections lives. Nobody may remove it meanwhile: a second engine would lock
    /// another file.
    ///
    /// Returns only after the database has been in sync with the remote at least once. If the first call is
    /// interrupted, the next call finishes the first pull before it returns. So the application never sees
    /// the exported snapshot without the transactions that the remote has applied since. Later calls need no
    /// network.
    ///
    /// # Errors
    /// [`Error::InUse`] while another engine has the database open. [`Error::ForeignFile`],
    /// [`Error::MissingFile`], [`Error::BadMetadata`] and [`Error::Damaged`] mean that the engine refuses the
    /// files in their present state. For every other error,
    /// [`Error::is_retryable`] says whether a retry can succeed.
    pub async fn open(
        io: Arc<dyn IO>,
        storage: Arc<dyn Storage>,
        remote: R,
        path: &str,
        options: Options,
    ) -> Result<Self> {
        let files = Files::new(io, storage, path);
        let lock = Arc::new(files.lock()?);
        let opened = Self::open_locked(files.clone(), remote, options, lock.clone()).await;
        if opened.as_ref().is_err_and(Error::is_corruption)
            && let Err(error) = bootstrap_again_if_unused(&files).await
        {
            tracing::warn!(%error, "the next opening uses the corrupt export again");
        }
        opened
    }

    async fn open_locked(files: Files, remote: R, options: Options, lock: Arc<LockGuard>) -> Result<Self> {
        event!(OpenBegins);
        let wire = Wire::new(remote, Allowance::new(files.io.clone(), &options));
        let mut state = load_or_begin(&files, &options).await?;
        if state.metadata.phase == Phase::Bootstrapping {
            bootstrap(&files, &wire, &mut state, &options.on_progress).await?;
        }
        if state.metadata.phase == Phase::CompactingDraft {
            compaction::recover(&files, &mut state).await?;
        }
        let draft = Draft::open(&files, &state.metadata).await?;
        let poison = state.poison.clone();
        let engine = Self { files, wire, options, draft, poison, state: Mutex::new(state), lock };
        engine.finish_opening().await?;
        Ok(engine)
    }

    async fn finish_opening(&self) -> Result<()> {
        let mut state = self.begin_operation()?;
        settle(&self.files, &mut state).await?;
        if state.metadata.phase == Phase::FirstPull {
            match self.pull_locked(&mut state).await {
                // The application has written nothing yet, so no transaction is in doubt.
                Err(Error::ForeignAcknowledgement { .. }) => {
                    self.adopt_locked(&mut state, InDoubt::Discard).await?;
                }
                outcome => drop(outcome?),
            }
            state.store(&self.files, |metadata| metadata.phase = Phase::Ready).await?;
        }
        event!(OpenEnds);
        Ok(())
    }

    /// Opens a connection to the local database. Its changes are recorded for the next push.
    ///
    /// # Errors
    /// [`Error::Busy`] if the change log has to be created while another connection writes.
    pub fn connect(&self) -> Result<LocalConnection> {
        let busy_timeout = Duration::from_millis(self.options.busy_timeout_ms);
        self.poison.check()?;
        let (poison, lock) = (self.poison.clone(), self.lock.clone());
        LocalConnection::open(&self.draft, &self.files.draft, busy_timeout, poison, lock)
    }

    /// Brings the remote's transactions into the local database and replays the unacknowledged local ones on
    /// them.
    ///
    /// # Errors
    /// See [`Error`]. After an error the local database is either unchanged or in its state after the pull,
    /// never in between.
    pub async fn pull(&self) -> Result<PullReport> {
        let mut state = self.begin_operation()?;
        let recovered = settle(&self.files, &mut state).await?;
        let report = self.pull_locked(&mut state).await?;
        Ok(PullReport { recovered, transactions_forgotten: state.report_lost(), ..report })
    }

    /// Sends the local transactions that the remote has not acknowledged. Sends nothing if there are none.
    ///
    /// # Errors
    /// See [`Error`]. After [`Error::Unreachable`] the remote may have applied the transactions; the next
    /// push or pull finds out.
    pub async fn push(&self) -> Result<PushReport> {
        let mut state = self.begin_operation()?;
        let recovered = settle(&self.files, &mut state).await?;
        let report = self.push_locked(&mut state).await?;
        Ok(PushReport { recovered, transactions_forgotten: state.report_lost(), ..report })
    }

    /// Pushes, then pulls.
    ///
    /// # Errors
    /// Those of [`push`](Self::push) and [`pull`](Self::pull).
    pub async fn sync(&self) -> Result<SyncReport> {
        let mut state = self.begin_operation()?;
        let recovered = settle(&self.files, &mut state).await?;
        let push = PushReport { recovered, ..self.push_locked(&mut state).await? };
        let pull = self.pull_locked(&mut state).await?;
        let pull = PullReport { transactions_forgotten: state.report_lost(), ..pull };
        Ok(SyncReport { push, pull })
    }

    /// Replaces the replica by a new export, keeps the unacknowledged local transactions, and pulls. The
    /// engine does this automatically when it detects that it has to. Call this if you know of a reason that
    /// the engine cannot detect, or to resolve [`Error::HistoryChanged`] and [`Error::UnrelatedServer`]: the
    /// call confirms that the server is the right one.
    ///
    /// # Errors
    /// Those of [`pull`](Self::pull).
    pub async fn rebootstrap(&self) -> Result<PullReport> {
        let mut state = self.begin_operation()?;
        let recovered = settle(&self.files, &mut state).await?;
        let reason = RebootstrapReason::Requested;
        rebootstrap(&self.files, &self.wire, &mut state, reason, &self.options.on_progress).await?;
        let mut report = self.pull_locked(&mut state).await?;
        (report.rebootstrapped, report.recovered) = (Some(reason), recovered);
        report.transactions_forgotten = state.report_lost();
        Ok(report)
    }

    /// Resolves [`Error::ForeignAcknowledgement`]: gives this copy a new identity, which makes it a separate
    /// client, and pulls.
    ///
    /// The remote has applied transactions of this identity up to a number N, and another copy of the files
    /// has sent some of them. The engine keeps the local transactions above N. The local transactions up to N
    /// that this copy never sent are in doubt. A transaction that was written before the files were copied is
    /// already on the remote, because the other copy has sent it. A transaction that was written afterwards
    /// is not on the remote. The engine cannot distinguish the two cases, so the caller decides. Transactions
    /// that are written during the call are kept. If the remote has applied only transactions that this copy
    /// has sent, the call does the same as a pull.
    ///
    /// # Errors
    /// Those of [`pull`](Self::pull).
    pub async fn adopt(&self, in_doubt: InDoubt) -> Result<PullReport> {
        let mut state = self.begin_operation()?;
        let recovered = settle(&self.files, &mut state).await?;
        let report = self.adopt_locked(&mut state, in_doubt).await?;
        Ok(PullReport { recovered, transactions_forgotten: state.report_lost(), ..report })
    }

    /// Returns the metadata: the engine's description of its files.
    ///
    /// # Errors
    /// [`Error::OperationInProgress`] while an operation may change it.
    pub fn metadata(&self) -> Result<Metadata> {
        Ok(self.begin_operation()?.metadata.clone())
    }

    /// Returns sizes, watermarks and the number of transactions to push. Reads the change log and changes
    /// nothing.
    ///
    /// # Errors
    /// [`Error::OperationInProgress`] while an operation runs, or the error of a file that cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        let state = self.begin_operation()?;
        let metadata = &state.metadata;
        let length = |file: &EngineFile| self.files.open_named(file)?.length();
        // The next operation downloads a lost replica again.
        let replica_length =
            |file: &EngineFile| self.files.open_existing(file)?.map_or(Ok(0), |file| file.length());
        let draft_wal_bytes = length(&self.files.draft_wal)?;
        let reader = self.draft.connect(&self.files)?;
        // Draft's own copy of the acknowledgement dates from the last rebase.
        let acknowledged = acknowledged_no(&reader, &metadata.client_unique_id)
            .while_doing("reading the acknowledgement", &self.files.draft)?
            .unwrap_or(0)
            .max(state.acknowledged_no)
            .max(metadata.settled_transaction_no);
        let tape = Tape::read(&self.files, &reader, &state.bookmarks, acknowledged)?;
        let change_log_records = self.draft.change_log_records(&self.files)?;
        let pending_transactions = tape.after(acknowledged).len() as u64;
        Ok(Stats {
            draft_bytes: length(&self.files.draft)?,
            draft_wal_bytes,
            draft_wal_frames: wal_frames(draft_wal_bytes),
            synced_bytes: replica_length(&self.files.synced)?,
            synced_wal_bytes: replica_length(&self.files.synced_wal)?,
            synced_wal_frames: metadata.synced_wal_frames,
            change_log_records,
            pending_transactions,
            synced_generation: metadata.synced_generation,
            synced_frame_no: metadata.synced_frame(),
            draft_wal_match_watermark: metadata.draft_wal_match_watermark,
            synced_wal_match_watermark: metadata.synced_wal_match_watermark,
            unmatched_pages: metadata.draft_changed_pages.page_count(),
            attempted_transaction_no: metadata.attempted_transaction_no,
        })
    }

    /// Returns whether Synced may hold a local tail that the next operation cuts off.
    ///
    /// # Errors
    /// [`Error::OperationInProgress`] while an operation runs.
    pub fn synced_is_dirty(&self) -> Result<bool> {
        Ok(self.begin_operation()?.synced_is_dirty)
    }

    /// Returns whether a failure requires that the engine is reopened. Every call except dropping the engine
    /// then fails with [`Error::Poisoned`].
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    fn begin_operation(&self) -> Result<MutexGuard<'_, State>> {
        self.poison.check()?;
        let state = self.state.try_lock().ok_or(Error::OperationInProgress)?;
        self.wire.renew_allowance();
        Ok(state)
    }

    async fn push_locked(&self, state: &mut State) -> Result<PushReport> {
        let mut report = PushReport::default();
        let (files, wire, draft, options) = (&self.files, &self.wire, &self.draft, &self.options);
        let outcome = push(files, wire, draft, options, state, &mut report).await;
        if sever_on_damage(files, state, outcome).await? {
            push(files, wire, draft, options, state, &mut report).await?;
        }
        // A push that has sent no request neither pulls nor compacts.
        if report.requests > 0 {
            report.pull = self.pull_if_log_is_long(state).await?;
            report.compacted = self.compact_if_due(state).await?;
        }
        Ok(report)
    }

    /// Pulls if the change log is long: a rebase removes every acknowledged transaction from it.
    async fn pull_if_log_is_long(&self, state: &mut State) -> Result<Option<PullReport>> {
        let records = self.draft.change_log_records(&self.files)?;
        if records <= self.options.change_log_records_max {
            return Ok(None);
        }
        event!(ChangeLogLong, records = records);
        let mut report = PullReport::default();
        match self.pull_into(state, &mut report).await {
            Ok(()) => Ok(Some(report)),
            // A later push tries again. If the pull has re-bootstrapped, its report is returned all the same.
            Err(Error::Busy { .. }) => Ok(report.rebootstrapped.is_some().then_some(report)),
            Err(error) => Err(error),
        }
    }

    async fn pull_locked(&self, state: &mut State) -> Result<PullReport> {
        let mut report = PullReport::default();
        self.pull_into(state, &mut report).await?;
        Ok(report)
    }

    /// Pulls, and adds the work to `report`, also if the pull fails. Some damage of the replica shows only
    /// when a page is read. The pull then re-bootstraps and retries once.
    async fn pull_into(&self, state: &mut State, report: &mut PullReport) -> Result<()> {
        let outcome = self.pull_once(state, report).await;
        if sever_on_damage(&self.files, state, outcome).await? {
            self.pull_once(state, report).await?;
        }
        Ok(())
    }

    async fn pull_once(&self, state: &mut State, report: &mut PullReport) -> Result<()> {
        let walked = follow(&self.files, &self.wire, &self.draft, state, &self.options).await?;
        report.frames += walked.frames;
        report.body_bytes += walked.body_bytes;
        report.generations_crossed += walked.generations_crossed;
        report.rebootstrapped = report.rebootstrapped.or(walked.rebootstrapped);
        // The first pull also stores the schema, against which later local schema changes are detected.
        let is_first = state.metadata.phase == Phase::FirstPull;
        if is_first || rebase::is_due(&state.metadata) {
            let rebased = rebase(&self.files, &self.draft, state).await?;
            report.rebased = true;
            report.transactions_replayed = rebased.transactions_replayed;
            report.conflicts = rebased.conflicts;
            report.statements_replayed = rebased.statements_replayed;
        } else {
            event!(NothingToPull);
        }
        report.checkpointed =
            checkpoint_if_due(&self.files, state, self.options.synced_wal_frames_max).await?;
        if report.rebased {
            report.compacted = self.compact_if_due(state).await?;
        }
        Ok(())
    }

    async fn compact_if_due(&self, state: &mut State) -> Result<bool> {
        compaction::compact_if_due(&self.files, &self.draft, state, self.options.draft_wal_frames_max).await
    }

    async fn adopt_locked(&self, state: &mut State, in_doubt: InDoubt) -> Result<PullReport> {
        let mut rebootstrapped = None;
        // The caller decides about the transactions that exist now. Transactions written from here on are not
        // in doubt.
        let reader = self.draft.connect(&self.files)?;
        let newest_known_no = Tape::read(&self.files, &reader, &state.bookmarks, u64::MAX)?.last_no;
        drop(reader);
        let outcome = self.adopt_identity(state, in_doubt, newest_known_no, &mut rebootstrapped).await;
        if sever_on_damage(&self.files, state, outcome).await? {
            self.adopt_identity(state, in_doubt, newest_known_no, &mut rebootstrapped).await?;
        }
        let report = self.pull_locked(state).await?;
        Ok(PullReport { rebootstrapped: rebootstrapped.or(report.rebootstrapped), ..report })
    }

    /// Gives this copy a new identity if the remote has applied transactions that it never sent. The newest
    /// local transaction was `newest_known_no` when the caller decided.
    async fn adopt_identity(
        &self,
        state: &mut State,
        in_doubt: InDoubt,
        newest_known_no: u64,
        rebootstrapped: &mut Option<RebootstrapReason>,
    ) -> Result<()> {
        let walked = follow(&self.files, &self.wire, &self.draft, state, &self.options).await?;
        *rebootstrapped = rebootstrapped.or(walked.rebootstrapped);
        let synced = state.synced(&self.files)?.connection.clone();
        let acknowledged = acknowledged_no(&synced, &state.metadata.client_unique_id)
            .while_doing("reading the acknowledgement", &self.files.synced)?
            .unwrap_or(0);
        drop(synced);
        let attempted = state.metadata.attempted_transaction_no;
        if acknowledged > attempted {
            let settled = in_doubt.settled_no(attempted, acknowledged, newest_known_no);
            let identity = new_identity(&self.options.client_name, self.files.io.as_ref());
            event!(
                IdentityAdopted,
                client = identity.as_str(),
                acknowledged = acknowledged,
                settled = settled
            );
            state
                .store(&self.files, |metadata| {
                    metadata.client_unique_id = identity;
                    metadata.settled_transaction_no = settled.max(metadata.settled_transaction_no);
                    // The next rebase must skip the settled transactions even if the remote has nothing new.
                    metadata.attachment = Attachment::Detached;
                })
                .await?;
            state.acknowledged_no = 0;
        }
        Ok(())
    }
}

/// After an opening that found a corrupt database: if the client has never caught up, its application has written nothing,
/// and the export may be what is corrupt. The next opening then downloads another one.
async fn bootstrap_again_if_unused(files: &Files) -> Result<()> {
    if let Some(metadata) = files.read_metadata()?.filter(|metadata| metadata.phase == Phase::FirstPull) {
        let mut state = State::new(metadata);
        state
            .store(files, |metadata| {
                *metadata = Metadata::bootstrapping(metadata.client_unique_id.clone());
            })
            .await?;
    }
    Ok(())
}

/// Reads the metadata from disk, or creates a new identity if there is none. A killed process may have
/// renamed the file without making that durable, so this syncs the directory before anything relies on it.
async fn load_or_begin(files: &Files, options: &Options) -> Result<State> {
    if let Some(metadata) = files.read_metadata()? {
        files.sync_directory().await?;
        event!(Resume, phase = metadata.phase.name());
        return Ok(State::new(metadata));
    }
    refuse_foreign_files(files)?;
    let identity = new_identity(&options.client_name, files.io.as_ref());
    event!(IdentityChosen, client = identity.as_str());
    let mut state = State::new(Metadata::bootstrapping(identity));
    state.store(files, |_| ()).await?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_in_doubt_are_sent_again_on_request() {
        assert_eq!(InDoubt::Resend.settled_no(3, 9, 7), 3);
    }

    #[test]
    fn transactions_in_doubt_are_dropped_as_far_as_the_caller_knew_them() {
        assert_eq!(InDoubt::Discard.settled_no(3, 9, 7), 7);
        assert_eq!(InDoubt::Discard.settled_no(3, 5, 7), 5);
        assert_eq!(InDoubt::Discard.settled_no(3, 9, 2), 3);
    }
}
