//! One sampled crash image per history: a copy of a client's disk as a crash at some moment would leave it.
//! The image is judged, and a fresh engine opens it. The history itself continues undisturbed.
//!
//! The crashes of a schedule happen where the generator put them. The image tests one more crash in every
//! history, at another moment and with other surviving operations, for the cost of one open. The engine that
//! opens the image has no network. If it needs the network to open, the image is not judged further.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use xxhash_rust::xxh3::xxh3_64;

use super::Referee;
use crate::fault::{CrashKind, FileClass, Survival};
use crate::judge::ledger::{Content, Ledger};
use crate::judge::remote_log::RemoteLog;
use crate::judge::verdict::{ENDS, READS, RESUMES, Violation};
use crate::judge::{self, Claims, DatabaseFiles, Paths};
use crate::schedule::{Header, Step};
use crate::text::error_chain;
use crate::world::client::{Client, Engine, read_content};
use crate::world::clients::Clients;
use crate::world::disk::Disk;
use crate::world::drive::SUSPENSIONS_MAX;
use crate::world::network::Mailbox;
use crate::world::operations::violation_of_panic;
use crate::world::server::Server;

/// One of this many client steps is chosen on average. The image is taken in the first chosen step.
const STEPS_PER_IMAGE: u64 = 6;
/// The image is taken at a suspension of the chosen step, with a number from 1 to this. If the step ends
/// before that suspension, the image is taken at its end.
const SUSPENSIONS_PER_IMAGE: u64 = 24;

/// The state of a history's one image.
#[derive(Default)]
pub(in crate::world) enum Sample {
    /// No step has been chosen yet.
    #[default]
    NotChosen,
    /// The image is due in the running step.
    Due {
        /// The suspension at which the image is taken.
        nth_suspension: u32,
        /// Determines the kind of crash and the surviving operations.
        key: u64,
    },
    Taken(Box<CrashImage>),
    Judged,
}

/// A client's disk as a crash would leave it.
pub(in crate::world) struct CrashImage {
    client: u8,
    kind: CrashKind,
    disk: Disk,
    /// The ledger at that moment.
    ledger: Ledger,
}

impl Sample {
    /// Chooses the step in which the image is taken, by a hash of the header's key and the step's id.
    pub(in crate::world) fn plan(&mut self, header: &Header, step: &Step) {
        if !matches!(self, Self::NotChosen) || step.action.client().is_none() {
            return;
        }
        let mut hash_input = [0; 12];
        hash_input[..8].copy_from_slice(&header.key.to_le_bytes());
        hash_input[8..].copy_from_slice(&step.id.to_le_bytes());
        let key = xxh3_64(&hash_input);
        if key.is_multiple_of(STEPS_PER_IMAGE) {
            let nth_suspension = (key >> 16) % SUSPENSIONS_PER_IMAGE + 1;
            *self = Self::Due { nth_suspension: nth_suspension as u32, key };
        }
    }
}

impl Referee {
    /// Takes the image if it is due at this suspension. `None` stands for the end of the step, where an image
    /// that is still due is taken in any case.
    pub(in crate::world) fn sample_image_if_due(
        &mut self,
        client: &Client,
        server: &Server,
        nth_suspension: Option<u32>,
    ) {
        let Sample::Due { nth_suspension: due, key } = self.sample else { return };
        if nth_suspension.is_some_and(|nth| nth != due) {
            return;
        }
        if client.is_damaged() {
            // The engine may refuse a damaged directory, and its content is not what the ledger expects.
            self.sample = Sample::Judged;
            return;
        }
        let kind = kind_of(key >> 32);
        let disk = client.disk.crash_image(&kind);
        let mut ledger = self.ledger.clone();
        // If the remote itself is wrong, the check of the remote after this step reports it.
        let (log, quiet) = server.tokens();
        if ledger.observe_remote(&log, &quiet).is_ok() {
            self.sample = Sample::Taken(Box::new(CrashImage { client: client.number, kind, disk, ledger }));
        }
    }

    /// Judges the image, if one was taken: page by page, and by opening it.
    ///
    /// # Errors
    /// The first broken invariant.
    pub(in crate::world) fn judge_image(
        &mut self,
        header: &Header,
        clients: &Clients,
        server: &Server,
    ) -> Result<(), Violation> {
        let Sample::Taken(image) = &self.sample else { return Ok(()) };
        self.images_opened += 1;
        let judged = image.judge(header, &clients[image.client], server.log());
        let judged = judged.map_err(|violation| {
            let (client, kind) = (image.client, &image.kind);
            let message = format!("client {client}'s disk as a {kind} would leave it: {}", violation.message);
            Violation { message, ..violation }
        });
        self.sample = Sample::Judged;
        judged
    }
}

impl CrashImage {
    fn judge(&self, header: &Header, client: &Client, log: &RemoteLog) -> Result<(), Violation> {
        self.judge_files(&client.paths, log)?;
        match content_of(client, self, header)? {
            None => Ok(()),
            Some(content) => judge_content(self.ledger.clone(), self.client, &content),
        }
    }

    fn judge_files(&self, paths: &Paths, log: &RemoteLog) -> Result<(), Violation> {
        let claims = self.disk.read(&paths.metadata).and_then(|bytes| Claims::parse(&bytes));
        match claims {
            Some(claims) if claims.has_replica() => {
                DatabaseFiles::read(paths, |path| self.disk.read(path)).judge(&claims, log, true).map(|_| ())
            }
            _ => Ok(()),
        }
    }
}

fn kind_of(key: u64) -> CrashKind {
    let survival = match key % 6 {
        0 => return CrashKind::Kill,
        1 => Survival::Nothing,
        2 => Survival::Files { keep: vec![FileClass::Metadata, FileClass::MetadataTemporary] },
        3 => Survival::Files {
            keep: vec![FileClass::Draft, FileClass::DraftWal, FileClass::Synced, FileClass::SyncedWal],
        },
        _ => Survival::Subset { keep_percent: 50, key },
    };
    CrashKind::PowerLoss { survival, torn: None }
}

/// Opens the image without a network and reads the rows that its application would see. `None` if opening
/// needs the network.
fn content_of(client: &Client, image: &CrashImage, header: &Header) -> Result<Option<Content>, Violation> {
    let io = image.disk.io();
    let mailbox = Mailbox::default();
    let opening = {
        let (mailbox, base, options) = (mailbox.clone(), client.paths.base.clone(), client.options(header));
        async move {
            let engine = Engine::open(io.clone(), io, mailbox, &base, options).await?;
            let connection = engine.connect()?;
            Ok::<_, plimsoll_engine::Error>((Arc::new(engine), connection))
        }
    };
    let mut opening = pin!(opening);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..SUSPENSIONS_MAX {
        match catch_unwind(AssertUnwindSafe(|| opening.as_mut().poll(&mut context))) {
            Err(panic) => return Err(violation_of_panic(client.number, &*panic)),
            Ok(Poll::Ready(Ok(_))) if !header.workload.has_tokens() => return Ok(None),
            Ok(Poll::Ready(Ok((_engine, connection)))) => {
                let content = read_content(|sql| connection.query(sql, &[]));
                return content.map(Some).map_err(|error| Violation::of(READS, error.to_string()));
            }
            Ok(Poll::Ready(Err(error))) => {
                let message = format!("client {} cannot be opened: {}", client.number, error_chain(&error));
                return Err(Violation::of(RESUMES, message));
            }
            Ok(Poll::Pending) if mailbox.take_request().is_some() => return Ok(None),
            Ok(Poll::Pending) => {}
        }
    }
    Err(Violation::of(ENDS, format!("client {}'s open does not end", client.number)))
}

/// Judges the rows that the image shows. Needs its own copy of the ledger, because the image must not settle
/// the outcome of any transaction in the history.
fn judge_content(mut ledger: Ledger, client: u8, content: &Content) -> Result<(), Violation> {
    ledger.end_process(client);
    let observed = ledger.observe_client(client, content);
    observed.map_err(|finding| judge::violation(finding, "the rows that its application sees"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_lost_in_an_image_is_found_and_the_ledger_stays_unchanged() {
        use crate::judge::ledger::{CommitState, Entry};
        use crate::schedule::workload::{Effect, Writer};
        let mut ledger = Ledger::default();
        let effects = vec![Effect::Appended("a".into())];
        ledger.enter(Entry::new(Writer::Client(0), effects, CommitState::Doubtful));
        assert_eq!(judge_content(ledger.clone(), 0, &Content::initial()), Ok(()));
        let shown = Content { log: vec!["a".into()], ..Content::initial() };
        ledger.observe_client(0, &shown).expect("the transaction is still in doubt");
        let violation = judge_content(ledger, 0, &Content::initial()).expect_err("the transaction is lost");
        assert_eq!(violation.invariant, "local-durability");
    }
}
