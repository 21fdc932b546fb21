//! Snapshots of the canonical flows: every file operation, request and version of the metadata, in order.
//!
//! A difference here is a change of the engine's durable steps. Check it carefully, then accept it with
//! `cargo insta accept` or `INSTA_UPDATE=always cargo test -p plimsoll-scenarios --test it canonical`.

use plimsoll_scenarios::scenario::{A, B, Healed, Scenario, append, note};
use plimsoll_sim::schedule::PushMode;

/// The timeline up to the end of the faults, and the metadata's versions on the way.
fn picture(healed: &Healed) -> String {
    let timeline = healed.timeline();
    let lines: Vec<&str> =
        timeline.lines().take_while(|line| !line.contains("heal")).map(str::trim_end).collect();
    format!("{}\n\n{}", lines.join("\n").trim_end(), healed.metadata_history())
}

#[test]
fn bootstrap() {
    let mut t = Scenario::with_clients(1);
    t.remote().checkpoints();
    t.remote().commits([append(10)]);
    t.client(A).pulls();
    insta::assert_snapshot!(picture(&t.run_and_heal()));
}

#[test]
fn pull_with_pending_changes() {
    let mut t = Scenario::with_clients(1);
    t.client(A).commits([note(1)]);
    t.remote().commits([append(5_000)]);
    t.client(A).pulls();
    insta::assert_snapshot!(picture(&t.run_and_heal()));
}

#[test]
fn pull_across_a_generation() {
    let mut t = Scenario::with_clients(1);
    t.client(A).pulls();
    t.remote().commits([append(10)]);
    t.remote().checkpoints();
    t.remote().commits([append(10)]);
    t.client(A).pulls();
    insta::assert_snapshot!(picture(&t.run_and_heal()));
}

#[test]
fn push_as_statements() {
    let mut t = Scenario::with_clients(1);
    t.client(A).commits([note(1)]);
    t.client(A).commits([append(10)]);
    t.client(A).pushes();
    insta::assert_snapshot!(picture(&t.run_and_heal()));
}

#[test]
fn push_as_frames() {
    let mut t = Scenario::with_clients(1).with(|header| {
        header.push_mode = PushMode::Frames;
        header.synced_wal_frames_max = 1_000;
    });
    t.client(A).commits([note(1)]);
    t.client(A).commits([append(10)]);
    t.client(A).pushes();
    insta::assert_snapshot!(picture(&t.run_and_heal()));
}

#[test]
fn two_clients_sync() {
    let mut t = Scenario::with_clients(2);
    t.client(A).commits([note(1)]);
    t.client(A).syncs();
    t.client(B).commits([note(1)]);
    t.client(B).syncs();
    t.client(A).syncs();
    let healed = t.run_and_heal();
    insta::assert_snapshot!(healed.rows_of("note").join("\n"), @"s1|c1.3.1");
    insta::assert_snapshot!(picture(&healed));
}

#[test]
fn checkpoint_of_synced() {
    let mut t = Scenario::with_clients(1).with(|header| header.synced_wal_frames_max = 1);
    t.client(A).pulls();
    t.remote().commits([append(10)]);
    t.client(A).pulls();
    insta::assert_snapshot!(picture(&t.run_and_heal()));
}

#[test]
fn compaction_of_draft() {
    let mut t = Scenario::with_clients(1).with(|header| header.draft_wal_frames_max = 1);
    t.client(A).commits([append(10)]);
    t.client(A).pushes();
    insta::assert_snapshot!(picture(&t.run_and_heal()));
}
