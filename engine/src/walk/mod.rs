//! The walk: brings Synced to the end of the remote's log, through every closed generation.
//!
//! Synced's local WAL continues when the remote starts a new generation. The snapshot of the next generation
//! is the previous generation with all its frames. So the next frames apply on top, and no checkpoint is
//! needed. Entering a generation is one write of the metadata. It happens only after the next generation has
//! answered, and after the previous one has confirmed again that it is complete. So a single wrong answer
//! cannot move the client into a generation that does not exist, or past frames that it has not received.
//!
//! Frames become part of the replica, and a generation is entered, only if that is known to continue the log that
//! Synced replicates: by the frames' checksums, by what the server says of the end of the generation before, or
//! because the server still has Synced's newest frame (`history`). If the server was restored in between, or if a
//! copy of it answers, the frames belong to another log.
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

use crate::chain::{Break, Checksums, classify_break};
use crate::error::{Error, Result};
use crate::events::event;
use crate::files::Files;
use crate::history::{self, Verdict};
use crate::metadata::Attachment;
use crate::options::Options;
use crate::progress::Progress;
use crate::proof::{Comparison, Origin};
use crate::protocol::Status;
use crate::remote::Remote;
use crate::report::RebootstrapReason;
use crate::reset::cut_local_tail;
use crate::state::State;
use crate::wal::FRAME_BYTES;
use crate::wire::{BodyStream, FrameAnswer, Wire};

use appender::{Appended, Appender, Broken};
use end::{End, Place, classify_end, is_complete};

/// The maximum number of empty generations in a row that the engine accepts from a server.
const EMPTY_GENERATIONS_MAX: u32 = 1000;
/// How many answers in a row must say that the log ends, if something may be given up because of them. A replica
/// that lags behind often lags for several answers.
const ENDS_SEEN_MIN: u32 = 4;
/// How many answers in a row that say so are requested again because another server has answered in between.
const ENDS_SEEN_MAX: u32 = 6;

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
    let mut is_second_try = false;
    loop {
        let replica = Appender::begin(files, state)?;
        let walker = Walker {
            files,
            wire,
            state: &mut *state,
            options,
            replica,
            position: Position::Within,
            empty_generations: 0,
            ends_seen: 0,
            walked: Walked::default(),
        };
        match walker.run().await {
            Ok(walked) => return Ok(WalkOutcome::Ended(walked)),
            Err(Stop::LogDiverged(reason)) => return Ok(WalkOutcome::LogDiverged(reason)),
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::ChecksumsUnusable { generation }) => {
                tracing::debug!(generation, "the checksums of the server's frames do not chain");
                state.learn_checksums(generation, Checksums::Unusable);
            }
            Err(Stop::Contradicted(error)) if is_second_try => return Err(error),
            Err(Stop::Contradicted(error)) => {
                tracing::debug!(%error, "the server's answers contradict each other; the walk starts again");
                is_second_try = true;
            }
        }
        cut_local_tail(files, state).await?;
    }
}

/// The reason why a walk stops before the end.
enum Stop {
    /// The server's log does not continue from Synced's end.
    LogDiverged(RebootstrapReason),
    /// The server's frames of this generation have checksums that do not chain. The walk starts again and proves
    /// the log without them.
    ChecksumsUnusable {
        generation: u64,
    },
    /// The server's answers contradict each other, although it has the log that Synced replicates. One of them was
    /// wrong, or the server was restored in between to a state that Synced has reached. The walk starts again,
    /// once.
    Contradicted(Error),
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
    /// How many answers in a row have ended the walk where it is.
    ends_seen: u32,
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
                FrameAnswer::End(status, origin) => {
                    match (self.position, self.classify(&status, place).await?) {
                        // The next generation exists and has sent no frame. The answer is older than the checks
                        // that follow. So the walk enters the generation and asks it again where it ends.
                        (Position::Leaving, _) => self.enter_empty(place, &origin).await?,
                        (Position::Within, End::OfGeneration) => self.leave(place, &origin).await?,
                        (Position::Within, End::OfLog) => {
                            if self.is_end_proved(&origin).await? {
                                return self.finish().await;
                            }
                        }
                    }
                }
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
        let origin = body.origin().clone();
        if place.start == 1 {
            let is_proved = self.proves_start(place, &origin).await?;
            self.replica.begin_generation(is_proved, self.state.checksums(place.generation));
        }
        self.state.synced_is_dirty = true;
        let received = match self.replica.append(body, place.start, self.options.pull_batch_frames).await? {
            Appended::Frames(received) => received,
            Appended::Broken(broken) => return Err(self.explain_break(place.generation, broken).await),
        };
        self.state.learn_checksums(place.generation, self.replica.chain.checksums());
        self.walked.frames += received;
        self.walked.body_bytes += received * FRAME_BYTES as u64;
        (self.empty_generations, self.ends_seen) = (0, 0);
        self.options.on_progress.report(Progress::Pull {
            frames: self.walked.frames,
            body_bytes: self.walked.body_bytes,
            generation: place.generation,
        });
        if self.replica.whole_frames > 0 {
            self.commit(origin).await?;
        }
        Ok(())
    }

    /// Makes the whole transactions that have arrived part of the replica. Between two generations the same
    /// write of the metadata enters the next one.
    async fn commit(&mut self, origin: Origin) -> Result<(), Stop> {
        let is_crossing = self.position == Position::Leaving;
        if self.replica.is_proved {
            self.state.proved_instance = origin.instance;
        } else {
            // The frames arrived before this check, so they cannot be of a log that is newer than the checked
            // one.
            self.check_history().await?;
            if is_crossing {
                self.confirm_complete().await?;
            }
        }
        self.replica.commit(self.files, self.state, is_crossing).await?;
        if is_crossing {
            self.entered();
        }
        Ok(())
    }

    /// The server reports that the generation is complete. The next frames are in the next generation.
    async fn leave(&mut self, place: Place, origin: &Origin) -> Result<(), Stop> {
        event!(GenerationCrossed, generation = place.generation, frames = self.state.metadata.synced_frame());
        self.empty_generations += 1;
        if self.empty_generations > EMPTY_GENERATIONS_MAX {
            return Err(Stop::Failed(Error::BadAnswer {
                request: format!("GET /sync/{}/{}", place.generation, place.start),
                problem: format!("{EMPTY_GENERATIONS_MAX} generations in a row without a frame"),
            }));
        }
        if origin.instance.is_none() {
            // A server that does not name its runs will not prove where the next generation begins. Then the
            // server must have Synced's newest frame before and after it sends the next ones.
            self.check_history().await?;
        }
        self.position = Position::Leaving;
        Ok(())
    }

    /// The next generation has answered and has no frame yet. Enters it.
    async fn enter_empty(&mut self, place: Place, origin: &Origin) -> Result<(), Stop> {
        if self.proves_start(place, origin).await? {
            self.state.proved_instance = origin.instance.clone();
        } else {
            self.check_history().await?;
            self.confirm_complete().await?;
        }
        self.state.store(self.files, |metadata| metadata.cross(0)).await?;
        self.entered();
        Ok(())
    }

    fn entered(&mut self) {
        self.walked.generations_crossed += 1;
        self.position = Position::Within;
    }

    /// Whether an answer about the first frame of a generation proves that the generation begins where Synced
    /// ends. Stops the walk if it begins elsewhere.
    async fn proves_start(&mut self, place: Place, origin: &Origin) -> Result<bool, Stop> {
        match origin.compare(place.generation, self.state.metadata.anchor) {
            Comparison::Matches => Ok(true),
            Comparison::Unknown => Ok(false),
            Comparison::Differs => {
                let suspicion = Error::BadAnswer {
                    request: format!("GET /sync/{}/1", place.generation),
                    problem: format!(
                        "generation {} begins after another frame than the last one that this client has",
                        place.generation
                    ),
                };
                Err(self.explain(suspicion).await)
            }
        }
    }

    /// Finds out why a frame does not continue the one before it: requests both in one answer.
    async fn explain_break(&mut self, generation: u64, broken: Broken) -> Stop {
        let Broken { frame_no, before, stamp } = broken;
        let is_undecided = self.state.checksums(generation) == Checksums::Undecided;
        let pair = match self.wire.frames(generation, frame_no - 1, frame_no + 1).await {
            Ok(FrameAnswer::Frames(body)) => match history::read_frames(body, 2).await {
                Ok(pair) => pair,
                Err(error) => return Stop::Failed(error),
            },
            Ok(FrameAnswer::End(..)) => Vec::new(),
            Ok(FrameAnswer::Gone(suspicion)) => return self.explain(suspicion).await,
            Err(error) => return Stop::Failed(error),
        };
        match classify_break(before, stamp, &pair) {
            Break::ChecksumsUnusable if is_undecided => Stop::ChecksumsUnusable { generation },
            Break::ChecksumsUnusable | Break::Contradiction => {
                let problem = format!("frame {frame_no} does not continue frame {}", frame_no - 1);
                let request = format!("GET /sync/{generation}/{frame_no}");
                self.explain(Error::BadAnswer { request, problem }).await
            }
        }
    }

    /// Whether the server's answer that its log ends here counts. Otherwise the walk asks again. Stops the walk if
    /// the answer shows that the generation begins elsewhere.
    async fn is_end_proved(&mut self, origin: &Origin) -> Result<bool, Stop> {
        self.ends_seen += 1;
        if self.state.metadata.synced_frame() == 0 && self.proves_start(self.place(), origin).await? {
            self.state.proved_instance = origin.instance.clone();
        }
        let is_of_proved = |state: &State| origin.instance == state.proved_instance;
        // A walk of a server that does not name its runs has checked the history after its last frames arrived.
        let is_checked =
            if origin.instance.is_some() { is_of_proved(self.state) } else { self.walked.has_news() };
        if !is_checked {
            self.check_history().await?;
            if origin.instance.is_some() && !is_of_proved(self.state) && self.ends_seen < ENDS_SEEN_MAX {
                // Another server has shown that it has Synced's log.
                return Ok(false);
            }
        }
        if !self.has_come_to_former_end().await? {
            return Ok(false);
        }
        // The replica replaces one of another log. The rebase that follows gives up what the server has
        // acknowledged and this log lacks. So a single answer does not decide where this log ends.
        let metadata = &self.state.metadata;
        let gives_up = metadata.history_changed && metadata.attachment == Attachment::Detached;
        Ok(!gives_up || self.ends_seen >= ENDS_SEEN_MIN)
    }

    /// Whether the walk has come to the newest frame that Synced had before an export of the same log took its place. If
    /// the server has that frame, an answer that the log ends before it was behind. Stops the walk if the server has
    /// another log by now.
    async fn has_come_to_former_end(&mut self) -> Result<bool, Stop> {
        let Some(former) = self.state.metadata.former_anchor else { return Ok(true) };
        if history::has_other_log(self.wire, &self.state.metadata).await? {
            return Err(Stop::LogDiverged(RebootstrapReason::HistoryChanged));
        }
        let metadata = &self.state.metadata;
        let reached = (metadata.synced_generation, metadata.synced_frame());
        if reached >= (former.generation, former.frame_no) {
            return Ok(true);
        }
        if self.ends_seen < ENDS_SEEN_MAX {
            return Ok(false);
        }
        Err(Stop::Contradicted(Error::BadAnswer {
            request: format!("GET /sync/{}/{}", reached.0, reached.1 + 1),
            problem: format!(
                "the log is said to end here, but the server has frame {} of generation {}",
                former.frame_no, former.generation
            ),
        }))
    }

    /// Ends the walk at the end of the log.
    async fn finish(self) -> Result<Walked, Stop> {
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
    async fn check_history(&mut self) -> Result<(), Stop> {
        match history::changed(self.wire, self.state, &self.replica.synced).await? {
            Some(reason) => Err(Stop::LogDiverged(reason)),
            None => Ok(()),
        }
    }

    /// Finds out why the server's log seems not to contain Synced's end.
    async fn explain(&mut self, suspicion: Error) -> Stop {
        match history::confirm(self.wire, self.state, &self.replica.synced, suspicion).await {
            Ok(Verdict::Diverged(reason)) => Stop::LogDiverged(reason),
            Ok(Verdict::Unfounded(suspicion)) => Stop::Contradicted(suspicion),
            Err(error) => Stop::Failed(error),
        }
    }

    /// Interprets the server's answer that it has no frame at `place`.
    async fn classify(&mut self, status: &Status, place: Place) -> Result<End, Stop> {
        match classify_end(status, &self.state.metadata, place, self.replica.uncommitted) {
            Ok(end) => Ok(end),
            Err(suspicion @ Error::RemoteWentBack { .. }) => Err(self.explain(suspicion).await),
            Err(error) => {
                // The answer is inconsistent, unless the server has another log.
                self.check_history().await?;
                Err(Stop::Contradicted(error))
            }
        }
    }

    /// Asks the server again whether the generation that the walk is about to leave ends after Synced's last
    /// frame. The first answer may have been wrong: the server may have appended further frames to the
    /// generation, and only then have completed it. By now the server has answered about the next generation,
    /// so it appends no more frames to this one.
    async fn confirm_complete(&mut self) -> Result<(), Stop> {
        let metadata = &self.state.metadata;
        let (generation, start) = (metadata.synced_generation, metadata.synced_frame() + 1);
        if is_complete(&self.wire.frames(generation, start, start + 1).await?, generation) {
            return Ok(());
        }
        self.check_history().await?;
        Err(Stop::Contradicted(Error::BadAnswer {
            request: format!("GET /sync/{generation}/{start}"),
            problem: format!(
                "the server said that generation {generation} ends before frame {start}, but it does not"
            ),
        }))
    }
}
