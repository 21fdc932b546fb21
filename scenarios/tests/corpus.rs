//! The corpus: one test per file in `corpus/`, with the file's name. `plimsoll_sim::search::corpus` defines
//! the requirements for a file.
#![expect(clippy::disallowed_methods, reason = "the corpus consists of real files")]

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use plimsoll_sim::search::corpus::judge;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match trials(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"))) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("the corpus cannot be listed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn trials(directory: &Path) -> std::io::Result<Vec<Trial>> {
    let mut trials = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = name.strip_suffix(".jsonl").map(str::to_owned);
        trials.push(Trial::test(stem.clone().unwrap_or_else(|| name.clone()), move || {
            if stem.is_none() {
                return Err(failed(&name, "only schedule files, *.jsonl, belong here"));
            }
            let text = std::fs::read_to_string(&path)?;
            judge(&text).map_err(|defect| failed(&name, &defect.to_string()))
        }));
    }
    if trials.is_empty() {
        return Err(std::io::Error::other("it is empty"));
    }
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(trials)
}

/// The failure of a file. Its path is relative to the workspace's root, where the printed command is run.
fn failed(name: &str, message: &str) -> Failed {
    let path = format!("scenarios/corpus/{name}");
    format!("{path}: {message}\nreplay: cargo run --release -- replay {path}").into()
}
