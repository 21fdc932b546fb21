//! The corpus: schedules that once broke an invariant, each in a file that begins with a post-mortem.
//!
//! A file of the corpus guards something only while its history holds, its post-mortem says why it is there, and at least one of its
//! faults, if it has any, still strikes. Not every fault has to: a mended engine may never come to the place of a later one.

use crate::schedule::{Schedule, ScheduleError};
use crate::world::run::{RunOptions, run};

/// Where the corpus is, seen from the repository's root.
pub const DIRECTORY: &str = "scenarios/corpus";
/// How a post-mortem begins.
const POST_MORTEM: &str = "Post-mortem:";
/// What stands in a skeleton where its author has to write.
const UNWRITTEN: &str = "TO BE WRITTEN";

/// Why a file of the corpus does not hold, or guards nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// It is no schedule file.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Nobody says why it is there.
    #[error("it has no post-mortem: a comment above the header that begins with `# {POST_MORTEM}`")]
    NoPostMortem,
    /// Its post-mortem is still a skeleton.
    #[error("its post-mortem is not written yet: replace each `{UNWRITTEN}` in its first lines")]
    Unwritten,
    /// What it was kept for is back.
    #[error("{violation}\nsignature: {signature}")]
    Broken {
        /// What is broken, and where.
        violation: String,
        /// Its signature.
        signature: String,
    },
    /// It has faults, and none of them finds its place any more.
    #[error(
        "none of its {0} faults strikes any more, so that it guards nothing: move them to where they mean what the post-mortem says"
    )]
    NothingStrikes(usize),
}

/// Judges the text of one file of the corpus.
///
/// # Errors
/// The first [`Defect`] of its history, else of the file.
pub fn judge(text: &str) -> Result<(), Defect> {
    let schedule = Schedule::parse(text)?;
    let outcome = run(&schedule, RunOptions::default());
    if let Some(violation) = outcome.violation {
        let signature = violation.signature().to_string();
        return Err(Defect::Broken { violation: violation.to_string(), signature });
    }
    let faults = schedule.fault_count();
    if faults > 0 && outcome.counts.faults_unreached == faults as u64 {
        return Err(Defect::NothingStrikes(faults));
    }
    if !has_post_mortem(&schedule) {
        return Err(Defect::NoPostMortem);
    }
    if schedule.comments.head.iter().any(|line| line.contains(UNWRITTEN)) {
        return Err(Defect::Unwritten);
    }
    Ok(())
}

/// Whether its first comments have one.
pub fn has_post_mortem(schedule: &Schedule) -> bool {
    schedule.comments.head.iter().any(|line| line.starts_with(POST_MORTEM))
}

/// Puts the skeleton of a post-mortem above what the file says already.
pub fn begin_post_mortem(schedule: &mut Schedule) {
    let skeleton = [
        format!("{POST_MORTEM} {UNWRITTEN}: what happened, in the order in which it happened."),
        format!("Cause: {UNWRITTEN}: why the engine let it happen."),
        format!("Mended: {UNWRITTEN}: what the engine does now, and where."),
        String::new(),
    ];
    schedule.comments.head.splice(0..0, skeleton);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Action, Header, Step};

    fn written(mut schedule: Schedule) -> String {
        begin_post_mortem(&mut schedule);
        schedule.print().replace(UNWRITTEN, "it is told here")
    }

    fn pull() -> Schedule {
        Schedule::new(Header::new(1), vec![Step::new(1, Action::Pull { client: 0 })])
    }

    #[test]
    fn a_history_that_holds_with_its_post_mortem_has_no_defect() {
        judge(&written(pull())).expect("it holds");
    }

    #[test]
    fn a_file_without_a_written_post_mortem_is_not_let_pass() {
        assert!(matches!(judge(&pull().print()), Err(Defect::NoPostMortem)));
        let mut schedule = pull();
        begin_post_mortem(&mut schedule);
        assert!(matches!(judge(&schedule.print()), Err(Defect::Unwritten)));
    }

    #[test]
    fn a_file_none_of_whose_faults_strikes_is_not_let_pass() {
        let mut schedule = pull();
        schedule.steps[0].faults.push(crate::fault::Fault::CrashSuspended {
            nth: 1_000_000,
            kind: crate::fault::CrashKind::Kill,
        });
        assert!(matches!(judge(&written(schedule)), Err(Defect::NothingStrikes(1))));
    }

    #[test]
    fn what_is_no_schedule_is_named() {
        let defect = judge("# Post-mortem: of what?\nnonsense").expect_err("it is no schedule");
        assert!(defect.to_string().starts_with("line 2"), "{defect}");
    }
}
