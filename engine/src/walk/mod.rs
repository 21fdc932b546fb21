//! The walk: brings Synced to the end of the remote's log, through every closed generation.
//!
//! Synced's local WAL continues when the remote starts a new generation. The snapshot of the next generation
//! is the previous generation with all its frames. So the next frames apply on top, and no checkpoint is
//! needed. Entering a generation is one write of the metadata. It happens only after the next generation has
//! answered, and after the previous one has confirmed again that it is complete. So a single wrong answer
//! cannot move the client into a generation that does not exist, or past frames that it has not received.
//!
//! After frames have arrived, and before they become part of the replica or a generation is entered, the
//! engine asks the server whether its log is still the one that Synced replicates. If the server was restored
//! in between, the frames belong to another log.
//!
//! Only the server's status object marks the end of the log, never a short body. Only whole transactions
//! become part of the replica. The metadata names them once the WAL file is synced.
//!
//! | module | responsibility |
//! |---|---|
//! | `appender` | appends the arriving frames, up to the last whole transaction |
//! | `end` | interprets an answer without frames |

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
use end::{End, Place, classify_end, is_complete};

/// The maximum number of empty generations in a row that the engine accepts from a server.
const EMPTY_GENERATIONS_MAX: u32 = 1000;

/// The result of a walk.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Walked {
    pub(crate) frames: u64,
    pub(crate) body_bytes: u64,
    pub(crate) generations_crossed: u64,
    /// The reason why Synced was replaced before the walk; `None` if it was not.
    pub(crate) rebootstrapped: Option<RebootstrapReason>,
}

impl Walked {
    /// Whether the walk has changed Synced.
    pub(crate) fn has_news(&self) -> bool {
        self.frames > 0 || self.generations_crossed > 0 || self.rebootstrapped.is_some()
    }
}

/// How a walk ends.
pub(crate) enum Walk {
    /// At the remote's end.
    Ended(Walked),
    /// The server's log does not continue from Synced's end.
    Interrupted(RebootstrapReason),
}

/// Walks Synced to the remote's end. After an error Synced is at a commit frame between its old end and the
/// remote's end.
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

/// The reason why a walk stops before the end.
enum Stop {
    /// The server's log does not continue from Synced's end.
    Interrupted(RebootstrapReason),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The position of a walk. The metadata names the generation that Synced has reached, and the last frame in
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// In the generation that Synced has reached.
    Within,
    /// Before the next generation. The server reports that Synced's generation is complete; the next
    /// generation's answer must confirm it.
    Leaving,
}

/// A running walk. It requests frames, and each answer moves it: [`receive`](Self::receive),
/// [`leave`](Self::leave), [`enter_empty`](Self::enter_empty), [`finish`](Self::finish).
struct Walker<'a, R> {
    files: &'a Files,
    wire: &'a Wire<R>,
    state: &'a mut State,
    options: &'a Options,
    replica: Appender,
    position: Position,
    /// The number of generations in a row that the walk has left without a frame.
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
                FrameAnswer::End(status) => match (self.position, self.classify(&status, place).await?) {
                    // This answer about the new generation's end is older than the history check that lets
                    // the walk enter. Ask again.
                    (Position::Leaving, _) => self.enter_empty().await?,
                    (Position::Within, End::OfGeneration) => self.leave(place)?,
                    (Position::Within, End::OfHistory) => return self.finish().await,
                },
            }
        }
    }

    /// The place of the next frames.
    fn place(&self) -> Place {
        let metadata = &self.state.metadata;
        let (generation, frame_no) = match self.position {
            Position::Within => (metadata.synced_generation, metadata.synced_frame()),
            Position::Leaving => (metadata.synced_generation + 1, 0),
        };
        Place { generation, start: frame_no + 1 + self.replica.uncommitted }
    }

    /// Appends the frames that have arrived, and makes their whole transactions part of the replica.
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

    /// Names the whole transactions in the metadata. Between two generations the same write enters the next
    /// one.
    async fn commit(&mut self) -> Result<(), Stop> {
        // The check comes after the frames have arrived, so they belong to the checked log or to an earlier
        // one.
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

    /// The server reports that the generation is complete. The next frames are in the next generation.
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

    /// The next generation has answered and has no frame yet. Enters it.
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

    /// Ends the walk at the end of the log.
    async fn finish(self) -> Result<Walked, Stop> {
        // All frames arrived before this check.
        if !self.walked.has_news() {
            self.check_history().await?;
        }
        self.replica.end()?;
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

    /// Stops the walk if the server has another log now.
    async fn check_history(&self) -> Result<(), Stop> {
        match history::changed(self.wire, self.state, &self.replica.synced).await? {
            Some(reason) => Err(Stop::Interrupted(reason)),
            None => Ok(()),
        }
    }

    /// Finds out why the server does not know Synced's end.
    async fn explain(&self, doubt: Error) -> Stop {
        history::confirm(self.wire, self.state, &self.replica.synced, doubt)
            .await
            .map_or_else(Stop::Failed, Stop::Interrupted)
    }

    /// Interprets the server's answer that it has no frame at `place`.
    async fn classify(&self, status: &Status, place: Place) -> Result<End, Stop> {
        match classify_end(status, &self.state.metadata, place, self.replica.uncommitted) {
            Ok(end) => Ok(end),
            Err(doubt @ Error::RemoteWentBack { .. }) => Err(self.explain(doubt).await),
            Err(doubt) => {
                // The answer is inconsistent, unless the server has another log.
                self.check_history().await?;
                Err(Stop::Failed(doubt))
            }
        }
    }

    /// Asks again for the end of the generation that the walk is about to leave. The server's first answer
    /// may have been wrong and then have become true, with new frames in between. The next generation has
    /// answered by now, so no frame is appended to this one any more.
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
