//! Judges what an operation does to contents: to the tables that a client shows, and to those of the remote.
//!
//! The conflict policy says what becomes of a client's changes when others have written too. Its *base* is
//! what the client has seen of the remote, with what it has pushed. It is known after a successful operation,
//! until one fails.
//!
//! As long as nobody else has written since a client caught up, nothing can be new for it. Then an operation
//! must leave its tables as they are, must not report a conflict, and after a successful push the remote must
//! show the same.

use std::collections::{BTreeMap, BTreeSet};

use super::Referee;
use crate::judge::tables::Tables;
use crate::judge::verdict::{EXPLAINED, MERGED, PULL_NEUTRAL, PUSH_FAITHFUL, Violation};
use crate::world::client::Client;
use crate::world::operations::Operation;
use crate::world::server::Server;

/// Who has changed the remote's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::world) enum Author {
    /// An operation of this client.
    Client(u8),
    /// The server itself, which has changed no content.
    Upkeep,
    /// Another writer, an operator, or a request that arrived late.
    Others,
}

/// The clients for which something may be new.
#[derive(Default)]
pub(in crate::world) struct News {
    /// Clients that have caught up, and nobody else has changed the remote since.
    up_to_date: BTreeSet<u8>,
    /// Generation, frame and epoch of the remote, and the number of late requests that have arrived.
    seen: (u64, u64, usize, u64),
    /// The content that each client's local transactions are based on, as far as it is known, and the
    /// content after each of them.
    bases: BTreeMap<u8, Vec<Tables>>,
}

impl News {
    /// Notes the change of the remote since the last call.
    pub fn note(&mut self, author: Author, server: &Server, late_arrivals: u64) {
        let (generation, frame_no) = server.position();
        let now = (generation, frame_no, server.log().epoch(), late_arrivals);
        let is_late = late_arrivals != self.seen.3;
        if now == self.seen {
            return;
        }
        self.seen = now;
        match author {
            Author::Upkeep if !is_late => {}
            Author::Client(number) if !is_late => self.up_to_date.retain(|other| *other == number),
            _ => self.up_to_date.clear(),
        }
    }

    /// Something else has happened to a client, or it does not show what it has shown.
    pub fn forget(&mut self, number: u8) {
        self.up_to_date.remove(&number);
        self.bases.remove(&number);
    }

    /// The client has no transactions that the remote does not have: they begin with this content from now
    /// on.
    pub fn begin(&mut self, number: u8, base: Tables) {
        self.bases.insert(number, vec![base]);
    }

    /// Whether it is known what the client's changes are based on.
    pub fn has_base(&self, number: u8) -> bool {
        self.bases.contains_key(&number)
    }

    /// The client's application has committed.
    pub fn add_local(&mut self, number: u8, content: Tables) {
        if let Some(states) = self.bases.get_mut(&number)
            && states.last() != Some(&content)
        {
            states.push(content);
        }
    }

    /// It is unknown which of the client's transactions the remote has.
    pub fn forget_base(&mut self, number: u8) {
        self.bases.remove(&number);
    }

    /// The remote has become another one.
    pub fn forget_bases(&mut self) {
        self.bases.clear();
    }

    pub fn catch_up(&mut self, number: u8) {
        self.up_to_date.insert(number);
    }

    pub fn is_up_to_date(&self, number: u8) -> bool {
        self.up_to_date.contains(&number)
    }
}

/// The contents before an operation.
pub(in crate::world) struct Before {
    pub client: Tables,
    pub remote: Tables,
    /// Whether nothing can be new for the client.
    pub is_up_to_date: bool,
}

/// A finished operation of a client.
pub(in crate::world) struct Finished<'a> {
    pub operation: Operation,
    pub has_succeeded: bool,
    /// The number of conflicts that it has reported.
    pub conflicts: u64,
    pub before: &'a Before,
    /// The client's tables now.
    pub after: &'a Tables,
}

impl Referee {
    /// Judges `pull-neutral`, `push-faithful` and `explained` after an operation for which nothing can be
    /// new.
    ///
    /// # Errors
    /// The first broken invariant.
    pub(in crate::world) fn judge_unchanged(
        &mut self,
        client: &Client,
        remote: &Tables,
        finished: &Finished<'_>,
    ) -> Result<(), Violation> {
        self.checks += 1;
        let number = client.number;
        let Finished { operation, has_succeeded, conflicts, before, after } = finished;
        let name = operation.name();
        if let Some(difference) =
            after.difference("the client afterwards", &before.client, "the client before")
        {
            let message = format!("client {number}'s {name} brought nothing new, but {difference}");
            return Err(Violation::of(PULL_NEUTRAL, message));
        }
        if *conflicts > 0 {
            let message = format!(
                "client {number}'s {name} reports {conflicts} conflicts, but nobody else has written"
            );
            return Err(Violation::of(EXPLAINED, message));
        }
        if !(*has_succeeded && matches!(operation, Operation::Push | Operation::Sync)) {
            return Ok(());
        }
        match remote.difference("the remote", after, "the client") {
            None => Ok(()),
            Some(difference) => {
                let message = format!(
                    "client {number}'s {name} succeeded and nobody else has written, but {difference}"
                );
                Err(Violation::of(PUSH_FAITHFUL, message))
            }
        }
    }

    /// Judges `merged` after a successful operation of a client whose base is known.
    ///
    /// # Errors
    /// The first row that is not what the policy says.
    pub(in crate::world) fn judge_merged(
        &mut self,
        client: &Client,
        remote: &Tables,
        finished: &Finished<'_>,
    ) -> Result<(), Violation> {
        let number = client.number;
        let Some(states) = self.news.bases.get(&number) else { return Ok(()) };
        self.checks += 1;
        let rebased = Tables::rebased(states, &finished.before.remote);
        let expected = rebased.last().expect("there is the remote's content");
        let Finished { operation, after, .. } = finished;
        let copies = match operation {
            Operation::Push => [("the remote", remote)].to_vec(),
            Operation::Pull => [("the client", *after)].to_vec(),
            _ => [("the remote", remote), ("the client", *after)].to_vec(),
        };
        for (owner, copy) in copies {
            if let Some(difference) = copy.difference_from_expected(expected) {
                let name = operation.name();
                let message = format!("after client {number}'s {name}, {owner}: {difference}");
                return Err(Violation::of(MERGED, message));
            }
        }
        if *operation == Operation::Pull {
            self.news.bases.insert(number, rebased);
        }
        Ok(())
    }
}
