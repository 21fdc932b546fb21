//! Judges the invariants that must hold once the faults have ended and nothing moves.

use super::Referee;
use crate::judge::judge_integrity_answer;
use crate::judge::ledger::Content;
use crate::judge::verdict::{CONVERGENCE, LIVENESS, NOT_VACUOUS, NOTHING_LOST, QUIESCENCE, Violation};
use crate::schedule::workload::LOOSE;
use crate::text::error_chain;
use crate::world::client::Client;
use crate::world::clients::Clients;
use crate::world::server::Server;

/// The remote's position, and the bytes written to each client's disk.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::world) struct Activity(u64, u64, Vec<u64>);

impl Activity {
    pub fn of(clients: &Clients, server: &Server) -> Self {
        let (generation, frame_count) = server.position();
        Self(generation, frame_count, clients.bytes_written())
    }
}

impl Referee {
    /// Checks that every committed transaction has arrived, that all databases are equal, and that all
    /// databases are intact.
    ///
    /// # Errors
    /// The first broken invariant.
    pub(in crate::world) fn judge_end(
        &mut self,
        clients: &mut Clients,
        server: &Server,
    ) -> Result<(), Violation> {
        if let Some(token) = self.ledger.missing_on_remote() {
            let message = format!("{token} was committed but never reached the remote");
            return Err(Violation::of(NOTHING_LOST, message));
        }
        if self.workload.has_tokens() {
            self.judge_convergence(clients, server)?;
        }
        if self.workload.has_programs() {
            self.judge_equal(clients, server)?;
        }
        self.judge_integrity(clients, server)
    }

    /// Checks that all databases hold the rows that follow from the acknowledged transactions.
    ///
    /// # Errors
    /// The broken invariant.
    pub(in crate::world) fn judge_convergence(
        &mut self,
        clients: &mut Clients,
        server: &Server,
    ) -> Result<(), Violation> {
        self.checks += 1;
        let expected = self.ledger.remote_content();
        if self.ledger.kept_client_commits() > 0 && expected == Content::initial() {
            return Err(Violation::of(
                NOT_VACUOUS,
                "transactions were committed, but the databases are empty",
            ));
        }
        self.judge_final("the remote", &server.content())?;
        for number in clients.numbers() {
            match clients[number].content() {
                Some(Ok(content)) => {
                    self.judge_final(&format!("client {number}"), &content)?;
                    judge_loose(&clients[number], server)?;
                }
                Some(Err(error)) => {
                    let message = format!("client {number} cannot be read: {}", error_chain(&error));
                    return Err(Violation::of(CONVERGENCE, message));
                }
                None => {
                    let message = format!("client {number} is not running after the heal");
                    return Err(Violation::of(LIVENESS, message));
                }
            }
        }
        Ok(())
    }

    /// Checks that all databases have the same schema and the same rows.
    ///
    /// # Errors
    /// The first difference.
    pub(in crate::world) fn judge_equal(
        &mut self,
        clients: &Clients,
        server: &Server,
    ) -> Result<(), Violation> {
        self.checks += 1;
        let remote = server.tables();
        for client in clients.all() {
            let owner = format!("client {}", client.number);
            let Some(tables) = client.tables() else { continue };
            let tables = tables.map_err(|error| {
                Violation::of(CONVERGENCE, format!("{owner} cannot be read: {}", error_chain(&error)))
            })?;
            if let Some(difference) = tables.difference(&owner, &remote, "the remote") {
                return Err(Violation::of(CONVERGENCE, difference));
            }
        }
        Ok(())
    }

    fn judge_final(&self, owner: &str, content: &Content) -> Result<(), Violation> {
        let judged = self.ledger.judge_final(content);
        judged.map_err(|difference| Violation::of(CONVERGENCE, format!("{owner}: {difference}")))
    }

    /// Judges a round of syncs that reported no change: it must not have changed anything.
    ///
    /// # Errors
    /// A violation that names both states.
    pub(in crate::world) fn judge_quiescence(
        &mut self,
        before: &Activity,
        after: &Activity,
    ) -> Result<(), Violation> {
        self.checks += 1;
        if before == after {
            return Ok(());
        }
        let numbers =
            |Activity(generation, frames, bytes): &Activity| format!("({generation}, {frames}, {bytes:?})");
        let message = format!(
            "generation, frames and bytes written went from {} to {} in a round that reported no change",
            numbers(before),
            numbers(after)
        );
        Err(Violation::of(QUIESCENCE, message))
    }

    /// Runs `PRAGMA integrity_check` on all copies that are open.
    ///
    /// # Errors
    /// The first complaint.
    pub(in crate::world) fn judge_integrity(
        &mut self,
        clients: &Clients,
        server: &Server,
    ) -> Result<(), Violation> {
        const SQL: &str = "PRAGMA integrity_check";
        self.checks += 1;
        judge_integrity_answer("the remote", Ok(server.remote.query(SQL)))?;
        for client in clients.all() {
            if let Some(process) = &client.process {
                let answer = process.connection.query(SQL, &[]);
                judge_integrity_answer(&format!("client {}", client.number), answer)?;
            }
        }
        Ok(())
    }
}

/// Checks that the table `loose` is the same on a client and on the remote. The ledger cannot predict the
/// rows of this table.
fn judge_loose(client: &Client, server: &Server) -> Result<(), Violation> {
    let Some(process) = &client.process else { return Ok(()) };
    let remote = server.remote.query(LOOSE);
    match process.connection.query(LOOSE, &[]) {
        Ok(rows) if rows == remote => Ok(()),
        other => {
            let message =
                format!("client {}: `loose` is {other:?}, but on the remote it is {remote:?}", client.number);
            Err(Violation::of(CONVERGENCE, message))
        }
    }
}
