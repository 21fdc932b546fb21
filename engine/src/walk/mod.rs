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
//! become part of the replica. This happens with the write of the metadata that names their frames, after the
//! WAL file was synced.
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
pub(crate) enum WalkOutcome {
    /// Synced is at the remote's end.
    Ended(Walked),
    /// The server's log does not continue from Synced's end.
    LogDiverged(RebootstrapReason),
}

/// Walks Synced to the remote's end. After an error Synced is at a commit frame between its old end and the
/// remote's end.
pub(crate) async fn walk<R: Remote>(
    files: &Files,
    wire: &Wire<R>,
    state: &mut State,
    options: &Options,
) -> Result<WalkOutcome> {
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
        Ok(walked) => Ok(WalkOutcome::Ended(walked)),
        Err(Stop::LogDiverged(reason)) => Ok(WalkOutcome::LogDiverged(reason)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// The reason why a walk stops before the end.
enum Stop {
    /// The server's log does not continue from Synced's end.
    LogDiverged(RebootstrapReason),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The position of a walk, relative to the generation and frame that Synced has reached according to the
/// metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// In the generation that Synced has reached. The walk requests the frame after Synced's last one.
    Within,
    /// Between Synced's generation, which is complete according to the server, and the next one. The walk
    /// requests the first frame of the next generation. After the answer, the server must report again that
    /// Synced's generation is complete. Only then does the walk enter the next one.
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
                FrameAnswer::Gone(suspicion) => return Err(self.explain(suspicion).await),
                FrameAnswer::End(status) => match (self.position, self.classify(&status, place).await?) {
                    // The next generation exists and has sent no frame. The history is checked now, and the
                    // answer is older than that check. So the walk enters the generation and asks it again
                    // where it ends.
                    (Position::Leaving, _) => self.enter_empty().await?,
                    (Position::Within, End::OfGeneration) => self.leave(place)?,
                    (Position::Within, End::OfLog) => return self.finish().await,
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
        if self.replica.whole_frames > 0 {
            self.commit().await?;
        }
        Ok(())
    }

    /// Makes the whole transactions that have arrived part of the replica. Between two generations the same
    /// write of the metadata enters the next one.
    async fn commit(&mut self) -> Result<(), Stop> {
        // The frames arrived before this check, so they cannot be of a log that is newer than the checked
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
        // A walk that has changed Synced has checked the history after its last frames arrived.
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
            Some(reason) => Err(Stop::LogDiverged(reason)),
            None => Ok(()),
        }
    }

    /// Finds out why the server's log seems not to contain Synced's end.
    async fn explain(&self, suspicion: Error) -> Stop {
        history::confirm(self.wire, self.state, &self.replica.synced, suspicion)
            .await
            .map_or_else(Stop::Failed, Stop::LogDiverged)
    }

    /// Interprets the server's answer that it has no frame at `place`.
    async fn classify(&self, status: &Status, place: Place) -> Result<End, Stop> {
        match classify_end(status, &self.state.metadata, place, self.replica.uncommitted) {
            Ok(end) => Ok(end),
            Err(suspicion @ Error::RemoteWentBack { .. }) => Err(self.explain(suspicion).await),
            Err(error) => {
                // The answer is inconsistent, unless the server has another log.
                self.check_history().await?;
                Err(Stop::Failed(error))
            }
        }
    }

    /// Asks the server again whether the generation that the walk is about to leave ends after Synced's last
    /// frame. The first answer may have been wrong: the server may have appended further frames to the
    /// generation, and only then have completed it. By now the server has answered about the next generation,
    /// so it appends no more frames to this one.
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
                "the server said that generation {generation} ends before frame {start}, but it does not"
            ),
        }))
    }
}
