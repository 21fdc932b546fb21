//! `plimsoll corpus add`: adds a schedule that found a bug to the corpus, where it becomes a test.
//!
//! The command never overwrites a file. It changes nothing in the schedule except the comments at its top.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use plimsoll_sim::search::corpus::{DIRECTORY, begin_post_mortem, has_post_mortem};
use plimsoll_sim::search::generate::Profile;
use plimsoll_sim::text::counted;
use plimsoll_sim::world::run::{RunOptions, run};

use super::files::Source;
use super::output::outln;
use super::{Problem, STATUS_CLEAN, files};

#[derive(Debug, Args)]
pub struct Corpus {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a schedule file to the corpus.
    Add(Add),
}

impl Corpus {
    pub fn execute(self) -> Result<u8, Problem> {
        let Command::Add(add) = self.command;
        add.execute()
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plimsoll corpus add findings/seed-7.min.jsonl --name pushed-twice-after-a-lost-answer")]
struct Add {
    /// The schedule file, preferably the shrunk one.
    file: String,
    /// The name of the new file and of its test. It says what went wrong, in lower case letters, digits and
    /// hyphens. Defaults to the name of FILE.
    #[arg(long)]
    name: Option<String>,
    /// The directory of the corpus.
    #[arg(long, value_name = "DIR", default_value = DIRECTORY)]
    into: PathBuf,
}

impl Add {
    #[expect(clippy::disallowed_methods, reason = "the command uses real files, histories do not")]
    fn execute(self) -> Result<u8, Problem> {
        let name = self.name()?;
        let mut schedule = Source::File(self.file.clone()).schedule(Profile::default())?;
        if !self.into.is_dir() {
            let directory = self.into.display();
            return Err(Problem::Usage(format!(
                "there is no directory {directory}: change to the repository's root, or pass --into DIR"
            )));
        }
        let path = self.into.join(format!("{name}.jsonl"));
        let has_text = has_post_mortem(&schedule);
        if !has_text {
            begin_post_mortem(&mut schedule);
        }
        files::write_new(&path, &schedule.print())?;
        let faults = schedule.fault_count();
        outln!(
            "added {}: {}, {}",
            path.display(),
            counted(schedule.steps.len() as u64, "step"),
            counted(faults as u64, "fault")
        );
        let outcome = run(&schedule, RunOptions::default());
        match &outcome.violation {
            Some(violation) => outln!("  today      {violation}"),
            None => {
                outln!("  today      no violation: check that the schedule fails when the fix is reverted")
            }
        }
        if !has_text {
            outln!("  write      the post-mortem at the top of the file: the test requires it");
        }
        if outcome.violation.is_some() {
            outln!("  fix        the engine");
        }
        outln!("  test       cargo test --release -p plimsoll-scenarios --test corpus {name}");
        Ok(STATUS_CLEAN)
    }

    /// The name of the file and of its test.
    fn name(&self) -> Result<String, Problem> {
        let name = self.name.clone().unwrap_or_else(|| {
            let file_name = Path::new(&self.file).file_name().map(|name| name.to_string_lossy().into_owned());
            let file_name = file_name.unwrap_or_default();
            let stem = file_name.strip_suffix(".jsonl").unwrap_or(&file_name);
            stem.strip_suffix(".min").unwrap_or(stem).to_owned()
        });
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.starts_with('-') || !name.chars().all(is_plain) {
            return Err(Problem::Usage(format!(
                "{name:?} is not a valid name: pass --name with lower case letters, digits and hyphens, and no hyphen first"
            )));
        }
        Ok(name)
    }
}
