//! Schedule files: comments stay in place, and errors name the line and the field. The fuzz workspace can
//! make any schedule, so it tests that every schedule can be printed and parsed.

use plimsoll_sim::schedule::{Action, Header, Schedule, Step};

#[test]
fn comments_stay_where_they_are() {
    let pull = Step::new(1, Action::Pull { client: 0 });
    let bare = Schedule::new(Header::new(7), vec![pull]).print();
    let (header, step) = bare.split_once('\n').unwrap();
    let text = format!("# A post-mortem.\n#\n#   indented\n{header}\n# why this step\n{step}# the end\n");
    let schedule = Schedule::parse(&text).unwrap();
    assert_eq!(schedule.comments.head, ["A post-mortem.", "", "  indented"]);
    assert_eq!(schedule.comments.before_step[&1], ["why this step"]);
    assert_eq!(schedule.comments.tail, ["the end"]);
    assert_eq!(schedule.print(), text);
    // Some editors begin a file with a byte order mark.
    assert_eq!(Schedule::parse(&format!("\u{feff}{text}")).unwrap().print(), text);
}

#[test]
fn an_event_that_the_engine_does_not_have_is_refused_by_line_and_name() {
    let text = format!(
        "{}{}",
        Schedule::new(Header::new(7), Vec::new()).print(),
        r#"{"id":1,"action":{"pull":{"client":0}},"during":[{"at":{"told":{"event":"compacted","nth":1}},"step":{"id":2,"action":"remote_prune"}}]}"#
    );
    let error = Schedule::parse(&text).unwrap_err().to_string();
    assert!(error.starts_with("line 2, "), "{error}");
    assert!(
        error.ends_with("field `during[0].at.told.event`: the engine has no event `compacted`"),
        "{error}"
    );
}

#[test]
fn a_fault_that_nothing_is_promised_about_is_refused_by_line_and_field() {
    let text = format!(
        "{}{}",
        Schedule::new(Header::new(7), Vec::new()).print(),
        r#"{"id":1,"action":{"pull":{"client":0}},"faults":[{"disk":{"file":"metadata","nth":1,"error":"sync_drops","lasts":"once"}}]}"#
    );
    let error = Schedule::parse(&text).unwrap_err().to_string();
    assert!(error.starts_with("line 2, field `faults[0]`: the atlas has no promise"), "{error}");
}

#[test]
fn a_number_that_no_history_can_have_is_refused_with_its_range() {
    let good = Schedule::new(Header::new(7), Vec::new()).print();
    let header = |from: &str, to: &str| {
        assert!(good.contains(from), "{good}");
        good.replacen(from, to, 1)
    };
    let step = |line: &str| format!("{good}{line}\n");
    for (text, message) in [
        (header("\"clients\":2", "\"clients\":128"), "line 1, field `clients`: 128 is not from 1 to 64"),
        (header("\"clients\":2", "\"clients\":0"), "line 1, field `clients`: 0 is not from 1 to 64"),
        (
            header("\"chunk_bytes\":16384", "\"chunk_bytes\":0"),
            "line 1, field `chunk_bytes`: 0 is not from 1 to 1073741824",
        ),
        (
            step(
                r#"{"id":1,"action":{"remote_transaction":{"writes":[{"append":{"payload_bytes":300000000}}]}}}"#,
            ),
            "line 2, field `action.remote_transaction.writes[0].append.payload_bytes`: 300000000 is not from 0 to 16777216",
        ),
        (
            step(
                r#"{"id":1,"action":{"pull":{"client":0}},"faults":[{"abandon":{"nth":0,"arrives":true}}]}"#,
            ),
            "line 2, field `faults[0].abandon.nth`: 0 is not from 1 to 4294967295",
        ),
        (
            step(
                r#"{"id":1,"action":{"pull":{"client":0}},"during":[{"at":{"suspension":{"nth":0}},"step":{"id":2,"action":"remote_prune"}}]}"#,
            ),
            "line 2, field `during[0].at.suspension.nth`: 0 is not from 1 to 4294967295",
        ),
        (
            header("\"pull_batch_frames\":64", "\"pull_batch_frames\":0"),
            "line 1, field `pull_batch_frames`: 0 is not from 1 to 1048576",
        ),
        (
            step(
                r#"{"id":1,"action":{"remote_transaction":{"writes":[{"append":{"payload_bytes":16777216}},{"append":{"payload_bytes":1}}]}}}"#,
            ),
            "line 2, field `action.remote_transaction.writes (bytes of payload)`: 16777217 is not from 0 to 16777216",
        ),
        (
            step(
                r#"{"id":1,"action":{"pull":{"client":0}},"during":[{"at":{"chunk":{"of":{"route":"pull_frames","nth":0},"nth":1}},"step":{"id":2,"action":"remote_prune"}}]}"#,
            ),
            "line 2, field `during[0].at.chunk.of.nth`: 0 is not from 1 to 4294967295",
        ),
        (
            step(r#"{"id":1,"action":{"wrong_server":{"client":0,"times":0}}}"#),
            "line 2, field `action.wrong_server.times`: 0 is not from 1 to 16",
        ),
    ] {
        assert_eq!(Schedule::parse(&text).unwrap_err().to_string(), message);
    }
}
