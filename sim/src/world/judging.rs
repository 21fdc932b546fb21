//! When which invariant is judged: after each step, after each recovery, and at the end.

use crate::judge::ledger::{Content, Ledger};
use crate::judge::verdict::{
    CAUGHT_UP, CONVERGENCE, LIVENESS, NAMED_INTACT, NOT_VACUOUS, NOTHING_LOST, QUIESCENCE, READS, Violation,
};
use crate::judge::{
    Claims, Durable, Epochs, Files, judge_durability, judge_integrity_answer, judge_monotone, violation,
};
use crate::schedule::workload::{LOG, LOOSE, QUIET};
use crate::text::error_chain;
use crate::world::World;

/// Rounds of the heal beyond one for each client.
const ROUNDS_EXTRA: usize = 4;

impl World {
    /// What has to hold after every step: for the remote, and for the client that acted.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn judge_step(&mut self, client: Option<u8>) -> Result<(), Violation> {
        self.judge_remote()?;
        match client {
            Some(number) => {
                self.judge_files(number)?;
                if self.client(number).process.is_some() { self.judge_content(number) } else { Ok(()) }
            }
            None => Ok(()),
        }
    }

    /// I6 and I12 on the remote's log.
    ///
    /// # Errors
    /// The broken invariant.
    pub fn judge_remote(&mut self) -> Result<(), Violation> {
        self.counts.checks += 1;
        let tokens = |sql: &str| -> Vec<String> {
            self.remote.query(sql).iter().map(|row| row[0].to_string()).collect()
        };
        let (log, quiet) = (tokens(LOG), tokens(QUIET));
        self.ledger.observe_remote(&log, &quiet).map_err(|finding| violation(finding, "the remote"))
    }

    /// I1 to I4 and I11 on a client's files.
    fn judge_files(&mut self, number: u8) -> Result<(), Violation> {
        self.counts.checks += 1;
        let client = self.client(number);
        let versions = client.disk.take_metadata_versions();
        let durable = versions.iter().try_for_each(|version| judge_durability(version, &client.paths));
        self.observe_metadata(number, &versions);
        durable?;
        let client = self.client(number);
        if let Some(touched) = client.disk.take_touched_names().into_iter().next() {
            return Err(Violation::of(NAMED_INTACT, touched));
        }
        let Some(claims) = client.claims() else { return Ok(()) };
        let is_running = client.process.is_some();
        let epochs = self.epochs_of(number, &claims)?;
        let client = self.client(number);
        let durable = Durable { claims, epochs };
        if let Some(earlier) = &client.durable {
            judge_monotone(earlier, &durable)?;
        }
        let believes_clean = client.process.as_ref().map(|process| process.engine.synced_is_dirty());
        if epochs.is_some()
            && let Some(Ok(false)) = believes_clean
        {
            Files::read(&client.paths, |path| client.disk.read(path)).judge_residue(&durable.claims)?;
        }
        // What a killed process left may still be undone; once an engine runs on it, it may not. Nor is a version the last word whose
        // directory could not be synced: a power loss may take it back.
        let is_durable = client.disk.unsynced_ranges(&client.paths.metadata).is_empty();
        if is_running && is_durable {
            self.client_mut(number).durable = Some(durable);
        }
        Ok(())
    }

    /// I1 and I2, and the remote's epochs that Synced can be of; `None` while nothing is claimed of it, or a file is lost or rotten.
    ///
    /// # Errors
    /// The broken invariant.
    pub fn epochs_of(&self, number: u8, claims: &Claims) -> Result<Option<Epochs>, Violation> {
        let client = self.client(number);
        if client.is_damaged() || !claims.has_replica() {
            return Ok(None);
        }
        let files = Files::read(&client.paths, |path| client.disk.read(path));
        files.judge(claims, self.remote.history(), client.process.is_none()).map(Some)
    }

    /// I7 and I10 on what a client's application sees.
    ///
    /// # Errors
    /// The broken invariant.
    pub fn judge_content(&mut self, number: u8) -> Result<(), Violation> {
        self.counts.checks += 1;
        // A client may see transactions that the remote has applied since the remote was last looked at.
        self.judge_remote()?;
        let content = match self.client_content(number) {
            None => return Ok(()),
            Some(Ok(content)) => content,
            Some(Err(error)) => {
                return Err(Violation::of(
                    READS,
                    format!("client {number} cannot read its database: {}", error_chain(&error)),
                ));
            }
        };
        let whose = format!("client {number}");
        self.ledger.observe_client(number, &content).map_err(|finding| violation(finding, &whose))
    }

    /// I8, in small: who has pulled is where the remote was when it last answered, and so is what the application sees.
    ///
    /// # Errors
    /// A violation naming both places.
    pub fn judge_caught_up(&mut self, number: u8) -> Result<(), Violation> {
        if !self.checks {
            return Ok(());
        }
        self.counts.checks += 1;
        let ends = &self.client(number).seen_ends;
        let claims = self.client(number).claims();
        let reached = claims.as_ref().map(Claims::progress);
        // Whoever is at the end has not been deceived by an answer that says otherwise.
        let is_at_end = reached == Some((self.remote.generation(), self.remote.frame_count()));
        if is_at_end || reached.is_some_and(|reached| ends.contains(&reached)) {
            let newest = self.remote.history().epoch();
            // Equal numbers in another history are no end of this one.
            if newest > 0
                && !self.remote_forgot_inside()
                && let Some(claims) = &claims
                && let Some(epochs) = self.epochs_of(number, claims)?
                && epochs.newest != newest
            {
                let message = format!(
                    "client {number} has reached {reached:?}, but of a history that the remote no longer has"
                );
                return Err(Violation::of(CAUGHT_UP, message));
            }
            if claims.is_some_and(|claims| !claims.is_rebased()) {
                let message =
                    format!("client {number} has reached {reached:?}, and what its application sees has not");
                return Err(Violation::of(CAUGHT_UP, message));
            }
            return Ok(());
        }
        let message = format!(
            "client {number} has reached generation and frame {reached:?}, the remote was at {ends:?}"
        );
        Err(Violation::of(CAUGHT_UP, message))
    }

    /// No more faults: everybody syncs until nothing moves, and then everything has to be where it belongs.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn heal_and_judge(&mut self) -> Result<(), Violation> {
        self.heal()?;
        if self.checks {
            self.judge_end()?;
        }
        Ok(())
    }

    fn heal(&mut self) -> Result<(), Violation> {
        self.begin_healing();
        self.let_go()?;
        let rounds_max = self.clients.len() + ROUNDS_EXTRA;
        for _ in 0..rounds_max {
            let before = self.moments();
            if !self.sync_round()? {
                return if self.checks { self.judge_quiescence(&before) } else { Ok(()) };
            }
        }
        let message = format!("after {rounds_max} rounds of syncs without faults something still moves");
        Err(Violation::of(LIVENESS, message))
    }

    /// Everybody syncs once; whether that moved anything.
    fn sync_round(&mut self) -> Result<bool, Violation> {
        let mut moved = false;
        for number in 0..self.header.clients {
            let this_moved = self.sync_once(number)?;
            if self.checks && this_moved {
                self.judge_step(Some(number))?;
            }
            moved |= this_moved;
        }
        Ok(moved)
    }

    /// Where the remote stands and what each client's disk has taken.
    pub(crate) fn moments(&self) -> (u64, u64, Vec<u64>) {
        let written = self.clients.iter().map(|client| client.disk.totals().bytes_written).collect();
        (self.remote.generation(), self.remote.frame_count(), written)
    }

    pub(crate) fn judge_end(&mut self) -> Result<(), Violation> {
        if let Some(token) = self.ledger.missing_on_remote() {
            return Err(Violation::of(
                NOTHING_LOST,
                format!("{token} was committed and never reached the remote"),
            ));
        }
        self.judge_convergence()?;
        self.judge_integrity()
    }

    /// What no acknowledged transaction determines is the same everywhere in the end.
    fn judge_loose(&self, number: u8) -> Result<(), Violation> {
        let Some(process) = &self.client(number).process else { return Ok(()) };
        let remote = self.remote.query(LOOSE);
        match process.connection.query(LOOSE, &[]) {
            Ok(client) if client == remote => Ok(()),
            other => Err(Violation::of(
                CONVERGENCE,
                format!("client {number}: `loose` is {other:?}, on the remote {remote:?}"),
            )),
        }
    }

    pub(crate) fn judge_convergence(&mut self) -> Result<(), Violation> {
        self.counts.checks += 1;
        let expected = self.ledger.remote_content();
        if self.ledger.client_commits_to_stand() > 0 && expected == Content::initial() {
            return Err(Violation::of(
                NOT_VACUOUS,
                "transactions were committed and the databases are empty",
            ));
        }
        let differs = |ledger: &Ledger, whose: &str, content: &Content| {
            let judged = ledger.judge_final(content);
            judged.map_err(|difference| Violation::of(CONVERGENCE, format!("{whose}: {difference}")))
        };
        differs(&self.ledger, "the remote", &self.remote_content())?;
        for number in 0..self.header.clients {
            match self.client_content(number) {
                Some(Ok(content)) => {
                    differs(&self.ledger, &format!("client {number}"), &content)?;
                    self.judge_loose(number)?;
                }
                Some(Err(error)) => {
                    return Err(Violation::of(
                        CONVERGENCE,
                        format!("client {number} cannot be read: {}", error_chain(&error)),
                    ));
                }
                None => {
                    return Err(Violation::of(
                        LIVENESS,
                        format!("client {number} is not running after the heal"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// A round in which nobody says that anything moved has left no trace either.
    pub(crate) fn judge_quiescence(&mut self, before: &(u64, u64, Vec<u64>)) -> Result<(), Violation> {
        self.counts.checks += 1;
        let after = self.moments();
        if *before == after {
            return Ok(());
        }
        let message = format!(
            "generation, frames and bytes written went from {before:?} to {after:?} with nothing to do"
        );
        Err(Violation::of(QUIESCENCE, message))
    }

    fn judge_integrity(&mut self) -> Result<(), Violation> {
        const SQL: &str = "PRAGMA integrity_check";
        self.counts.checks += 1;
        let mut answers = vec![("the remote".to_owned(), Ok(self.remote.query(SQL)))];
        for client in &self.clients {
            if let Some(process) = &client.process {
                answers.push((format!("client {}", client.number), process.connection.query(SQL, &[])));
            }
        }
        answers.into_iter().try_for_each(|(whose, answer)| judge_integrity_answer(&whose, answer))
    }
}
