//! The ledger reports real discrepancies and accepts everything else.

use super::*;
use crate::schedule::workload::quiet_row;

fn entry(writer: Writer, tokens: &[&str], commit_state: CommitState) -> Entry {
    let effects = tokens.iter().map(|token| Effect::Appended((*token).into())).collect();
    Entry::new(writer, effects, commit_state)
}

fn log(tokens: &[&str]) -> Vec<String> {
    tokens.iter().map(|token| (*token).into()).collect()
}

fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.enter(entry(Writer::Client(0), &["a1", "a2"], CommitState::Committed));
    ledger.enter(entry(Writer::Client(0), &["b"], CommitState::Absent));
    ledger.enter(entry(Writer::Client(0), &["c"], CommitState::Maybe));
    ledger.enter(entry(Writer::Remote, &["r"], CommitState::Committed));
    ledger
}

#[test]
fn a_partial_transaction_is_torn() {
    assert!(matches!(ledger().observe_remote(&log(&["a1", "r"]), &[]), Err(Discrepancy::Torn(_))));
}

#[test]
fn a_repeated_transaction_is_not_exactly_once() {
    assert!(matches!(
        ledger().observe_remote(&log(&["a1", "a2", "a1", "a2"]), &[]),
        Err(Discrepancy::NotOnce(_))
    ));
}

#[test]
fn a_rolled_back_transaction_must_not_appear() {
    assert!(matches!(ledger().observe_remote(&log(&["b"]), &[]), Err(Discrepancy::NotOnce(_))));
}

#[test]
fn a_shrinking_remote_is_unexplained() {
    let mut ledger = ledger();
    ledger.observe_remote(&log(&["a1", "a2"]), &[]).unwrap();
    assert!(matches!(ledger.observe_remote(&log(&["a1"]), &[]), Err(Discrepancy::Unexplained(_))));
}

#[test]
fn a_missing_own_transaction_is_lost() {
    let content = Content { log: log(&["r"]), ..Content::initial() };
    assert!(matches!(ledger().observe_client(0, &content), Err(Discrepancy::Lost(_))));
}

#[test]
fn the_first_observation_settles_a_maybe() {
    let mut ledger = ledger();
    let without = Content { log: log(&["a1", "a2"]), ..Content::initial() };
    ledger.observe_client(0, &without).unwrap();
    let with = Content { log: log(&["a1", "a2", "c"]), ..Content::initial() };
    assert!(matches!(ledger.observe_client(0, &with), Err(Discrepancy::Unexplained(_))));
}

#[test]
fn a_failed_commit_is_open_until_the_next_process_shows_it() {
    let mut ledger = Ledger::default();
    ledger.enter(entry(Writer::Client(0), &["a"], CommitState::Doubtful));
    let without = Content::initial();
    let with = Content { log: log(&["a"]), ..Content::initial() };
    ledger.observe_client(0, &without).unwrap();
    ledger.end_process(0);
    ledger.observe_client(0, &with).unwrap();
    assert!(matches!(ledger.observe_client(0, &without), Err(Discrepancy::Lost(_))));
}

#[test]
fn foreign_transactions_are_seen_in_the_remotes_order() {
    let mut ledger = ledger();
    ledger.enter(entry(Writer::Remote, &["s"], CommitState::Committed));
    ledger.observe_remote(&log(&["r", "s"]), &[]).unwrap();
    let gap = Content { log: log(&["s", "a1", "a2"]), ..Content::initial() };
    assert!(matches!(ledger.observe_client(0, &gap), Err(Discrepancy::Unexplained(_))));
}

fn quiet(writer: Writer, token: &str, commit_state: CommitState) -> Entry {
    Entry::new(writer, vec![Effect::Quieted(writer, token.into())], commit_state)
}

fn void(writer: Writer, row: &str, commit_state: CommitState) -> Entry {
    Entry::new(writer, vec![Effect::Gone(row.into())], commit_state)
}

fn showing(tokens: &[&str], rows: &[(Writer, &str)]) -> Content {
    let mut content = Content { log: log(tokens), ..Content::initial() };
    content.rows.extend(rows.iter().map(|(writer, token)| (quiet_row(*writer), (*token).to_owned())));
    content
}

/// A client's transaction, then two quiet ones, then one that is not quiet.
fn quiet_ledger(writer: Writer) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.enter(entry(writer, &["a"], CommitState::Committed));
    ledger.enter(quiet(writer, "q1", CommitState::Committed));
    ledger.enter(quiet(writer, "q2", CommitState::Committed));
    ledger.enter(entry(writer, &["z"], CommitState::Committed));
    ledger
}

const CLIENT: Writer = Writer::Client(0);

#[test]
fn a_rolled_back_quiet_transaction_must_not_appear() {
    let mut ledger = Ledger::default();
    ledger.enter(quiet(CLIENT, "q", CommitState::Absent));
    assert!(matches!(ledger.observe_remote(&[], &log(&["q"])), Err(Discrepancy::NotOnce(_))));
}

#[test]
fn a_quiet_transaction_without_a_writer_is_unexplained() {
    assert!(matches!(ledger().observe_remote(&[], &log(&["q"])), Err(Discrepancy::Unexplained(_))));
}

#[test]
fn a_transaction_before_a_quiet_one_must_not_be_missing_on_the_remote() {
    assert!(matches!(quiet_ledger(CLIENT).observe_remote(&[], &log(&["q1"])), Err(Discrepancy::Lost(_))));
    quiet_ledger(CLIENT).observe_remote(&log(&["a"]), &log(&["q1"])).unwrap();
}

#[test]
fn a_quiet_transaction_must_not_be_missing_on_the_remote_before_a_later_one() {
    let mut ledger = quiet_ledger(CLIENT);
    let later = ledger
        .observe_remote(&log(&["a", "z"]), &[])
        .and_then(|()| ledger.observe_client(1, &showing(&["a", "z"], &[])));
    assert!(matches!(later, Err(Discrepancy::Lost(_))), "{later:?}");
}

#[test]
fn an_older_quiet_token_means_that_the_newer_transaction_is_lost() {
    let mut ledger = quiet_ledger(CLIENT);
    ledger.observe_remote(&log(&["a"]), &log(&["q2"])).unwrap();
    let older = showing(&["a"], &[(CLIENT, "q1")]);
    assert!(matches!(ledger.observe_client(0, &older), Err(Discrepancy::Lost(_))));
    assert_eq!(ledger.observe_client(1, &older), Ok(()), "another client may be behind");
}

#[test]
fn a_quiet_transaction_without_its_rows_is_unexplained() {
    let mut ledger = Ledger::default();
    let mut with_row = quiet(Writer::Remote, "q", CommitState::Committed);
    with_row.effects.push(Effect::Set("note/r-1".into(), "q".into()));
    ledger.enter(with_row);
    ledger.observe_remote(&[], &log(&["q"])).unwrap();
    let torn = showing(&[], &[(Writer::Remote, "q")]);
    assert!(matches!(ledger.observe_client(0, &torn), Err(Discrepancy::Unexplained(_))));
}

#[test]
fn a_row_that_a_void_transaction_has_deleted_is_lost_when_its_writer_sees_it_again() {
    let mut ledger = Ledger::default();
    ledger.enter(void(CLIENT, "ballast/3", CommitState::Committed));
    assert!(matches!(ledger.observe_client(0, &Content::initial()), Err(Discrepancy::Lost(_))));
    assert_eq!(ledger.observe_client(1, &Content::initial()), Ok(()), "the delete may still be on its way");
    assert!(ledger.judge_final(&Content::initial()).is_err(), "at the end the delete has arrived");
}

#[test]
fn a_row_that_only_a_rolled_back_void_transaction_would_have_deleted_stays() {
    let mut ledger = Ledger::default();
    ledger.enter(void(CLIENT, "ballast/3", CommitState::Absent));
    let mut without = Content::initial();
    without.rows.remove("ballast/3");
    assert!(matches!(ledger.observe_client(1, &without), Err(Discrepancy::Unexplained(_))));
    assert!(ledger.judge_final(&without).is_err());
}

#[test]
fn a_view_belongs_to_the_transaction_that_made_it() {
    let mut ledger = Ledger::default();
    let mut made = entry(CLIENT, &["a"], CommitState::Committed);
    let view = ("own_c0_view".to_owned(), "view: id".to_owned());
    made.effects.push(Effect::Replaced { prefix: "own_c0_".into(), rows: vec![view.clone()] });
    ledger.enter(made);
    ledger.observe_remote(&log(&["a"]), &[]).unwrap();
    let without = showing(&["a"], &[]);
    let mut with = without.clone();
    with.rows.extend([view]);
    for client in [0, 1] {
        assert!(matches!(ledger.observe_client(client, &without), Err(Discrepancy::Unexplained(_))));
        assert_eq!(ledger.observe_client(client, &with), Ok(()));
    }
    assert!(ledger.judge_final(&without).is_err());
    assert_eq!(ledger.judge_final(&with), Ok(()));
}

#[test]
fn own_objects_say_nothing_once_a_transaction_below_them_is_lost() {
    let mut ledger = Ledger::default();
    let own = |token: &str, rows: &[(&str, &str)]| {
        let rows = rows.iter().map(|(name, holds)| ((*name).to_owned(), (*holds).to_owned())).collect();
        let mut made = entry(CLIENT, &[token], CommitState::Committed);
        made.effects.push(Effect::Replaced { prefix: "own_c0_".into(), rows });
        made
    };
    ledger.enter(own("a", &[("own_c0_audit", "table: what")]));
    ledger.observe_remote(&log(&["a"]), &[]).unwrap();
    ledger.begin_epoch(&[], &[]).unwrap();
    ledger.enter(own("b", &[("own_c0_audit", "table: what"), ("own_c0_main/1|b", "1")]));
    let both = showing(&["a", "b"], &[]);
    assert!(matches!(ledger.clone().observe_client(0, &both), Err(Discrepancy::Unexplained(_))));
    assert_eq!(ledger.observe_client(0, &showing(&["b"], &[])), Ok(()));
    ledger.observe_remote(&log(&["b"]), &[]).unwrap();
    assert_eq!(ledger.judge_final(&showing(&["b"], &[])), Ok(()));
    assert!(ledger.judge_final(&showing(&["b", "a"], &[])).is_err(), "the rest is still judged");
}

#[test]
fn a_transaction_that_never_arrived_is_named() {
    let mut ledger = ledger();
    ledger.observe_remote(&log(&["r"]), &[]).unwrap();
    assert_eq!(ledger.missing_on_remote(), Some("a1"));
}

// --- epochs ---

fn content(tokens: &[&str]) -> Content {
    Content { log: log(tokens), ..Content::initial() }
}

/// A remote that holds a1 a2, r and d, and is restored to the state after a1 a2.
fn restored() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.enter(entry(Writer::Client(0), &["a1", "a2"], CommitState::Committed));
    ledger.enter(entry(Writer::Remote, &["r"], CommitState::Committed));
    ledger.enter(entry(Writer::Client(0), &["d"], CommitState::Committed));
    ledger.observe_remote(&log(&["a1", "a2", "r", "d"]), &[]).unwrap();
    ledger.begin_epoch(&log(&["a1", "a2"]), &[]).unwrap();
    ledger
}

#[test]
fn a_transaction_that_a_restored_remote_lost_may_stay_lost() {
    let mut ledger = restored();
    assert_eq!(ledger.epoch(), 1);
    ledger.observe_remote(&log(&["a1", "a2"]), &[]).unwrap();
    ledger.observe_client(0, &content(&["a1", "a2"])).unwrap();
    assert_eq!(ledger.missing_on_remote(), None);
    assert_eq!(ledger.kept_client_commits(), 1);
    assert_eq!(ledger.judge_final(&content(&["a1", "a2"])), Ok(()));
}

#[test]
fn a_transaction_that_a_restored_remote_lost_may_come_back_once() {
    let mut ledger = restored();
    ledger.observe_remote(&log(&["a1", "a2", "d"]), &[]).unwrap();
    assert_eq!(ledger.judge_final(&content(&["a1", "a2", "d"])), Ok(()));
    assert!(ledger.judge_final(&content(&["a1", "a2"])).is_err(), "a transaction that came back must stay");
    let twice = ledger.observe_remote(&log(&["a1", "a2", "d", "d"]), &[]);
    assert!(matches!(twice, Err(Discrepancy::NotOnce(_))));
}

#[test]
fn a_transaction_that_a_restored_remote_kept_must_neither_repeat_nor_vanish() {
    let again = restored().observe_remote(&log(&["a1", "a2", "a1", "a2"]), &[]);
    assert!(matches!(again, Err(Discrepancy::NotOnce(_))));
    let shrunk = restored().observe_remote(&[], &[]);
    assert!(matches!(shrunk, Err(Discrepancy::Unexplained(_))));
    let client = restored().observe_client(0, &content(&["d"]));
    assert!(matches!(client, Err(Discrepancy::Lost(_))));
}

#[test]
fn a_transaction_that_was_never_on_the_restored_remote_must_still_arrive() {
    let mut ledger = restored();
    ledger.enter(entry(Writer::Client(0), &["e"], CommitState::Committed));
    assert_eq!(ledger.missing_on_remote(), Some("e"));
    let client = ledger.observe_client(0, &content(&["a1", "a2"]));
    assert!(matches!(client, Err(Discrepancy::Lost(_))));
}

#[test]
fn a_client_follows_a_former_epoch_for_a_while_and_never_returns_to_it() {
    let mut ledger = restored();
    let before = content(&["a1", "a2", "r", "d"]);
    ledger.observe_client(0, &before).unwrap();
    ledger.enter(entry(Writer::Remote, &["s"], CommitState::Committed));
    ledger.observe_remote(&log(&["a1", "a2", "s"]), &[]).unwrap();
    ledger.observe_client(0, &before).unwrap();
    let mixed = content(&["a1", "a2", "r", "s", "d"]);
    assert!(matches!(ledger.observe_client(0, &mixed), Err(Discrepancy::Unexplained(_))));
    ledger.observe_client(0, &content(&["a1", "a2", "s", "d"])).unwrap();
    assert!(matches!(ledger.observe_client(0, &before), Err(Discrepancy::Unexplained(_))));
}

#[test]
fn a_restored_remote_must_not_hold_a_token_without_a_writer() {
    let mut ledger = Ledger::default();
    assert!(matches!(ledger.begin_epoch(&[], &log(&["q"])), Err(Discrepancy::Unexplained(_))));
}

#[test]
#[should_panic(expected = "a remote is restored to the end of a transaction")]
fn a_restore_into_the_middle_of_a_transaction_panics() {
    let mut ledger = Ledger::default();
    ledger.enter(entry(Writer::Remote, &["r1", "r2"], CommitState::Committed));
    ledger.observe_remote(&log(&["r1", "r2"]), &[]).unwrap();
    drop(ledger.begin_epoch(&log(&["r1"]), &[]));
}

// --- older copies ---

/// A client that committed a before its files were copied, and b since then. Returns the moment of the copy,
/// too.
fn copied() -> (Ledger, Moment) {
    let mut ledger = Ledger::default();
    ledger.enter(entry(Writer::Client(0), &["a"], CommitState::Committed));
    let moment = ledger.moment();
    ledger.enter(entry(Writer::Client(0), &["b"], CommitState::Committed));
    (ledger, moment)
}

#[test]
fn an_older_copy_may_lack_newer_transactions_but_no_older_ones() {
    let (mut ledger, moment) = copied();
    assert!(matches!(ledger.clone().observe_client(0, &content(&["a"])), Err(Discrepancy::Lost(_))));
    ledger.go_back(0, &moment);
    assert!(matches!(ledger.clone().observe_client(0, &content(&[])), Err(Discrepancy::Lost(_))));
    ledger.observe_client(0, &content(&["a"])).unwrap();
    assert_eq!(ledger.missing_on_remote(), Some("a"));
}

#[test]
fn a_transaction_that_an_older_copy_had_sent_comes_back_from_the_remote() {
    let (mut ledger, moment) = copied();
    ledger.observe_remote(&log(&["a", "b"]), &[]).unwrap();
    ledger.go_back(0, &moment);
    ledger.observe_client(0, &content(&["a"])).unwrap();
    ledger.observe_client(0, &content(&["a", "b"])).unwrap();
    let twice = ledger.observe_remote(&log(&["a", "b", "b"]), &[]);
    assert!(matches!(twice, Err(Discrepancy::NotOnce(_))));
}

#[test]
fn a_transaction_that_was_open_when_the_copy_was_taken_is_open_again() {
    let mut ledger = Ledger::default();
    ledger.enter(entry(Writer::Client(0), &["a"], CommitState::Maybe));
    let moment = ledger.moment();
    ledger.observe_client(0, &content(&["a"])).unwrap();
    ledger.go_back(0, &moment);
    ledger.clone().observe_client(0, &content(&["a"])).unwrap();
    ledger.observe_client(0, &content(&[])).unwrap();
    assert!(matches!(ledger.observe_client(0, &content(&["a"])), Err(Discrepancy::Unexplained(_))));
}

#[test]
fn an_older_copy_may_follow_a_former_epoch_again() {
    let mut ledger = restored();
    let moment = Moment::default();
    ledger.observe_client(1, &content(&["a1", "a2"])).unwrap();
    ledger.enter(entry(Writer::Remote, &["s"], CommitState::Committed));
    ledger.observe_remote(&log(&["a1", "a2", "s"]), &[]).unwrap();
    ledger.observe_client(1, &content(&["a1", "a2", "s"])).unwrap();
    let former = content(&["a1", "a2", "r"]);
    assert!(matches!(ledger.clone().observe_client(1, &former), Err(Discrepancy::Unexplained(_))));
    ledger.go_back(1, &moment);
    ledger.observe_client(1, &former).unwrap();
}

#[test]
fn a_transaction_that_a_user_gives_up_may_be_missing_but_no_older_one() {
    let (mut ledger, moment) = copied();
    ledger.withdraw(0, &moment);
    assert_eq!(ledger.kept_client_commits(), 1);
    assert!(matches!(ledger.clone().observe_client(0, &content(&["b"])), Err(Discrepancy::Lost(_))));
    ledger.observe_client(0, &content(&["a"])).unwrap();
}

#[test]
fn a_client_that_starts_over_may_lack_everything_but_other_clients_may_not() {
    let (mut ledger, _) = copied();
    ledger.enter(entry(Writer::Client(1), &["x"], CommitState::Committed));
    ledger.start_over(0);
    ledger.observe_client(0, &content(&[])).unwrap();
    assert_eq!(ledger.missing_on_remote(), Some("x"));
}

#[test]
fn a_loss_must_be_reported_by_the_next_operation_that_succeeds() {
    let mut ledger = restored();
    ledger.observe_client(0, &content(&["a1", "a2", "r", "d"])).unwrap();
    ledger.observe_client(0, &content(&["a1", "a2"])).unwrap();
    // An operation that failed has not reported anything.
    ledger.check_losses_are_reported(0).unwrap();
    let mut reporting = ledger.clone();
    ledger.accept_report(0, 0);
    assert!(matches!(ledger.check_losses_are_reported(0), Err(Discrepancy::Lost(_))));
    reporting.accept_report(0, 1);
    reporting.check_losses_are_reported(0).unwrap();
}

#[test]
fn a_client_does_not_report_what_it_wrote_before_it_started_over() {
    let mut ledger = restored();
    ledger.start_over(0);
    ledger.observe_client(0, &content(&["a1", "a2", "r", "d"])).unwrap();
    ledger.observe_client(0, &content(&["a1", "a2"])).unwrap();
    ledger.accept_report(0, 0);
    ledger.check_losses_are_reported(0).unwrap();
}
