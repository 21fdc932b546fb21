//! One test per file: the corpus of found bugs in `corpus/`, and the scripts in `scripts/`.
//!
//! `plimsoll_sim::search::corpus` defines the requirements for a file of the corpus. A script must break no invariant.
//! One that shows a known bug has the signature in its title (`# red: …`). It must break exactly that, until the bug is
//! fixed and the line is removed.
#![expect(clippy::disallowed_methods, reason = "the files are real")]

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use plimsoll_sim::schedule::Schedule;
use plimsoll_sim::search::corpus::judge;
use plimsoll_sim::world::run::{RunOptions, run};

type Judge = fn(&str) -> Result<(), String>;

/// The directories, the ending of their files, and what is required of a file's text.
const KINDS: [(&str, &str, Judge); 2] = [
    ("corpus", "jsonl", |text| judge(text).map_err(|defect| defect.to_string())),
    ("scripts", "txt", judge_script),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match KINDS.into_iter().map(trials).collect::<Result<Vec<_>, _>>() {
        Ok(trials) => libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code(),
        Err(error) => {
            eprintln!("the files cannot be listed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn trials((directory, ending, judge): (&'static str, &'static str, Judge)) -> std::io::Result<Vec<Trial>> {
    let mut trials = Vec::new();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = name.strip_suffix(&format!(".{ending}")).map(str::to_owned);
        trials.push(Trial::test(stem.clone().unwrap_or_else(|| name.clone()), move || {
            let path_in_workspace = format!("scenarios/{directory}/{name}");
            if stem.is_none() {
                return Err(failed(&path_in_workspace, &format!("only files *.{ending} belong here")));
            }
            judge(&std::fs::read_to_string(&path)?).map_err(|defect| failed(&path_in_workspace, &defect))
        }));
    }
    if trials.is_empty() {
        return Err(std::io::Error::other(format!("{directory} is empty")));
    }
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(trials)
}

fn judge_script(text: &str) -> Result<(), String> {
    let script = Schedule::parse(text).map_err(|error| error.to_string())?;
    let known = script.comments.head.iter().find_map(|line| line.strip_prefix("red: "));
    let broken = run(&script, RunOptions::default()).violation;
    match (broken, known) {
        (None, None) => Ok(()),
        (Some(violation), Some(known)) if violation.signature().to_string() == known => Ok(()),
        (Some(violation), _) => Err(format!("{violation}\nsignature: {}", violation.signature())),
        (None, Some(_)) => Err("it is clean: remove the line `# red: …`".to_owned()),
    }
}

/// The failure of a file. Its path is relative to the workspace's root, where the printed command is run.
fn failed(path: &str, message: &str) -> Failed {
    format!("{path}: {message}\nreplay: cargo run --release -- replay {path}").into()
}
