//! The `plimsoll explore` command. It forks, so it runs as a separate process here.

use std::process::{Command, Output};

fn explore(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .arg("explore")
        .args(arguments)
        .output()
        .expect("the command starts")
}

/// The number before `word` in the output.
fn number_before(output: &Output, word: &str) -> u64 {
    let text = String::from_utf8_lossy(&output.stdout);
    let before = text.split(word).next().expect("a split has a first part");
    let digits = before.rsplit([' ', '\n']).next().expect("a split has a last part");
    digits.replace(',', "").parse().unwrap_or_else(|_| panic!("no number before `{word}`: {text}"))
}

#[test]
fn a_local_commit_is_crashed_in_every_way_and_again_during_recovery() {
    let output = explore(&["--only", "local commit", "--jobs", "2"]);
    assert!(output.status.success(), "{output:?}");
    assert!(number_before(&output, " histories") > 300, "{output:?}");
    assert!(number_before(&output, " of them crashed again") > 200, "{output:?}");
}

#[test]
fn unexplored_units_are_reported() {
    let output = explore(&["--only", "sync", "--jobs", "1", "--minutes", "0.001"]);
    assert!(output.status.success(), "{output:?}");
    assert!(number_before(&output, " units not explored for lack of time") > 0, "{output:?}");
}
