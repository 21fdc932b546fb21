//! Judges a running history: after each step, after each recovery, and at the end.
//!
//! *What* must hold stands in [`judge`]; here is *when*, and on which clients.
//!
//! | module | judges |
//! |---|---|
//! | this one | the remote, a client's files and content, after every step |
//! | `operation` | how an engine's operation ended |
//! | `image` | one crash per history that does not happen |
//! | `end` | everything once the faults are over |

mod end;
mod image;
mod operation;

pub(super) use end::Activity;
pub(super) use image::Sample;

use super::client::Client;
use super::recorder::Recorder;
use super::server::Server;
use crate::judge::ledger::Ledger;
use crate::judge::verdict::{CAUGHT_UP, NAMED_INTACT, READS, Violation};
use crate::judge::{self, Claims, Durable, judge_durability, judge_monotone};
use crate::text::error_chain;

/// What has been acknowledged in a history, and how often it was judged.
pub(super) struct Referee {
    /// What was acknowledged to whom.
    pub ledger: Ledger,
    /// The history's one crash image.
    pub sample: Sample,
    /// Whether invariants are judged; only a benchmark's floor does without.
    is_judging: bool,
    /// Judgements of an invariant.
    checks: u64,
    images_opened: u64,
}

impl Referee {
    /// The referee of a history that begins.
    pub fn new(is_judging: bool) -> Self {
        let (ledger, sample) = (Ledger::default(), Sample::default());
        Self { ledger, sample, is_judging, checks: 0, images_opened: 0 }
    }

    /// Whether invariants are judged.
    pub fn is_judging(&self) -> bool {
        self.is_judging
    }

    /// How often an invariant was judged, and how many crash images were opened.
    pub fn counts(&self) -> (u64, u64) {
        (self.checks, self.images_opened)
    }

    /// I6 and I12 on the remote's log.
    ///
    /// # Errors
    /// The broken invariant.
    pub fn judge_remote(&mut self, server: &Server) -> Result<(), Violation> {
        self.checks += 1;
        let (log, quiet) = server.tokens();
        let observed = self.ledger.observe_remote(&log, &quiet);
        observed.map_err(|finding| judge::violation(finding, "the remote"))
    }

    /// I1 to I4 and I11 on a client's files.
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
        let durable = versions.iter().try_for_each(|version| judge_durability(version, &client.paths));
        recorder.observe_metadata(client.number, &versions);
        durable?;
        if let Some(touched) = client.disk.take_touched_names().into_iter().next() {
            return Err(Violation::of(NAMED_INTACT, touched));
        }
        let Some(claims) = client.claims() else { return Ok(()) };
        let epochs = client.epochs(&claims, server.history())?;
        let durable = Durable { claims, epochs };
        if let Some(earlier) = &client.durable {
            judge_monotone(earlier, &durable)?;
        }
        let believes_clean = client.process.as_ref().map(|process| process.engine.synced_is_dirty());
        if epochs.is_some()
            && let Some(Ok(false)) = believes_clean
        {
            client.files().judge_residue(&durable.claims)?;
        }
        // A crash may still undo what a killed process left, until an engine runs on it. It may also undo a version whose directory could
        // not be synced.
        let is_durable = client.disk.unsynced_ranges(&client.paths.metadata).is_empty();
        if client.process.is_some() && is_durable {
            client.durable = Some(durable);
        }
        Ok(())
    }

    /// I7 and I10 on what a client's application sees.
    ///
    /// # Errors
    /// The broken invariant.
    pub fn judge_content(&mut self, client: &mut Client, server: &Server) -> Result<(), Violation> {
        self.checks += 1;
        // A client may see transactions that the remote has applied since the last look at the remote.
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

    /// I8, in small: a client that has pulled is where the remote was when it last answered, and so is what the application sees.
    /// `remote_forgot` says whether the remote lost part of its past during the pull.
    ///
    /// # Errors
    /// A violation naming both places.
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
        // A client at the very end was not deceived by an answer that says otherwise.
        let is_at_end = reached == Some(server.position());
        if !is_at_end && !reached.is_some_and(|reached| ends.contains(&reached)) {
            return violated(format!(
                "client {number} has reached generation and frame {reached:?}, the remote was at {ends:?}"
            ));
        }
        let newest = server.history().epoch();
        // Equal numbers in another history are no end of this one.
        if newest > 0
            && !remote_forgot
            && let Some(claims) = &claims
            && let Some(epochs) = client.epochs(claims, server.history())?
            && epochs.newest != newest
        {
            return violated(format!(
                "client {number} has reached {reached:?}, but of a history that the remote no longer has"
            ));
        }
        if claims.is_some_and(|claims| !claims.is_rebased()) {
            return violated(format!(
                "client {number} has reached {reached:?}, and what its application sees has not"
            ));
        }
        Ok(())
    }
}
