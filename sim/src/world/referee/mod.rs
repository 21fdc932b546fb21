//! Judges a running history: after each step, after each recovery, and at the end.
//!
//! [`judge`] defines *what* must hold. This module decides *when* it is checked, and on which clients.
//!
//! | module | judges |
//! |---|---|
//! | this one | the remote, and a client's files and content, after every step |
//! | `operation` | how an engine operation ended |
//! | `contents` | what an operation did to the tables of a client and of the remote |
//! | `image` | one sampled crash image per history |
//! | `end` | everything once the faults have ended |

mod contents;
mod end;
mod image;
mod operation;

pub(super) use contents::{Author, Before, Finished, News};
pub(super) use end::Activity;
pub(super) use image::Sample;

use super::client::Client;
use super::recorder::Recorder;
use super::server::Server;
use crate::judge::ledger::Ledger;
use crate::judge::verdict::{CAUGHT_UP, NAMED_INTACT, READS, Violation};
use crate::judge::{self, Claims, Durable, judge_durability, judge_monotone};
use crate::schedule::Workload;
use crate::text::error_chain;

/// The ledger of a history, and the number of checks.
pub(super) struct Referee {
    pub ledger: Ledger,
    /// The history's one crash image.
    pub sample: Sample,
    /// The clients for which something may be new.
    pub news: News,
    workload: Workload,
    /// Whether invariants are judged. Only the benchmark of a history's lower bound turns this off.
    is_judging: bool,
    /// The number of times that an invariant was judged.
    checks: u64,
    images_opened: u64,
}

impl Referee {
    pub fn new(workload: Workload, is_judging: bool) -> Self {
        let (ledger, sample, news) = (Ledger::default(), Sample::default(), News::default());
        Self { ledger, sample, news, workload, is_judging, checks: 0, images_opened: 0 }
    }

    /// Whether the tables that programs create are judged.
    pub fn judges_contents(&self) -> bool {
        self.is_judging && self.workload.has_programs()
    }

    pub fn is_judging(&self) -> bool {
        self.is_judging
    }

    /// The number of times that an invariant was judged, and the number of crash images that were opened.
    pub fn counts(&self) -> (u64, u64) {
        (self.checks, self.images_opened)
    }

    /// Judges `exactly-once` and `atomic-push` on the remote's log.
    ///
    /// # Errors
    /// The broken invariant.
    pub fn judge_remote(&mut self, server: &Server) -> Result<(), Violation> {
        self.checks += 1;
        let (log, quiet) = server.tokens();
        let observed = self.ledger.observe_remote(&log, &quiet);
        observed.map_err(|finding| judge::violation(finding, "the remote"))
    }

    /// Judges a client's files: `watermark`, `synced-prefix`, `durable-first`, `named-intact`,
    /// `no-local-residue` and `monotone`.
    ///
    /// # Errors
    /// The broken invariant.
    pub fn judge_files(
        &mut self,
        client: &mut Client,
        server: &Server,
        recorder: &mut Recorder,
    ) -> Result<(), Violation> {
        self.checks += 1;
        let versions = client.disk.take_metadata_versions();
        let durability = versions.iter().try_for_each(|version| judge_durability(version, &client.paths));
        recorder.observe_metadata(client.number, &versions);
        durability?;
        if let Some(touched) = client.disk.take_touched_names().into_iter().next() {
            return Err(Violation::of(NAMED_INTACT, touched));
        }
        let Some(claims) = client.claims() else { return Ok(()) };
        let epochs = client.epochs(&claims, server.log())?;
        let current = Durable { claims, epochs };
        if let Some(earlier) = &client.durable {
            judge_monotone(earlier, &current)?;
        }
        let believes_dirty = client.process.as_ref().map(|process| process.engine.synced_is_dirty());
        if epochs.is_some()
            && let Some(Ok(false)) = believes_dirty
        {
            client.files().judge_residue(&current.claims)?;
        }
        // A power loss can undo a version of the metadata whose directory has not been synced. A killed
        // process may have left such a version, and the next process syncs the directory when it opens. So a
        // version counts as durable only if a process is running and nothing of the version is unsynced.
        let is_durable = client.disk.unsynced(&client.paths.metadata).is_empty();
        if client.process.is_some() && is_durable {
            client.durable = Some(current);
        }
        Ok(())
    }

    /// Judges `local-durability` and `reads` on the rows that a client's application sees.
    ///
    /// # Errors
    /// The broken invariant.
    pub fn judge_content(&mut self, client: &mut Client, server: &Server) -> Result<(), Violation> {
        self.checks += 1;
        if !self.workload.has_tokens() {
            return Ok(());
        }
        // The client may see transactions that the remote has applied since the ledger last observed it.
        self.judge_remote(server)?;
        let number = client.number;
        let content = match client.content() {
            None => return Ok(()),
            Some(Ok(content)) => content,
            Some(Err(error)) => {
                let message = format!("client {number} cannot read its database: {}", error_chain(&error));
                return Err(Violation::of(READS, message));
            }
        };
        let observed = self.ledger.observe_client(number, &content);
        observed.map_err(|finding| judge::violation(finding, &format!("client {number}")))
    }

    /// Checks that the client's operations have reported the transactions that the remote has lost and that the
    /// client lacks since then.
    ///
    /// # Errors
    /// The number of transactions that are gone without a report.
    pub fn judge_losses(&mut self, number: u8) -> Result<(), Violation> {
        let checked = self.ledger.check_losses_are_reported(number);
        checked.map_err(|finding| judge::violation(finding, &format!("client {number}")))
    }

    /// Judges `caught-up` after a successful pull or sync: Synced must have reached the end of the remote's
    /// log, or an end that an answer stated during the operation. The rows that the application sees must be
    /// based on that end. `remote_forgot` is set if the remote was pruned or restored during the operation.
    ///
    /// # Errors
    /// A violation that names both positions.
    pub fn judge_caught_up(
        &mut self,
        client: &Client,
        server: &Server,
        remote_forgot: bool,
    ) -> Result<(), Violation> {
        if !self.is_judging {
            return Ok(());
        }
        self.checks += 1;
        let (number, ends, claims) = (client.number, &client.seen_ends, client.claims());
        let reached = claims.as_ref().map(Claims::progress);
        let violated = |message: String| Err(Violation::of(CAUGHT_UP, message));
        // A client at the actual end is right even if an answer stated another end.
        let is_at_end = reached == Some(server.position());
        if !is_at_end && !reached.is_some_and(|reached| ends.contains(&reached)) {
            return violated(format!(
                "client {number} has reached generation and frame {reached:?}, but the remote was at {ends:?}"
            ));
        }
        let newest = server.log().epoch();
        // Equal numbers after a restore do not mean equal logs.
        if newest > 0
            && !remote_forgot
            && let Some(claims) = &claims
            && let Some(epochs) = client.epochs(claims, server.log())?
            && epochs.newest != newest
        {
            return violated(format!(
                "client {number} has reached {reached:?} of a log that the remote no longer has"
            ));
        }
        if claims.is_some_and(|claims| !claims.is_rebased()) {
            return violated(format!(
                "client {number} has reached {reached:?}, but the rows that its application sees have not"
            ));
        }
        Ok(())
    }
}
