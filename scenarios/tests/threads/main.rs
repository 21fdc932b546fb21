//! Real threads on real files, in a separate process. In a process where the simulator has replaced the
//! core's clock, waiting for a busy database would never end.

use plimsoll_engine::Error;
use plimsoll_scenarios::sandbox::{Sandbox, rows};
use plimsoll_sim::world::in_process::block_on;

/// While the pulls rebase, the writers wait, and no row is lost or duplicated.
#[test]
#[expect(clippy::disallowed_methods, reason = "this test uses real threads")]
fn writers_on_other_threads_wait_for_a_rebase_and_lose_nothing() {
    const ROWS: usize = 60;
    let place = Sandbox::real();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let engine = place.open_with("a", |options| options.busy_timeout_ms(60_000)).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let connection = engine.connect().unwrap();
            scope.spawn(move || {
                for row in 0..ROWS {
                    connection.execute(format!("INSERT INTO t VALUES ('{writer}.{row}')")).unwrap();
                }
            });
        }
        for round in 0..10 {
            place.remote_executes(&[&format!("INSERT INTO t VALUES ('remote.{round}')")]);
            while let Err(error) = block_on(engine.sync()) {
                assert!(matches!(error, Error::Busy { .. }) && error.is_retryable(), "{error}");
            }
        }
    });
    block_on(engine.sync()).unwrap();
    let distinct = "SELECT count(*), count(DISTINCT v) FROM t";
    let expected = format!("{0}|{0}", 2 * ROWS + 10);
    assert_eq!(place.remote_rows(distinct), [expected.as_str()]);
    assert_eq!(rows(&engine.connect().unwrap(), distinct), [expected.as_str()]);
}
