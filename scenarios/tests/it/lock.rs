//! One engine per database: a second one is refused by name, in every way in which it can reach the files.

use plimsoll_engine::Error;
use plimsoll_scenarios::sandbox::{Sandbox, rows};
use plimsoll_scenarios::scenario::Scenario;
use plimsoll_sim::fault::{RequestPlace, Route};
use plimsoll_sim::schedule::{Action, Wait};
use plimsoll_sim::world::in_process::block_on;

fn is_refused(place: &Sandbox, client: &str) -> bool {
    match place.open(client) {
        Ok(_) => false,
        Err(Error::InUse { file }) => file.path() == format!("{}-lock", place.path(client)),
        Err(error) => panic!("{error}"),
    }
}

fn on_both(scenario: impl Fn(Sandbox)) {
    scenario(Sandbox::simulated());
    scenario(Sandbox::real());
}

#[test]
fn a_second_engine_is_refused_until_the_first_is_closed() {
    on_both(|place| {
        place.remote_executes(&["CREATE TABLE t (v)"]);
        let engine = place.open("a").unwrap();
        assert!(is_refused(&place, "a"));
        // Statistics and pushes open and close other handles of the files. They must not release the lock.
        engine.connect().unwrap().execute("INSERT INTO t VALUES ('mine')").unwrap();
        block_on(engine.sync()).unwrap();
        engine.stats().unwrap();
        assert!(is_refused(&place, "a"));
        drop(engine);
        let engine = place.open("a").unwrap();
        assert_eq!(rows(&engine.connect().unwrap(), "SELECT v FROM t"), ["mine"]);
    });
}

#[test]
fn a_connection_that_outlives_its_engine_keeps_the_database_locked() {
    on_both(|place| {
        place.remote_executes(&["CREATE TABLE t (v)"]);
        let engine = place.open("a").unwrap();
        let connection = engine.connect().unwrap();
        drop(engine);
        assert!(is_refused(&place, "a"));
        connection.execute("INSERT INTO t VALUES ('late')").unwrap();
        drop(connection);
        let engine = place.open("a").unwrap();
        assert_eq!(rows(&engine.connect().unwrap(), "SELECT v FROM t"), ["late"]);
    });
}

#[test]
fn an_open_that_fails_leaves_no_lock() {
    on_both(|place| {
        drop(place.open("a").unwrap());
        place.io().remove_file(&format!("{}-draft", place.path("a"))).unwrap();
        for _ in 0..2 {
            assert!(matches!(place.open("a"), Err(Error::MissingFile { .. })));
        }
    });
}

#[test]
fn databases_side_by_side_do_not_lock_each_other() {
    on_both(|place| {
        let _a = place.open("a").unwrap();
        assert!(place.open("b").is_ok());
    });
}

/// The lock is on the file, not on a path to it.
#[cfg(unix)]
#[test]
fn another_path_to_the_same_directory_is_refused() {
    let place = Sandbox::real();
    let _engine = place.open("a").unwrap();
    let directory = std::path::Path::new(&place.path("a")).parent().unwrap().to_path_buf();
    let beside = tempfile::tempdir().unwrap();
    let link = beside.path().join("link");
    std::os::unix::fs::symlink(&directory, &link).unwrap();
    assert!(is_refused(&place.seen_from(&link.display().to_string()), "a"));
}

/// Between two operations, and while one waits for the server.
#[test]
fn a_second_process_of_a_simulated_client_is_refused_at_any_time() {
    let mut t = Scenario::with_clients(1);
    t.client(0).syncs();
    t.client(0).is_opened_again();
    t.remote().commits([]);
    let request = RequestPlace { route: Route::PullFrames, nth: 1 };
    t.client(0).pulls().meanwhile(Wait::Request(request), Action::SecondProcess { client: 0 });
    assert_eq!(t.run_and_check().second_processes, 2);
}

#[test]
fn a_connection_that_outlives_the_engine_of_a_simulated_client_keeps_others_out() {
    let mut t = Scenario::with_clients(1);
    t.client(0).commits([]);
    t.client(0).leaves_its_connection_open();
    t.client(0).commits([]);
    assert_eq!(t.run_and_check().second_processes, 1);
}

/// A crash ends the process that holds the lock. What is left of it releases nothing of the next process.
#[test]
fn the_lock_of_a_crashed_process_is_gone_and_its_guard_releases_nothing() {
    let mut place = Sandbox::simulated();
    let dead = place.open("a").unwrap();
    place.crash();
    let _engine = place.open("a").unwrap();
    drop(dead);
    assert!(is_refused(&place, "a"));
}
