//! Usage, exit statuses and error messages of the command.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The command with `arguments`, in an environment without settings for shards or colours.
pub fn plimsoll(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(arguments);
    for name in ["PLIMSOLL_SHARD", "JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID", "CARGO", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

pub fn output(arguments: &[&str]) -> Output {
    plimsoll(arguments).output().expect("the command starts")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("the command prints text")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("the command prints text")
}

/// An empty directory for one test.
pub fn directory(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    if directory.exists() {
        std::fs::remove_dir_all(&directory).expect("the files of an earlier run can be removed");
    }
    std::fs::create_dir_all(&directory).expect("the directory can be created");
    directory
}

fn with_input(arguments: &[&str], input: &str) -> Output {
    let mut child = plimsoll(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    child
        .stdin
        .take()
        .expect("the child has a stdin")
        .write_all(input.as_bytes())
        .expect("the child reads its stdin");
    child.wait_with_output().expect("the child exits")
}

const HEADER: &str = r#"{"format":1,"key":7,"clients":2,"pull_batch_frames":64,"push_batch_statements_max":1000,"synced_wal_frames_max":1000,"chunk_bytes":16384}"#;

/// A kill after a rename leaves the directory unsynced, and the timeline shows the data at risk.
#[test]
fn a_clean_history_replays_in_lanes_and_exits_with_0() {
    let killed = r#"{"id":3,"action":{"pull":{"client":0}},"faults":[{"crash":{"place":{"file":"metadata","operation":"rename","nth":1},"moment":"after","kind":"kill"}}]}"#;
    let sync = r#"{"id":4,"action":{"sync":{"client":0}}}"#;
    let output = with_input(&["replay", "-"], &format!("{HEADER}\n{killed}\n{sync}\n"));
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    for part in [
        "application",
        "client files",
        "network",
        "remote",
        "step 3: client 0 pulls",
        "! ",
        "0: kill after the 1st rename of metadata",
        "power loss now: client 0 could lose metadata",
        "client 0 → GET /info",
        "\nclean",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    assert!(!text.contains('\x1b'), "no colours without a terminal");
}

#[test]
fn a_page_can_be_printed() {
    let output = output(&["replay", "7", "--html", "-"]);
    assert_eq!(output.status.code(), Some(0));
    let page = stdout(&output);
    assert!(page.starts_with("<!") && page.trim_end().ends_with("</html>"), "{page}");
}

#[test]
fn a_fault_that_is_not_reached_is_named() {
    let step = r#"{"id":3,"action":{"pull":{"client":0}},"faults":[{"crash":{"place":{"file":"metadata","operation":"rename","nth":99},"moment":"after","kind":"kill"}}]}"#;
    let output = with_input(&["replay", "-"], &format!("# by hand\n{HEADER}\n{step}\n"));
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(text.contains("not reached in step 3: kill after the 99th rename of metadata"), "{text}");
}

#[test]
fn a_history_is_the_same_here_and_in_another_process() {
    let output = output(&["replay", "11", "--check-determinism"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stdout(&output).contains("deterministic: two runs in this process and one in another are the same")
    );
}

#[test]
fn a_misspelt_field_is_refused_with_line_and_field() {
    let wrong = [
        (r#"{"id":1,"action":{"pul":{"client":0}}}"#, "line 2, column"),
        (r#"{"id":1,"action":{"pull":{"cleint":0}}}"#, "field `action.pull.cleint`"),
        (r#"{"id":1,"action":{"pull":{"client":"0"}}}"#, "field `action.pull.client`"),
        (r#"{"id":1,"action":{"pull":{"client":2}}}"#, "line 2, field `client`: client 2"),
        (r#"{"id":1,"action":{"pull":{"client":0}}"#, "line 2, column"),
        (r#"{"id":1,"action":{"pull":{"client":0}}} x"#, "line 2, column"),
    ];
    for (step, expected) in wrong {
        let output = with_input(&["replay", "-"], &format!("{HEADER}\n{step}\n"));
        assert_eq!(output.status.code(), Some(2), "{step}");
        assert!(stderr(&output).contains(expected), "{step}: {}", stderr(&output));
    }
}

#[test]
fn another_version_is_refused_by_its_number() {
    let other = HEADER.replace("\"format\":1", "\"format\":9").replace("chunk_bytes", "chunks");
    let output = with_input(&["replay", "-"], &other);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("line 1, field `format`: this is format 9"), "{}", stderr(&output));
}

#[test]
fn wrong_usage_exits_with_2_and_a_reason() {
    for (arguments, expected) in [
        (&["run", "--seeds", "5..5"][..], "5..5 is empty"),
        (&["run", "--shard", "3/3"], "shards of N are 0 to N-1"),
        (&["run", "--minutes", "0"], "more than 0 minutes"),
        (&["replay", "/nowhere/at-all.jsonl"], "cannot read /nowhere/at-all.jsonl"),
        (&["merge", "/nowhere/at-all"], "cannot list /nowhere/at-all"),
        (&["shrink", "7", "--seconds", "9", "-o", "/dev/null"], "seed 7 does not fail"),
    ] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_sweep_with_a_time_limit_prints_how_to_continue() {
    let out = directory("time limit");
    let out = out.to_str().expect("the path is text");
    let output = output(&["run", "--minutes", "0.01", "--jobs", "1", "--no-shrink", "--out", out]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("of seeds from 0 on"), "{text}");
    let (_, line) = text.split_once("continue with: ").expect("the sweep has no end");
    let options = format!(".. --minutes 0.01 --jobs 1 --out '{out}' --no-shrink\n");
    assert!(line.ends_with(&options), "{line}");
}

/// The process receives a signal while it sweeps a very long range of seeds.
#[test]
fn an_interrupted_sweep_prints_its_summary_and_the_next_seed() {
    let child = plimsoll(&["run", "--seeds", "0..", "--jobs", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts");
    std::thread::sleep(std::time::Duration::from_millis(700));
    let process = i32::try_from(child.id()).expect("a process id fits");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), nix::sys::signal::Signal::SIGINT)
        .expect("the child is running");
    let output = child.wait_with_output().expect("the child exits");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("histories") && text.contains("ended before seed "), "{text}");
}

#[test]
fn a_selection_that_matches_nothing_is_refused_and_the_possible_values_are_listed() {
    for (arguments, reasons) in [
        (
            &["explore", "--only", "nonsense"][..],
            &["no unit's name contains \"nonsense\"", "\n  bootstrap"][..],
        ),
        (&["run", "--seeds", "5..5"], &["5..5 is empty"]),
        (&["run", "--seeds", "five"], &["expected A..B, for instance 0..1000, or a seed"]),
        (&["run", "--jobs", "100000"], &["expected a number from 1 to 512"]),
        (&["run", "--shard", "0/1099511627776"], &["N is from 1 to 65536"]),
        (&["corpus", "add", "-", "--name=-rf"], &["no hyphen first"]),
    ] {
        let output = output(arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        for reason in reasons {
            assert!(text.contains(reason), "{arguments:?}: {text}");
        }
    }
}

#[test]
fn one_seed_is_swept() {
    let output = output(&["run", "--seeds", "5"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("of seeds 5..6"), "{}", stdout(&output));
}

/// Before the sweep, not after it.
#[test]
fn an_output_folder_that_cannot_be_written_is_noticed_at_once() {
    let file = directory("no-folder").join("file");
    std::fs::write(&file, "").expect("the file can be written");
    for arguments in
        [["run", "--out", &file.display().to_string()], ["explore", "--out", &file.display().to_string()]]
    {
        let output = output(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains("cannot write to"), "{}", stderr(&output));
        assert!(!stdout(&output).contains("histories"), "{}", stdout(&output));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_an_error_and_no_panic() {
    for arguments in [&["invariants"][..], &["marks"], &["atlas"], &["replay", "3"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has this device");
        let output = plimsoll(arguments).stdout(full).output().expect("the command starts");
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains("the output is incomplete") && !text.contains("panicked"), "{text}");
    }
}

/// The reader has seen enough, but the files are still wanted.
#[test]
fn a_sweep_whose_reader_has_gone_still_writes_its_result() {
    let out = directory("no-reader");
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    drop(reader);
    let arguments = ["run", "--seeds", "0..2", "--out", &out.display().to_string()];
    let output = plimsoll(&arguments).stdout(writer).output().expect("the command starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(out.join("sweep.json").is_file());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_error_does_not_change_what_a_sweep_does() {
    let out = directory("full-error");
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("Linux has this device");
    let arguments = ["run", "--seeds", "0..2", "--out", &out.display().to_string()];
    for expected in [2, 2] {
        let output = plimsoll(&arguments).stdout(full()).stderr(full()).output().expect("the command starts");
        assert_eq!(output.status.code(), Some(expected));
        assert!(out.join("sweep.json").is_file());
    }
}

#[test]
fn two_sweeps_do_not_write_one_result() {
    let out = directory("two-sweeps");
    let lock = std::fs::File::create(out.join("sweep.lock")).expect("the file can be written");
    lock.try_lock().expect("nobody else has the lock");
    let arguments = ["run", "--seeds", "0..2", "--out", &out.display().to_string()];
    let refused = output(&arguments);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("another run writes its result to"), "{}", stderr(&refused));
    drop(lock);
    assert_eq!(output(&arguments).status.code(), Some(0));
}

#[test]
fn a_command_that_would_do_nothing_is_refused() {
    let empty = directory("nothing");
    let schedule = empty.join("empty.jsonl");
    let header = stdout(&output(&["schedule", "0"]));
    let header = header.lines().find(|line| line.starts_with('{')).expect("a schedule has a header");
    std::fs::write(&schedule, format!("{header}\n")).expect("the file can be written");
    let (schedule, no_corpus) =
        (schedule.display().to_string(), directory("no-corpus").display().to_string());
    for (arguments, message) in [
        (&["explore", &schedule][..], "nothing to explore"),
        (&["run", "--seeds", "0..1", "--shard", "1/2"], "shard 1/2 has no seed of 0..1"),
        (&["fingerprint", "--seeds", "3.."], "--seeds needs an end"),
        (&["fingerprint", "--seeds", "0..1", "--corpus", &no_corpus], "there is no schedule"),
        (&["replay", "no-such-file"], "neither a seed nor a file"),
        (&["serve", "--connections-max", "0"], "expected at least 1"),
    ] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn the_schedule_of_a_seed_can_be_printed_and_replayed() {
    let file = directory("printed").join("seven.jsonl");
    std::fs::write(&file, stdout(&output(&["schedule", "7"]))).expect("the file can be written");
    let hash = |source: &str| stdout(&output(&["replay", source, "--hash"]));
    assert_eq!(hash(&file.display().to_string()), hash("7"));
}
