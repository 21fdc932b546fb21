//! The remote of a history: its log is a model in memory that keeps every state and judges the database.
//!
//! It also has the events that no client causes: a checkpoint, a restart or crash of its machine, a restore, and a
//! second server on a copy of its files.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use turso_core::{IO, LimboError};

use super::Remote;
use super::append::OpenTransaction;
use super::content::Content;
use super::kept::KeptLog;
use super::proof::Instance;
use super::store::Store;
use crate::judge::format::{FRAME_BYTES, FrameHeader};
use crate::judge::remote_log::{CONTRADICTION, LogEnd, RemoteLog};

/// The history id of a simulated remote.
const HISTORY_ID: &str = "h1";

/// The salts and checksums in the header of a frame.
const STAMP: Range<usize> = 8..24;

/// The log of a simulated remote.
pub struct Simulated {
    model: RemoteLog,
    /// The number of copies of the database that were started.
    copies: u32,
    /// A second server on a copy of the database, under the same address.
    other: Option<OtherServer>,
    /// Whether the frames that it serves have their salts and checksums. Otherwise these are zero.
    sends_checksums: bool,
}

/// The part of a server that its copy does not share.
struct OtherServer {
    store: Store,
    open: Option<OpenTransaction>,
    completed: Option<String>,
    renames: u64,
    instance: Instance,
}

impl KeptLog for Simulated {
    fn generation(&self) -> u64 {
        self.model.generation_current()
    }

    fn frame_count(&self) -> u64 {
        self.model.current().frame_count()
    }

    fn served_frame_count(&self, generation: u64) -> Option<u64> {
        self.model.served(generation).map(|served| served.frame_count())
    }

    fn frame(&self, frame_no: u64) -> Result<Option<Bytes>, LimboError> {
        let index = frame_no.checked_sub(1).map(|index| index as usize);
        let frame = index.and_then(|index| self.model.current().frames().get(index));
        Ok(frame.map(|frame| frame.bytes().clone()))
    }

    fn frames(&self, generation: u64, range: Range<u64>) -> Result<Content, LimboError> {
        let generation = self.model.served(generation).expect("the generation is served");
        let frames = &generation.frames()[range.start as usize - 1..range.end as usize - 1];
        let mut body = BytesMut::with_capacity(frames.len() * FRAME_BYTES);
        for frame in frames {
            let start = body.len();
            body.extend_from_slice(frame.bytes());
            if !self.sends_checksums {
                body[start..][STAMP].fill(0);
            }
        }
        Ok(body.freeze().into())
    }

    fn snapshot(&self, generation: u64) -> Result<Content, LimboError> {
        let generation = self.model.served(generation).expect("the generation is served");
        Ok(generation.snapshot().clone().into())
    }

    fn end_of_closed(&self, generation: u64) -> Option<(u64, FrameHeader)> {
        let closed = self.model.generation(generation)?;
        let last = closed.frames().last().expect("a closed generation has frames");
        Some((closed.frame_count(), last.header))
    }

    fn record(&mut self, store: &Store) -> Result<(), LimboError> {
        let known = self.frame_count();
        let committed = store.frame_count().expect("the remote's WAL is readable");
        assert!(committed >= known, "{}: its WAL has lost frames", CONTRADICTION);
        if committed == known {
            return Ok(());
        }
        let header = store.wal_header().expect("the remote's WAL is readable");
        let header = header.expect("a WAL with frames has a header");
        let tail = store.wal_frames(known, committed).expect("the remote's WAL is readable");
        self.model.append(header, Bytes::from(tail), committed - known);
        Ok(())
    }
}

impl Remote {
    /// Creates a remote: an empty database in WAL mode (a durable main file of 4096 bytes), generation 1,
    /// zero frames.
    ///
    /// `path` must be new to `io`, and its file id must be new to the process, because the core has a
    /// registry of open databases.
    ///
    /// # Panics
    /// If the files cannot be written.
    pub fn create(io: Arc<dyn IO>, path: &str) -> Remote {
        Remote::begin(io, path, HISTORY_ID.to_owned()).expect("a new remote's disk has no faults")
    }

    /// Like [`create`](Self::create), with the given history id.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn begin(io: Arc<dyn IO>, path: &str, history_id: String) -> Result<Remote, LimboError> {
        let instance = Instance::new(io.as_ref());
        let store = Store::create(io, path)?;
        let snapshot = store.main()?;
        let log = Simulated {
            model: RemoteLog::begin(snapshot.into()),
            copies: 0,
            other: None,
            sends_checksums: true,
        };
        Ok(Remote::of(store, log, history_id, instance))
    }

    /// Sets whether the frames that the remote sends have salts and checksums. By default they do.
    pub fn set_sends_checksums(&mut self, sends_checksums: bool) {
        self.log.sends_checksums = sends_checksums;
    }

    /// Answers one request. A bad request gets a 4xx answer, a failing disk causes a 5xx answer.
    pub fn serve(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        self.answer(request).map(in_memory)
    }

    /// Answers a request as of the time when the log ended at `end`. `None` for a request that writes.
    pub fn serve_as_of(&self, request: &Request<Bytes>, end: LogEnd) -> Option<Response<Bytes>> {
        self.answer_as_of(request, end).map(|response| response.map(in_memory))
    }

    /// Continues on the next boot of the remote's machine. A posted transaction without its end is gone. The
    /// log keeps every acknowledged transaction. It keeps any other transaction only if all of it is in the
    /// WAL. The closed generations are stored outside this machine, as in an archive: each was archived
    /// before the next one started.
    ///
    /// # Panics
    /// If the disk lacks frames up to `acknowledged`, or holds other frames than the log.
    pub fn reopen(&mut self, io: Arc<dyn IO>, acknowledged: LogEnd) {
        self.reopen_one(io.clone(), acknowledged);
        if self.log.other.is_some() {
            self.swap();
            self.log.model.swap();
            self.reopen_one(io, self.end());
            self.swap();
            self.log.model.swap();
        }
    }

    fn reopen_one(&mut self, io: Arc<dyn IO>, acknowledged: LogEnd) {
        (self.open, self.completed) = (None, None);
        self.instance = self.instance.next();
        self.store =
            self.store.reopen(io).expect("the remote's database opens after any crash of its machine");
        let committed = self.store.frame_count().expect("the remote's WAL is readable");
        assert_eq!(
            acknowledged.generation,
            self.generation(),
            "the machine does not crash inside a checkpoint"
        );
        assert!(
            committed >= acknowledged.frame_no,
            "{}: it has acknowledged {} frames, but only {committed} are left",
            CONTRADICTION,
            acknowledged.frame_no
        );
        self.log.model.cut(committed);
        let known = self.frame_count();
        let main = self.store.main().expect("the remote's main file is readable");
        let wal = self.store.wal_frames(0, known).expect("the remote's WAL is readable");
        self.log.model.current().check_files(&main, &wal);
        self.log.record(&self.store).expect("the model reads what the database has written");
    }

    /// Ends the generation: archives its frames, moves them into the main file, and starts the next
    /// generation. Returns `false` if there were no frames.
    pub fn checkpoint(&mut self) -> bool {
        if self.frame_count() == 0 {
            return false;
        }
        self.open = None;
        self.store.checkpoint().expect("no transaction is open between two requests");
        let main = self.store.main().expect("the remote's main file is readable");
        self.log.model.close_generation(main.into());
        true
    }

    /// Stops serving the generations before the current one. Returns `false` if none was served.
    pub fn prune(&mut self) -> bool {
        self.log.model.prune()
    }

    /// From here on no [`restore`](Self::restore) goes back beyond this moment.
    pub fn forget_older_backups(&mut self) {
        self.log.model.forget_older_backups();
    }

    /// Restores an older state, as an operator would by copying a backup's files into place. The restored
    /// state is `transactions_back` transactions before the end of the generation `generations_back` before
    /// the current one, or the closest state that is left. If the copy `keeps_name`, it has the same history id
    /// as before; otherwise the operator gives it another one.
    ///
    /// # Panics
    /// If the files cannot be written.
    pub fn restore(&mut self, generations_back: u64, transactions_back: u64, keeps_name: bool) {
        (self.open, self.completed) = (None, None);
        self.instance = self.instance.next();
        self.renames += u64::from(!keeps_name);
        let generation = self.log.model.restore(generations_back, transactions_back);
        let (main, wal) = (generation.snapshot().clone(), generation.wal());
        let frame_count = generation.frame_count();
        self.log.copies += 1;
        self.store =
            self.store.beside(self.log.copies, &main, &wal).expect("the remote's disk has no faults");
        let found = self.store.frame_count().expect("the remote's WAL is readable");
        assert_eq!(found, frame_count, "{}: the WAL of a backup is incomplete", CONTRADICTION);
    }

    /// Starts a second server on a copy of the database, under the same address and with the same history id.
    /// This one keeps answering until [`switch`](Self::switch).
    ///
    /// # Panics
    /// If the files cannot be written.
    pub fn fork(&mut self) {
        let (main, wal) = (self.log.model.current().snapshot().clone(), self.log.model.current().wal());
        self.log.copies += 1;
        let store = self.store.beside(self.log.copies, &main, &wal).expect("the remote's disk has no faults");
        // The numbers of the two servers' runs must not be the same.
        let instance = self.instance.of_copy(self.log.copies);
        let (open, completed, renames) = (None, None, self.renames);
        self.log.other = Some(OtherServer { store, open, completed, renames, instance });
        self.log.model.fork();
    }

    /// Lets the other server answer from now on.
    pub fn switch(&mut self) {
        self.swap();
        self.log.model.switch();
    }

    /// Shuts the other server down.
    pub fn join(&mut self) {
        self.log.other = None;
        self.log.model.join();
    }

    fn swap(&mut self) {
        let other = self.log.other.as_mut().expect("there are two servers");
        std::mem::swap(&mut self.store, &mut other.store);
        std::mem::swap(&mut self.open, &mut other.open);
        std::mem::swap(&mut self.completed, &mut other.completed);
        std::mem::swap(&mut self.renames, &mut other.renames);
        std::mem::swap(&mut self.instance, &mut other.instance);
    }

    /// The bytes of the main file and of the WAL. Not an event of the history.
    ///
    /// # Errors
    /// The core's error.
    pub fn file_bytes(&self) -> Result<(Vec<u8>, Vec<u8>), LimboError> {
        Ok((self.store.main()?, self.store.wal()?))
    }

    /// The log of every state that the remote has had.
    pub fn log(&self) -> &RemoteLog {
        &self.log.model
    }
}

fn in_memory(content: Content) -> Bytes {
    match content {
        Content::Bytes(bytes) => bytes,
        Content::File { .. } => unreachable!("a simulated remote keeps its log in memory"),
    }
}
