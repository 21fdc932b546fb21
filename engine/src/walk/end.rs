//! Interprets an answer without frames: pure decisions about the end of a generation and of the log.

use crate::error::{Error, Result};
use crate::history;
use crate::metadata::Metadata;
use crate::protocol::Status;
use crate::wire::FrameAnswer;

/// The place at which the walk requests frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) generation: u64,
    pub(super) start: u64,
}

/// What ends at a place without a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The generation. The log continues in a later one.
    OfGeneration,
    /// The log.
    OfLog,
}

/// Interprets the server's answer that it has no frame at `place`.
pub(super) fn classify_end(
    status: &Status,
    metadata: &Metadata,
    place: Place,
    uncommitted: u64,
) -> Result<End> {
    let Place { generation, start } = place;
    let contradiction =
        |problem: String| Error::BadAnswer { request: format!("GET /sync/{generation}/{start}"), problem };
    let local_generation = metadata.synced_generation;
    let is_behind = |frame_no: u64| status.max_frame_no < frame_no;
    if history::went_back(status, metadata) {
        return Err(Error::RemoteWentBack {
            remote_generation: status.generation,
            remote_frame_no: status.max_frame_no,
            local_generation,
            local_frame_no: metadata.synced_frame(),
        });
    }
    if status.generation < generation {
        return Err(contradiction(format!(
            "generation {generation} has not begun, but the server said that the one before is complete"
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
    Ok(End::OfLog)
}

/// Whether an answer confirms that `generation` is complete. The request was for the frame after the last one
/// of that generation.
pub(super) fn is_complete<B>(answer: &FrameAnswer<B>, generation: u64) -> bool {
    match answer {
        FrameAnswer::End(status, _) => status.generation > generation,
        // The generation was pruned meanwhile, and only complete generations are pruned.
        FrameAnswer::Gone(_) => true,
        FrameAnswer::Frames(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::Origin;

    fn at(generation: u64, max_frame_no: u64) -> Status {
        Status { baton: None, status: String::new(), generation, max_frame_no }
    }

    /// Synced is at frame 7 of generation 3.
    fn synced() -> Metadata {
        Metadata { synced_generation: 3, synced_frame_no: Some(7), ..Metadata::bootstrapping("a-1".into()) }
    }

    const NEXT: Place = Place { generation: 3, start: 8 };
    const ENTERING: Place = Place { generation: 4, start: 1 };

    #[test]
    fn the_history_ends_where_the_servers_last_frame_is_synceds() {
        assert_eq!(classify_end(&at(3, 7), &synced(), NEXT, 0).unwrap(), End::OfLog);
        assert_eq!(classify_end(&at(4, 0), &synced(), ENTERING, 0).unwrap(), End::OfLog);
    }

    #[test]
    fn a_generation_ends_where_the_server_is_in_a_later_one() {
        assert_eq!(classify_end(&at(4, 0), &synced(), NEXT, 0).unwrap(), End::OfGeneration);
        assert_eq!(classify_end(&at(5, 0), &synced(), ENTERING, 0).unwrap(), End::OfGeneration);
    }

    #[test]
    fn a_server_that_is_not_as_far_as_synced_went_back() {
        for (status, place) in [(at(3, 6), NEXT), (at(2, 100), NEXT), (at(3, 6), ENTERING)] {
            let error = classify_end(&status, &synced(), place, 0).unwrap_err();
            let Error::RemoteWentBack { remote_frame_no, local_generation: 3, local_frame_no: 7, .. } = error
            else {
                panic!("{error}")
            };
            assert_eq!(remote_frame_no, status.max_frame_no);
        }
    }

    #[test]
    fn what_contradicts_an_earlier_answer_is_a_bad_answer() {
        let in_transaction = Place { generation: 3, start: 10 };
        for (status, place, uncommitted, expected) in [
            (at(3, 7), ENTERING, 0, "generation 4 has not begun"),
            (
                at(3, 8),
                in_transaction,
                2,
                "the last frame is said to be 8, but the server has given out frame 9",
            ),
            (at(3, 9), in_transaction, 2, "ends inside a transaction, 2 frames into it"),
            (at(4, 0), in_transaction, 2, "ends inside a transaction, 2 frames into it"),
            (at(3, 8), NEXT, 0, "no frame 8, and yet the last frame is said to be 8"),
        ] {
            let error = classify_end(&status, &synced(), place, uncommitted).unwrap_err();
            assert!(
                matches!(error, Error::BadAnswer { .. }) && error.to_string().contains(expected),
                "{error}"
            );
        }
    }

    #[test]
    fn a_generation_is_complete_when_a_later_one_has_begun_or_it_is_gone() {
        let answer = |status| FrameAnswer::<()>::End(status, Origin::default());
        assert!(is_complete(&answer(at(4, 0)), 3));
        assert!(!is_complete(&answer(at(3, 7)), 3));
        assert!(is_complete(&FrameAnswer::<()>::Gone(Error::OperationInProgress), 3));
    }
}
