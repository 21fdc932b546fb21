//! Appends remote frames to Synced's WAL, and makes their whole transactions part of the replica.

use bytes::{Bytes, BytesMut};

use crate::chain::{Chain, Checksums, Link};
use crate::error::{DatabaseContext, Error, Result};
use crate::events::event;
use crate::files::Files;
use crate::metadata::FrameStamp;
use crate::remote::RemoteError;
use crate::state::State;
use crate::synced::Synced;
use crate::wal::{FRAME_BYTES, Frame, RawSession};
use crate::wire::BodyStream;

/// Appends remote frames to Synced's WAL. A transaction may span several answers; the raw session stays open
/// across them.
pub(super) struct Appender {
    pub(super) synced: Synced,
    session: Option<RawSession>,
    /// The number of appended frames of a transaction whose end has not arrived yet.
    pub(super) uncommitted: u64,
    /// The number of appended frames of whole transactions that are not part of the replica yet.
    pub(super) whole_frames: u64,
    /// The number of frames in Synced's WAL that are part of the replica.
    wal_frames: u64,
    /// The server's stamp of the newest commit frame.
    stamp: Option<FrameStamp>,
    /// The chain of the server's frames, up to the last appended one.
    pub(super) chain: Chain,
    /// Whether the appended frames that are not part of the replica yet are known to continue it.
    pub(super) is_proved: bool,
}

/// The result of reading a body of frames.
pub(super) enum Appended {
    /// All its frames were appended: this many.
    Frames(u64),
    /// A frame does not continue the one before it. The frames before it were appended.
    Broken(Broken),
}

/// A frame whose checksum does not continue that of the frame before it.
pub(super) struct Broken {
    pub(super) frame_no: u64,
    /// The stamp of the frame before it.
    pub(super) before: FrameStamp,
    pub(super) stamp: FrameStamp,
}

impl Appender {
    pub(super) fn begin(files: &Files, state: &mut State) -> Result<Self> {
        let wal_frames = state.metadata.synced_wal_frames;
        let synced = state.synced(files)?.clone();
        let generation = state.metadata.synced_generation;
        let anchor = state.metadata.anchor.filter(|anchor| anchor.generation == generation);
        Ok(Self {
            synced,
            session: None,
            uncommitted: 0,
            whole_frames: 0,
            wal_frames,
            stamp: None,
            chain: Chain::after(anchor.and_then(|anchor| anchor.stamp), state.checksums(generation)),
            is_proved: true,
        })
    }

    /// The next frames are the first of a generation. `is_proved` says whether they are known to continue the
    /// replica: their own checksums do not show it.
    pub(super) fn begin_generation(&mut self, is_proved: bool, checksums: Checksums) {
        self.chain = Chain::after(None, checksums);
        self.is_proved = is_proved;
    }

    /// Appends the frames of one body, the first of which has the number `start`.
    pub(super) async fn append<B>(
        &mut self,
        mut body: BodyStream<B>,
        start: u64,
        frames_max: u64,
    ) -> Result<Appended>
    where
        B: http_body::Body<Data = Bytes, Error = RemoteError> + Unpin,
    {
        let mut received = 0;
        let mut rest = BytesMut::new();
        while let Some(chunk) = body.chunk().await? {
            rest.extend_from_slice(&chunk);
            while rest.len() >= FRAME_BYTES {
                received += 1;
                if received > frames_max {
                    return Err(body.bad(format!("more than the {frames_max} requested frames")));
                }
                let mut bytes = [0; FRAME_BYTES];
                bytes.copy_from_slice(&rest.split_to(FRAME_BYTES));
                let frame = Frame::from_bytes(bytes);
                let before = self.chain.last();
                let frame_no = start + received - 1;
                match self.chain.add(&frame) {
                    Link::Continues => {}
                    // The caller judges the first frame of a generation.
                    Link::Unknown if frame_no == 1 => {}
                    Link::Unknown => self.is_proved = false,
                    Link::Broken => {
                        let before = before.expect("only a chain with an end can break");
                        return Ok(Appended::Broken(Broken { frame_no, before, stamp: frame.stamp() }));
                    }
                }
                self.append_frame(&frame).map_err(|problem| match problem {
                    Rejected::Frame(problem) => body.bad(format!("frame {received} of the body: {problem}")),
                    Rejected::Core(error) => error,
                })?;
            }
        }
        if !rest.is_empty() {
            return Err(body.bad(format!(
                "{} bytes, which is no multiple of the {FRAME_BYTES} bytes of a frame",
                body.received_bytes()
            )));
        }
        if received == 0 {
            return Err(body.bad("an empty body instead of frames".into()));
        }
        Ok(Appended::Frames(received))
    }

    fn append_frame(&mut self, frame: &Frame) -> std::result::Result<(), Rejected> {
        if frame.page_no() == 0 {
            return Err(Rejected::Frame("page number 0".into()));
        }
        if frame.page_no() == 1 && !frame.page().starts_with(b"SQLite format 3\0") {
            return Err(Rejected::Frame("page 1 has no database header".into()));
        }
        let mut insert = || {
            if self.session.is_none() {
                self.session = Some(RawSession::begin(self.synced.connection.clone())?);
            }
            let session = self.session.as_ref().expect("the session was opened above");
            session.insert(self.wal_frames + self.whole_frames + self.uncommitted + 1, frame)
        };
        insert().while_doing("appending a remote frame", &self.synced.file).map_err(Rejected::Core)?;
        self.uncommitted += 1;
        if frame.is_commit() {
            self.whole_frames += self.uncommitted;
            self.uncommitted = 0;
            self.stamp = Some(frame.stamp());
        }
        Ok(())
    }

    /// Makes the whole transactions that have arrived durable, and stores in the metadata that they are part
    /// of the replica. If `is_crossing`, the same write of the metadata enters the next generation.
    pub(super) async fn commit(&mut self, files: &Files, state: &mut State, is_crossing: bool) -> Result<()> {
        state.adopt_frames(files, self.whole_frames, is_crossing, self.stamp).await?;
        self.wal_frames = state.metadata.synced_wal_frames;
        self.is_proved = true;
        event!(FramesCommitted, frames = self.whole_frames, wal_frames = self.wal_frames);
        self.whole_frames = 0;
        Ok(())
    }

    pub(super) fn end(self) -> Result<()> {
        match self.session {
            Some(session) => session.end().while_doing("ending the walk", &self.synced.file),
            None => Ok(()),
        }
    }
}

/// The reason why a frame was not appended.
enum Rejected {
    Frame(String),
    Core(Error),
}
