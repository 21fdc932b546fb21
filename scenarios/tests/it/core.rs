//! Bugs of turso_core that the engine or the simulator keeps clear of, each in its smallest form.
//!
//! A test here fails when the core is mended: then what was done about the bug can go.

use std::sync::Arc;

use turso_core::{Connection, Database, MemoryIO, OpenOptions, SqliteDialect};

fn connect(path: &str) -> Arc<Connection> {
    let options = OpenOptions::new(Arc::new(SqliteDialect));
    Database::open(Arc::new(MemoryIO::new()), path, options).unwrap().connect().unwrap()
}

/// The workload's views have names that need no quotes; an application whose view's name does gets the core's error from its own `ALTER TABLE`, and
/// the replay of another client's is refused and reported as a conflict.
#[test]
fn a_view_whose_name_needs_quotes_makes_the_core_refuse_every_drop_column() {
    for (view, is_refused) in [("w", false), ("\"a view\"", true)] {
        let connection = connect(&format!("drop-column-{is_refused}.db"));
        for sql in ["CREATE TABLE t (a, b)", "CREATE TABLE other (c)"] {
            connection.execute(sql).unwrap();
        }
        connection.execute(format!("CREATE VIEW {view} AS SELECT c FROM other")).unwrap();
        let dropped = connection.execute("ALTER TABLE t DROP COLUMN b");
        assert_eq!(dropped.is_err(), is_refused, "{view}: {dropped:?}");
    }
}

/// The engine compiles an application's prepared PRAGMA anew for every run.
#[test]
fn a_prepared_pragma_goes_on_saying_what_it_said_when_it_was_compiled() {
    let connection = connect("pragma.db");
    connection.execute("CREATE TABLE t (a)").unwrap();
    let mut statements = ["PRAGMA table_info(t)", "SELECT name FROM pragma_table_info('t')"]
        .map(|sql| connection.prepare(sql).unwrap());
    let mut lengths = || {
        statements.each_mut().map(|statement| {
            let rows = statement.run_collect_rows().unwrap().len();
            statement.reset().unwrap();
            rows
        })
    };
    assert_eq!(lengths(), [1, 1]);
    connection.execute("ALTER TABLE t ADD COLUMN b").unwrap();
    assert_eq!(lengths(), [1, 2]);
}
