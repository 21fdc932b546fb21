//! The corpus: schedules that once broke an invariant. Each file begins with a post-mortem.
//!
//! A file of the corpus is valid if its history breaks no invariant, its post-mortem says why the file
//! exists, and at least one of its faults is injected (if it has any). Not all faults must be reached,
//! because a fixed engine may never reach the place of a later one.

use crate::schedule::{Schedule, ScheduleError};
use crate::world::run::{RunOptions, run};

/// The directory of the corpus, relative to the repository's root.
pub const DIRECTORY: &str = "scenarios/corpus";
/// The start of a post-mortem.
const POST_MORTEM: &str = "Post-mortem:";
/// The placeholder in a skeleton that the author must replace.
const UNWRITTEN: &str = "TO BE WRITTEN";

/// The reason why a file of the corpus is not valid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// The file is not a schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The file does not say why it exists.
    #[error("it has no post-mortem: a comment above the header that begins with `# {POST_MORTEM}`")]
    NoPostMortem,
    /// The post-mortem still has placeholders.
    #[error("its post-mortem is not written yet: replace each `{UNWRITTEN}` in its first lines")]
    Unwritten,
    /// The schedule breaks an invariant again.
    #[error("{violation}\nsignature: {signature}")]
    Broken {
        /// The violation and the step where it was found.
        violation: String,
        /// The signature of the violation.
        signature: String,
    },
    /// The file has faults, but no fault is reached.
    #[error(
        "none of its {0} faults is reached, so the file tests nothing: move the faults to places that match the post-mortem"
    )]
    NoFaultReached(usize),
}

/// Judges the text of one file of the corpus.
///
/// # Errors
/// The first [`Defect`] of the history. If the history has none, the first defect of the file.
pub fn judge(text: &str) -> Result<(), Defect> {
    let schedule = Schedule::parse(text)?;
    let outcome = run(&schedule, RunOptions::default());
    if let Some(violation) = outcome.violation {
        let signature = violation.signature().to_string();
        return Err(Defect::Broken { violation: violation.to_string(), signature });
    }
    let faults = schedule.fault_count();
    if faults > 0 && outcome.counts.faults_unreached == faults as u64 {
        return Err(Defect::NoFaultReached(faults));
    }
    if !has_post_mortem(&schedule) {
        return Err(Defect::NoPostMortem);
    }
    if schedule.comments.head.iter().any(|line| line.contains(UNWRITTEN)) {
        return Err(Defect::Unwritten);
    }
    Ok(())
}

/// Whether the comments before the header contain a post-mortem.
pub fn has_post_mortem(schedule: &Schedule) -> bool {
    schedule.comments.head.iter().any(|line| line.starts_with(POST_MORTEM))
}

/// Puts the skeleton of a post-mortem before the existing comments.
pub fn begin_post_mortem(schedule: &mut Schedule) {
    let skeleton = [
        format!("{POST_MORTEM} {UNWRITTEN}: the events, in order."),
        format!("Cause: {UNWRITTEN}: the reason in the engine."),
        format!("Fixed: {UNWRITTEN}: the new behaviour of the engine, and where it is."),
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
        schedule.print().replace(UNWRITTEN, "written")
    }

    fn pull() -> Schedule {
        Schedule::new(Header::new(1), vec![Step::new(1, Action::Pull { client: 0 })])
    }

    #[test]
    fn a_passing_history_with_a_post_mortem_has_no_defect() {
        judge(&written(pull())).expect("the file has no defect");
    }

    #[test]
    fn a_file_without_a_written_post_mortem_is_refused() {
        assert!(matches!(judge(&pull().print()), Err(Defect::NoPostMortem)));
        let mut schedule = pull();
        begin_post_mortem(&mut schedule);
        assert!(matches!(judge(&schedule.print()), Err(Defect::Unwritten)));
    }

    #[test]
    fn a_file_that_reaches_none_of_its_faults_is_refused() {
        let mut schedule = pull();
        schedule.steps[0].faults.push(crate::fault::Fault::CrashSuspended {
            nth: 1_000_000,
            kind: crate::fault::CrashKind::Kill,
        });
        assert!(matches!(judge(&written(schedule)), Err(Defect::NoFaultReached(1))));
    }

    #[test]
    fn a_malformed_file_is_refused_with_its_line() {
        let defect = judge("# Post-mortem: of what?\nnonsense").expect_err("the file is not a schedule");
        assert!(defect.to_string().starts_with("line 2"), "{defect}");
    }
}
