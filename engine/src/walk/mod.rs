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
//!
//! | module | what it owns |
//! |---|---|
//! | `appender` | the frames that arrive, up to the last whole transaction |
//! | `end` | the meaning of an answer without frames |

mod appender;
mod end;

use crate::error::{Error, Result};
use crate::events::event;
use crate::files::Files;
use crate::history;
use crate::options::Options;
use crate::progress::Progress;
use crate::protocol::Status;
use crate::remote::Remote;
use crate::report::RebootstrapReason;
use crate::state::State;
use crate::wal::FRAME_BYTES;
use crate::wire::{BodyStream, FrameAnswer, Wire};

use appender::Appender;
use end::{End, Place, is_complete, judge_end};

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

impl Walked {
    /// Whether Synced is not what it was before.
    pub(crate) fn has_news(&self) -> bool {
        self.frames > 0 || self.generations_crossed > 0 || self.rebootstrapped.is_some()
    }
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
    let replica = Appender::begin(files, state)?;
    let walker = Walker {
        files,
        wire,
        state,
        options,
        replica,
        position: Position::Within,
        empty_generations: 0,
        walked: Walked::default(),
    };
    match walker.run().await {
        Ok(walked) => Ok(Walk::Ended(walked)),
        Err(Stop::Interrupted(reason)) => Ok(Walk::Interrupted(reason)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// Why a walk stops before the end.
enum Stop {
    /// The server's history does not go on from where Synced is.
    Interrupted(RebootstrapReason),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Where a walk stands. The metadata says which generation Synced has reached, and how far it is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// In the generation that Synced has reached.
    Within,
    /// Before the next one: the server says that Synced's is complete. The walk believes it once the next one has answered.
    Leaving,
}

/// A walk under way. It asks for frames, and each answer moves it: [`receive`](Self::receive), [`leave`](Self::leave),
/// [`enter_empty`](Self::enter_empty), [`finish`](Self::finish).
struct Walker<'a, R> {
    files: &'a Files,
    wire: &'a Wire<R>,
    state: &'a mut State,
    options: &'a Options,
    replica: Appender,
    position: Position,
    /// Generations that the walk has left in a row without a frame.
    empty_generations: u32,
    walked: Walked,
}

impl<R: Remote> Walker<'_, R> {
    async fn run(mut self) -> Result<Walked, Stop> {
        loop {
            let place = self.place();
            let end = place.start.saturating_add(self.options.pull_batch_frames);
            match self.wire.frames(place.generation, place.start, end).await? {
                FrameAnswer::Frames(body) => self.receive(place, body).await?,
                FrameAnswer::Gone(doubt) => return Err(self.explain(doubt).await),
                FrameAnswer::End(status) => match (self.position, self.judge(&status, place).await?) {
                    // This end of the new generation is older than the answer about the history that lets the walk enter: it asks again.
                    (Position::Leaving, _) => self.enter_empty().await?,
                    (Position::Within, End::OfGeneration) => self.leave(place)?,
                    (Position::Within, End::OfHistory) => return self.finish().await,
                },
            }
        }
    }

    /// Where the next frames are.
    fn place(&self) -> Place {
        let metadata = &self.state.metadata;
        let (generation, frame_no) = match self.position {
            Position::Within => (metadata.synced_generation, metadata.synced_frame()),
            Position::Leaving => (metadata.synced_generation + 1, 0),
        };
        Place { generation, start: frame_no + 1 + self.replica.uncommitted }
    }

    /// Frames have arrived: appends them, and makes the whole transactions among them part of the replica.
    async fn receive(&mut self, place: Place, body: BodyStream<R::Body>) -> Result<(), Stop> {
        self.state.synced_is_dirty = true;
        let received = self.replica.append(body, self.options.pull_batch_frames).await?;
        self.walked.frames += received;
        self.walked.body_bytes += received * FRAME_BYTES as u64;
        self.empty_generations = 0;
        self.options.on_progress.report(Progress::Pull {
            frames: self.walked.frames,
            body_bytes: self.walked.body_bytes,
            generation: place.generation,
        });
        if self.replica.committed > 0 {
            self.commit().await?;
        }
        Ok(())
    }

    /// Names the whole transactions in the metadata. Between two generations the same write enters the next one.
    async fn commit(&mut self) -> Result<(), Stop> {
        // Asked after the frames have arrived: they are of the history that the answer is about, or of one before it.
        self.check_history().await?;
        let is_crossing = self.position == Position::Leaving;
        if is_crossing {
            self.confirm_complete().await?;
        }
        self.replica.commit(self.files, self.state, is_crossing).await?;
        if is_crossing {
            self.entered();
        }
        Ok(())
    }

    /// The server says that the generation is complete: the next frames are those of the next one.
    fn leave(&mut self, place: Place) -> Result<()> {
        event!(GenerationCrossed, generation = place.generation, frames = self.state.metadata.synced_frame());
        self.empty_generations += 1;
        if self.empty_generations > EMPTY_GENERATIONS_MAX {
            return Err(Error::BadAnswer {
                request: format!("GET /sync/{}/{}", place.generation, place.start),
                problem: format!("{EMPTY_GENERATIONS_MAX} generations in a row without a frame"),
            });
        }
        self.position = Position::Leaving;
        Ok(())
    }

    /// The next generation has answered, and has no frame yet: enters it all the same.
    async fn enter_empty(&mut self) -> Result<(), Stop> {
        self.check_history().await?;
        self.confirm_complete().await?;
        self.state.store(self.files, |metadata| metadata.cross(0)).await?;
        self.entered();
        Ok(())
    }

    fn entered(&mut self) {
        self.walked.generations_crossed += 1;
        self.position = Position::Within;
    }

    /// Synced is at the end of the history.
    async fn finish(self) -> Result<Walked, Stop> {
        // Whatever has arrived was followed by this question.
        if !self.walked.has_news() {
            self.check_history().await?;
        }
        self.replica.end(self.files)?;
        self.state.synced_is_dirty = false;
        if self.state.metadata.synced_frame_no.is_none() {
            self.state.store(self.files, |metadata| metadata.synced_frame_no = Some(0)).await?;
        }
        event!(
            EndOfHistory,
            generation = self.state.metadata.synced_generation,
            frames = self.state.metadata.synced_frame()
        );
        Ok(self.walked)
    }

    /// Stops the walk if the server's history is another one by now.
    async fn check_history(&self) -> Result<(), Stop> {
        match history::changed(self.wire, self.state, &self.replica.connection).await? {
            Some(reason) => Err(Stop::Interrupted(reason)),
            None => Ok(()),
        }
    }

    /// Finds out why the server does not know the place where Synced is.
    async fn explain(&self, doubt: Error) -> Stop {
        history::confirm(self.wire, self.state, &self.replica.connection, doubt)
            .await
            .map_or_else(Stop::Failed, Stop::Interrupted)
    }

    /// What the server means by having no frame at `place`.
    async fn judge(&self, status: &Status, place: Place) -> Result<End, Stop> {
        match judge_end(status, &self.state.metadata, place, self.replica.uncommitted) {
            Ok(end) => Ok(end),
            Err(doubt @ Error::RemoteWentBack { .. }) => Err(self.explain(doubt).await),
            Err(doubt) => {
                // It makes no sense; of another history it may.
                self.check_history().await?;
                Err(Stop::Failed(doubt))
            }
        }
    }

    /// Asks once more for the end of the generation that is about to be left. When the server said first that it was complete, that may have been
    /// untrue and have become true since, with frames in between; now that the next one has answered, nothing is appended to it any more.
    async fn confirm_complete(&self) -> Result<(), Stop> {
        let metadata = &self.state.metadata;
        let (generation, start) = (metadata.synced_generation, metadata.synced_frame() + 1);
        if is_complete(&self.wire.frames(generation, start, start + 1).await?, generation) {
            return Ok(());
        }
        self.check_history().await?;
        Err(Stop::Failed(Error::BadAnswer {
            request: format!("GET /sync/{generation}/{start}"),
            problem: format!(
                "generation {generation} was said to be complete before frame {start}, and goes on"
            ),
        }))
    }
}
