//! The walk: brings Synced to the end of the remote's history, through every closed generation.
//!
//! Synced's local WAL simply goes on when the remote begins a generation: the snapshot of the next generation is this one's
//! with all its frames, so the frames of the next apply on top and nothing has to be checkpointed on the way. A crossing is one
//! write of the metadata, made only once the next generation has answered, and the one before has said again that it is complete: a single
//! untrue word of the server's must not leave the client in a generation that does not exist, nor behind frames that it has not got.
//!
//! No frames become part of the replica, and no generation is entered, before the server was asked, after they had arrived, whether its
//! history is still the one that Synced replicates: one that was restored in between would have frames of another.
//!
//! The end of history is learnt only from the server's status object, never from a short body. Only whole transactions become
//! part of the replica; the metadata names them once the WAL file was synced.

use bytes::{Bytes, BytesMut};
use turso_core::Connection;

use std::sync::Arc;

use crate::error::{DatabaseContext, Error, Result};
use crate::events::event;
use crate::files::Files;
use crate::history;
use crate::metadata::FrameStamp;
use crate::options::Options;
use crate::progress::Progress;
use crate::protocol::Status;
use crate::remote::Remote;
use crate::report::RebootstrapReason;
use crate::state::State;
use crate::wal::{FRAME_BYTES, Frame, RawSession};
use crate::wire::{BodyStream, FrameAnswer, Wire};

/// How many generations in a row a server may tell of that hold nothing.
const EMPTY_GENERATIONS_MAX: u32 = 1000;

/// What a walk has fetched.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Walked {
    pub(crate) frames: u64,
    pub(crate) body_bytes: u64,
    pub(crate) generations_crossed: u64,
    /// Why Synced was replaced before the walk, if it was.
    pub(crate) rebootstrapped: Option<RebootstrapReason>,
}

/// How a walk has ended.
pub(crate) enum Walk {
    /// At the remote's end.
    Ended(Walked),
    /// The server's history does not go on from where Synced is.
    Interrupted(RebootstrapReason),
}

/// Walks Synced to the remote's end. On an error Synced holds some commit point between the old one and the end.
pub(crate) async fn walk<R: Remote>(
    files: &Files,
    wire: &Wire<R>,
    state: &mut State,
    options: &Options,
) -> Result<Walk> {
    let batch_frames = options.pull_batch_frames;
    let mut crossed_without_frames = 0;
    let mut walked = Walked::default();
    let mut replica = Appender::begin(files, state)?;
    // The server says that the generation is complete. It is believed once the next one has answered.
    let mut is_crossing = false;
    let mut is_verified = false;
    loop {
        let place = Place::of(state, is_crossing, replica.uncommitted);
        match wire.frames(place.generation, place.start, place.start.saturating_add(batch_frames)).await? {
            FrameAnswer::Frames(body) => {
                state.synced_is_dirty = true;
                let received = replica.append(body, batch_frames).await?;
                walked.frames += received;
                walked.body_bytes += received * FRAME_BYTES as u64;
                crossed_without_frames = 0;
                options.on_progress.report(Progress::Pull {
                    frames: walked.frames,
                    body_bytes: walked.body_bytes,
                    generation: place.generation,
                });
                if replica.committed > 0 {
                    // Asked after the frames have arrived: they are of the history that the answer is about, or of one before it.
                    if let Some(reason) = history::changed(wire, state, &replica.connection).await? {
                        return Ok(Walk::Interrupted(reason));
                    }
                    is_verified = true;
                    if is_crossing
                        && let Some(reason) = confirm_complete(wire, state, &replica.connection).await?
                    {
                        return Ok(Walk::Interrupted(reason));
                    }
                    replica.commit(files, state, is_crossing).await?;
                    walked.generations_crossed += u64::from(is_crossing);
                    is_crossing = false;
                }
            }
            FrameAnswer::Gone(doubt) => {
                return history::confirm(wire, state, &replica.connection, doubt)
                    .await
                    .map(Walk::Interrupted);
            }
            FrameAnswer::End(status) => {
                let end = match judge_end(&status, state, place, replica.uncommitted) {
                    Err(doubt @ Error::RemoteWentBack { .. }) => {
                        return history::confirm(wire, state, &replica.connection, doubt)
                            .await
                            .map(Walk::Interrupted);
                    }
                    // It makes no sense; of another history it may.
                    Err(doubt) => {
                        return match history::changed(wire, state, &replica.connection).await? {
                            Some(reason) => Ok(Walk::Interrupted(reason)),
                            None => Err(doubt),
                        };
                    }
                    Ok(end) => end,
                };
                if is_crossing {
                    if let Some(reason) = history::changed(wire, state, &replica.connection).await? {
                        return Ok(Walk::Interrupted(reason));
                    }
                    is_verified = true;
                    if let Some(reason) = confirm_complete(wire, state, &replica.connection).await? {
                        return Ok(Walk::Interrupted(reason));
                    }
                    walked.generations_crossed += 1;
                    state.store(files, |metadata| metadata.cross(0)).await?;
                    // What was said of the new generation's end was said before the last question.
                    is_crossing = false;
                    continue;
                }
                if end == End::OfHistory {
                    break;
                }
                event!(
                    "generation crossed",
                    generation = place.generation,
                    frames = state.metadata.synced_frame()
                );
                crossed_without_frames += 1;
                if crossed_without_frames > EMPTY_GENERATIONS_MAX {
                    return Err(Error::BadAnswer {
                        request: format!("GET /sync/{}/{}", place.generation, place.start),
                        problem: format!("{EMPTY_GENERATIONS_MAX} generations in a row without a frame"),
                    });
                }
                is_crossing = true;
            }
        }
    }
    if !is_verified && let Some(reason) = history::changed(wire, state, &replica.connection).await? {
        return Ok(Walk::Interrupted(reason));
    }
    replica.end(files)?;
    state.synced_is_dirty = false;
    if state.metadata.synced_frame_no.is_none() {
        state.store(files, |metadata| metadata.synced_frame_no = Some(0)).await?;
    }
    event!(
        "end of history",
        generation = state.metadata.synced_generation,
        frames = state.metadata.synced_frame()
    );
    Ok(Walk::Ended(walked))
}

/// Asks once more for the end of the generation that is about to be left. When the server said first that it was complete, that may have been
/// untrue and have become true since, with frames in between; now that the next one has answered, nothing is appended to it any more.
/// A reason if it is the history that has changed meanwhile.
async fn confirm_complete<R: Remote>(
    wire: &Wire<R>,
    state: &State,
    synced: &Arc<Connection>,
) -> Result<Option<RebootstrapReason>> {
    let (generation, start) = (state.metadata.synced_generation, state.metadata.synced_frame() + 1);
    match wire.frames(generation, start, start + 1).await? {
        FrameAnswer::End(status) if status.generation > generation => return Ok(None),
        // It was pruned meanwhile, as only complete ones are.
        FrameAnswer::Gone(_) => return Ok(None),
        FrameAnswer::End(_) | FrameAnswer::Frames(_) => {}
    }
    if let Some(reason) = history::changed(wire, state, synced).await? {
        return Ok(Some(reason));
    }
    Err(Error::BadAnswer {
        request: format!("GET /sync/{generation}/{start}"),
        problem: format!("generation {generation} was said to be complete before frame {start}, and goes on"),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    OfGeneration,
    OfHistory,
}

/// Where the walk asks for frames.
#[derive(Debug, Clone, Copy)]
struct Place {
    generation: u64,
    start: u64,
}

impl Place {
    fn of(state: &State, is_crossing: bool, uncommitted: u64) -> Self {
        let metadata = &state.metadata;
        let (generation, frame_no) = if is_crossing {
            (metadata.synced_generation + 1, 0)
        } else {
            (metadata.synced_generation, metadata.synced_frame())
        };
        Self { generation, start: frame_no + 1 + uncommitted }
    }
}

/// What the server means by having no frame at `place`.
fn judge_end(status: &Status, state: &State, place: Place, uncommitted: u64) -> Result<End> {
    let Place { generation, start } = place;
    let contradiction =
        |problem: String| Error::BadAnswer { request: format!("GET /sync/{generation}/{start}"), problem };
    let local_generation = state.metadata.synced_generation;
    let is_behind = |frame_no: u64| status.max_frame_no < frame_no;
    if history::went_back(status, state) {
        return Err(Error::RemoteWentBack {
            remote_generation: status.generation,
            remote_frame_no: status.max_frame_no,
            local_generation,
            local_frame_no: state.metadata.synced_frame(),
        });
    }
    if status.generation < generation {
        return Err(contradiction(format!(
            "generation {generation} has not begun, but the one before was said to be complete"
        )));
    }
    if status.generation == generation && is_behind(start - 1) {
        return Err(contradiction(format!(
            "the last frame is said to be {}, but the server has given out frame {}",
            status.max_frame_no,
            start - 1
        )));
    }
    if uncommitted > 0 {
        return Err(contradiction(format!(
            "the history ends inside a transaction, {uncommitted} frames into it"
        )));
    }
    if status.generation > generation {
        return Ok(End::OfGeneration);
    }
    if status.max_frame_no >= start {
        return Err(contradiction(format!(
            "no frame {start}, and yet the last frame is said to be {}",
            status.max_frame_no
        )));
    }
    Ok(End::OfHistory)
}

/// Appends remote frames to Synced's WAL. A transaction may span several answers; the session stays open across them.
struct Appender {
    connection: Arc<Connection>,
    session: Option<RawSession>,
    /// Frames of a transaction whose end has not arrived yet.
    uncommitted: u64,
    /// Frames of whole transactions that the metadata does not name yet.
    committed: u64,
    wal_frames: u64,
    /// That of the newest frame which ended a transaction, as the server has stamped it.
    stamp: Option<FrameStamp>,
}

impl Appender {
    fn begin(files: &Files, state: &mut State) -> Result<Self> {
        let wal_frames = state.metadata.synced_wal_frames;
        let connection = state.synced(files)?.connection.clone();
        Ok(Self { connection, session: None, uncommitted: 0, committed: 0, wal_frames, stamp: None })
    }

    /// Appends the frames of one body and returns how many they were.
    async fn append<B>(&mut self, mut body: BodyStream<B>, frames_max: u64) -> Result<u64>
    where
        B: http_body::Body<Data = Bytes, Error = crate::remote::RemoteError> + Unpin,
    {
        let mut received = 0;
        let mut rest = BytesMut::new();
        while let Some(chunk) = body.chunk().await? {
            rest.extend_from_slice(&chunk);
            while rest.len() >= FRAME_BYTES {
                received += 1;
                if received > frames_max {
                    return Err(body.bad(format!("more than the {frames_max} frames that were asked for")));
                }
                let mut bytes = [0; FRAME_BYTES];
                bytes.copy_from_slice(&rest.split_to(FRAME_BYTES));
                self.append_frame(&Frame::from_bytes(bytes)).map_err(|problem| match problem {
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
            return Err(body.bad("an empty body where frames were promised".into()));
        }
        Ok(received)
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
                self.session = Some(RawSession::begin(self.connection.clone())?);
            }
            let session = self.session.as_ref().expect("it was begun above");
            session.insert(self.wal_frames + self.committed + self.uncommitted + 1, frame)
        };
        insert().while_doing("appending a remote frame", "the replica").map_err(Rejected::Core)?;
        self.uncommitted += 1;
        if frame.is_commit() {
            self.committed += self.uncommitted;
            self.uncommitted = 0;
            self.stamp = Some(frame.stamp());
        }
        Ok(())
    }

    /// Makes the whole transactions that have arrived durable and names them in the metadata, together with the crossing into the
    /// generation that they belong to.
    async fn commit(&mut self, files: &Files, state: &mut State, is_crossing: bool) -> Result<()> {
        state.adopt_frames(files, self.committed, is_crossing, self.stamp).await?;
        self.wal_frames = state.metadata.synced_wal_frames;
        event!("frames committed", frames = self.committed, wal_frames = self.wal_frames);
        self.committed = 0;
        Ok(())
    }

    fn end(self, files: &Files) -> Result<()> {
        match self.session {
            Some(session) => session.end().while_doing("ending the walk", &files.synced),
            None => Ok(()),
        }
    }
}

/// Why a frame was not appended.
enum Rejected {
    Frame(String),
    Core(Error),
}
