//! The flows without faults, each in both places: on the simulated disk and on real files.

use plimsoll_scenarios::sandbox::{Sandbox, rows};
use plimsoll_sim::world::in_process::block_on;

/// Runs a script in both places.
pub fn everywhere(script: impl Fn(Sandbox)) {
    script(Sandbox::simulated());
    script(Sandbox::real());
}

#[test]
fn a_new_client_sees_what_the_remote_holds() {
    everywhere(|place| {
        place.remote_executes(&[
            "CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)",
            "INSERT INTO t VALUES (1, 'one')",
        ]);
        let engine = place.open("a").unwrap();
        let connection = engine.connect().unwrap();
        assert_eq!(rows(&connection, "SELECT * FROM t"), ["1|one"]);
    });
}

#[test]
fn two_clients_see_each_others_rows_after_a_sync() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT)"]);
        let (a, b) = (place.open("a").unwrap(), place.open("b").unwrap());
        let (at_a, at_b) = (a.connect().unwrap(), b.connect().unwrap());
        at_a.execute("INSERT INTO t VALUES ('a', 'from a')").unwrap();
        at_b.execute("INSERT INTO t VALUES ('b', 'from b')").unwrap();
        block_on(a.sync()).unwrap();
        let report = block_on(b.sync()).unwrap();
        assert_eq!((report.push.transactions, report.pull.rebased), (1, true));
        block_on(a.pull()).unwrap();
        for connection in [&at_a, &at_b] {
            assert_eq!(rows(connection, "SELECT * FROM t ORDER BY k"), ["a|from a", "b|from b"]);
        }
        assert_eq!(place.remote_rows("SELECT * FROM t ORDER BY k"), ["a|from a", "b|from b"]);
    });
}

#[test]
fn local_rows_stay_on_top_of_what_is_pulled() {
    everywhere(|place| {
        place.remote_executes(&[
            "CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)",
            "INSERT INTO t VALUES (1, 'old')",
        ]);
        let engine = place.open("a").unwrap();
        let connection = engine.connect().unwrap();
        connection.execute("UPDATE t SET v = 'mine' WHERE k = 1").unwrap();
        place.remote_executes(&[
            "UPDATE t SET v = 'theirs' WHERE k = 1",
            "INSERT INTO t VALUES (2, 'theirs')",
        ]);
        let report = block_on(engine.pull()).unwrap();
        assert_eq!(report.transactions_replayed, 1);
        assert_eq!(rows(&connection, "SELECT * FROM t ORDER BY k"), ["1|mine", "2|theirs"]);
    });
}

#[test]
fn closed_generations_are_walked_through() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (v)"]);
        let engine = place.open("a").unwrap();
        for v in 0..3 {
            place.remote_executes(&[&format!("INSERT INTO t VALUES ({v})")]);
            assert!(place.remote.with_remote(plimsoll_sim::world::remote::Remote::checkpoint));
        }
        let report = block_on(engine.pull()).unwrap();
        assert_eq!(report.generations_crossed, 3);
        assert_eq!(rows(&engine.connect().unwrap(), "SELECT v FROM t ORDER BY v"), ["0", "1", "2"]);
        assert_eq!(engine.metadata().unwrap().synced_generation, 4);
    });
}

#[test]
fn a_reopened_client_goes_on_where_it_was() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (v)"]);
        {
            let engine = place.open("a").unwrap();
            engine.connect().unwrap().execute("INSERT INTO t VALUES (1)").unwrap();
        }
        let engine = place.open("a").unwrap();
        assert_eq!(rows(&engine.connect().unwrap(), "SELECT v FROM t"), ["1"]);
        assert_eq!(block_on(engine.push()).unwrap().transactions, 1);
        assert_eq!(place.remote_rows("SELECT v FROM t"), ["1"]);
    });
}

#[test]
fn a_push_after_a_generation_change_sends_nothing_twice() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (v)"]);
        let engine = place.open("a").unwrap();
        engine.connect().unwrap().execute("INSERT INTO t VALUES (1)").unwrap();
        block_on(engine.push()).unwrap();
        place.remote.with_remote(plimsoll_sim::world::remote::Remote::checkpoint);
        assert_eq!(block_on(engine.push()).unwrap().requests, 0);
        assert_eq!(place.remote_rows("SELECT v FROM t"), ["1"]);
    });
}

#[test]
fn a_pull_without_news_writes_nothing() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let engine = place.open("a").unwrap();
    engine.connect().unwrap().execute("INSERT INTO t VALUES (1)").unwrap();
    let before = engine.metadata().unwrap();
    let report = block_on(engine.pull()).unwrap();
    assert!(!report.rebased);
    assert_eq!(engine.metadata().unwrap(), before);
}

#[test]
fn a_table_made_by_two_clients_is_made_once() {
    everywhere(|place| {
        let (a, b) = (place.open("a").unwrap(), place.open("b").unwrap());
        for (engine, v) in [(&a, 1), (&b, 2)] {
            let connection = engine.connect().unwrap();
            connection.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, v)").unwrap();
            connection.execute("CREATE INDEX t_v ON t (v)").unwrap();
            connection.execute(format!("INSERT INTO t VALUES ({v}, {v})")).unwrap();
        }
        block_on(a.sync()).unwrap();
        block_on(b.sync()).unwrap();
        block_on(a.sync()).unwrap();
        for engine in [&a, &b] {
            assert_eq!(rows(&engine.connect().unwrap(), "SELECT k FROM t ORDER BY k"), ["1", "2"]);
        }
    });
}

#[test]
fn the_engine_runs_under_tokio_as_well() {
    let place = Sandbox::real();
    place.remote_executes(&["CREATE TABLE t (v)", "INSERT INTO t VALUES (1)"]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let engine = std::sync::Arc::new(runtime.block_on(place.open_async("a")).unwrap());
    engine.connect().unwrap().execute("INSERT INTO t VALUES (2)").unwrap();
    let task = {
        let engine = engine.clone();
        runtime.spawn(async move { engine.sync().await })
    };
    runtime.block_on(task).unwrap().unwrap();
    assert_eq!(place.remote_rows("SELECT v FROM t ORDER BY v"), ["1", "2"]);
}

#[test]
fn a_second_operation_at_the_same_time_is_refused() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let engine = place.open("a").unwrap();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut first = Box::pin(engine.pull());
    place.remote_executes(&["INSERT INTO t VALUES (1)"]);
    assert!(first.as_mut().poll(&mut context).is_pending());
    let second = block_on(engine.push()).unwrap_err();
    assert!(matches!(second, plimsoll_engine::Error::OperationInProgress) && second.is_retryable());
    block_on(first).unwrap();
    block_on(engine.push()).unwrap();
}

#[test]
fn a_writer_in_the_middle_of_a_transaction_makes_a_pull_busy_and_loses_nothing() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let engine = place.open("a").unwrap();
    let connection = engine.connect().unwrap();
    connection.execute("BEGIN").unwrap();
    connection.execute("INSERT INTO t VALUES (1)").unwrap();
    place.remote_executes(&["INSERT INTO t VALUES (2)"]);
    let error = block_on(engine.pull()).unwrap_err();
    assert!(matches!(error, plimsoll_engine::Error::Busy { .. }) && error.is_retryable(), "{error}");
    connection.execute("COMMIT").unwrap();
    block_on(engine.sync()).unwrap();
    assert_eq!(rows(&connection, "SELECT v FROM t ORDER BY v"), ["1", "2"]);
    assert_eq!(place.remote_rows("SELECT v FROM t ORDER BY v"), ["1", "2"]);
}

#[test]
fn a_dropped_table_does_not_renumber_what_was_pushed() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (v)", "CREATE TABLE u (v)"]);
        let engine = place.open("a").unwrap();
        let connection = engine.connect().unwrap();
        for v in 0..3 {
            connection.execute(format!("INSERT INTO t VALUES ({v})")).unwrap();
        }
        block_on(engine.push()).unwrap();
        connection.execute("DROP TABLE t").unwrap();
        for v in 0..4 {
            connection.execute(format!("INSERT INTO u VALUES ({v})")).unwrap();
        }
        block_on(engine.sync()).unwrap();
        assert_eq!(place.remote_rows("SELECT v FROM u ORDER BY v"), ["0", "1", "2", "3"]);
        assert_eq!(rows(&connection, "SELECT v FROM u ORDER BY v"), ["0", "1", "2", "3"]);
        assert!(place.remote_rows("SELECT name FROM sqlite_schema WHERE name = 't'").is_empty());
    });
}

/// The network delays a POST. Meanwhile its transaction has become void and was removed by two rebases. The
/// number in the POST must not be assigned to another transaction, or the late POST would acknowledge that
/// one.
#[test]
fn the_number_of_a_void_transaction_is_not_given_again() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY, v)", "INSERT INTO t VALUES (1, 'old')"]);
    let engine = place.open("a").unwrap();
    let connection = engine.connect().unwrap();
    connection.execute("DELETE FROM t WHERE k = 1").unwrap();
    let late = place.remote.hold_next_pipeline();
    block_on(engine.push()).unwrap_err();
    place.remote_executes(&["DELETE FROM t WHERE k = 1"]);
    block_on(engine.pull()).unwrap();
    place.remote_executes(&["INSERT INTO t VALUES (2, 'news')"]);
    block_on(engine.pull()).unwrap();
    connection.execute("INSERT INTO t VALUES (3, 'precious')").unwrap();
    late.deliver();
    block_on(engine.sync()).unwrap();
    for rows in
        [rows(&connection, "SELECT v FROM t ORDER BY k"), place.remote_rows("SELECT v FROM t ORDER BY k")]
    {
        assert_eq!(rows, ["news", "precious"]);
    }
}

#[test]
fn a_user_table_with_a_name_like_the_engines_is_replicated() {
    let place = Sandbox::simulated();
    let engine = place.open("a").unwrap();
    let connection = engine.connect().unwrap();
    connection.execute("CREATE TABLE plimsoll_line (v)").unwrap();
    connection.execute("INSERT INTO plimsoll_line VALUES (1)").unwrap();
    block_on(engine.sync()).unwrap();
    assert_eq!(place.remote_rows("SELECT v FROM plimsoll_line"), ["1"]);
}
